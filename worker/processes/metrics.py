"""Metrics for Prometheus, on a port of their own."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, get_args

import psycopg
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    start_http_server,
)
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.registry import Collector

from docmill.worker import metrics
from docmill.worker.errors import ERROR_CODES, JobError, ServiceError
from docmill.worker.extraction.parent.owner_classes import OwnerClass
from docmill.worker.extraction.shared import profiles
from docmill.worker.log import get_logger
from docmill.worker.metrics import METRICS, Metric
from docmill.worker.settings.parts import MetricsSettings
from docmill.worker.store.database import Database
from docmill.worker.store.gauges import GAUGES, Gauge, read_gauges
from docmill.worker.store.outage import warn

log = get_logger(__name__)

#: Whoever asks more often gets the same answer: the database is asked by every worker.
FRESH_SECONDS: Final = 10.0
#: What a question may wait for the database. Prometheus waits ten seconds for all metrics of a
#: process, and without them the alert for a database that is away could never fire.
READ_SECONDS: Final = 5.0
#: How children end: read to the end, or by a limit or a crash.
CHILD_CODES: Final = ("ok", *(code for code in ERROR_CODES if code.startswith("parse_")))
#: Says whether the gauges of the database are there.
DATABASE_UP: Final = "docmill_database_up"


class PrometheusRecorder:
    """Keeps every metric of `worker.metrics` in a registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._kept = {metric.name: _made(metric, registry) for metric in METRICS}

    def begin(self, providers: Sequence[str]) -> None:
        """Have the series of a worker from its start on, at zero.

        Prometheus sees no increase in the first value of a series: what happens once would be
        missed.
        """
        for metric, *values in _worker_series(providers):
            self._kept[metric.name].labels(*values)

    def record(self, metric: Metric, value: float, labels: dict[str, str]) -> None:
        """Add to a counter, or note one observation. Thread-safe."""
        kept = self._kept[metric.name]
        named = kept.labels(**labels) if metric.labels else kept
        if isinstance(named, Counter):
            named.inc(value)
        else:
            named.observe(value)


def _worker_series(providers: Sequence[str]) -> Iterator[tuple[Metric, *tuple[str, ...]]]:
    """Metrics, with values of their labels that are known before anything happens."""
    yield metrics.RUNS, "succeeded", ""
    for code in ERROR_CODES:
        yield metrics.RUNS, "failed", code
        yield metrics.RUNS, "released", code
    for profile in (profiles.PLAIN, *profiles.SPECIAL):
        for code in CHILD_CODES:
            yield metrics.CHILD_ENDS, profile, code
        for owner_class in get_args(OwnerClass):
            yield metrics.CHILD_SECONDS, profile, owner_class
    for provider in providers:
        yield metrics.REQUESTS, provider, "ok"
        yield metrics.REQUESTS, provider, "rate_limited"
        for metric in (
            *(metrics.BATCH_FILL, metrics.TOKENS, metrics.SPEND),
            *(metrics.RATE_LIMIT_WAITS, metrics.RATE_LIMIT_SECONDS),
        ):
            yield metric, provider


def _made(metric: Metric, registry: CollectorRegistry) -> Counter | Histogram:
    if metric.kind == "counter":
        return Counter(metric.name, metric.meaning, metric.labels, registry=registry)
    return Histogram(
        metric.name, metric.meaning, metric.labels, buckets=metric.buckets, registry=registry
    )


class DatabaseGauges(Collector):
    """What the database knows of the whole installation. Every worker says the same."""

    def __init__(self, read: Callable[[], list[Gauge]]) -> None:
        self._read = read
        self._lock = threading.Lock()
        self._known: list[Gauge] = []
        self._is_up = False
        self._due = 0.0
        self._reading: threading.Thread | None = None

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """All gauges; without the database, or before it has answered, the one that says so."""
        with self._lock:
            known, is_up = self._now()
        for name, (meaning, labels) in GAUGES.items():
            family = GaugeMetricFamily(name, meaning, labels=labels)
            for gauge in known:
                if gauge.name == name:
                    family.add_metric([gauge.labels[label] for label in labels], gauge.value)
            yield family
        meaning = "1: the gauges of the database are as it said in the last ten seconds."
        yield GaugeMetricFamily(DATABASE_UP, meaning, value=float(is_up))

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """Nothing is asked of the database before somebody wants to know."""
        return ()

    def _now(self) -> tuple[list[Gauge], bool]:
        if self._reading is None and time.monotonic() >= self._due:
            # A connection that hangs is waited for much longer than anybody who asks would.
            self._reading = threading.Thread(target=self._refresh, name="gauges", daemon=True)
            self._reading.start()
        if self._reading is not None:
            self._reading.join(READ_SECONDS)
            if self._reading.is_alive():
                return [], False
            self._reading = None
        return list(self._known), self._is_up

    def _refresh(self) -> None:
        try:
            self._known, self._is_up = self._read(), True
        except (psycopg.Error, JobError) as error:
            # What was true some time ago would be taken for the present.
            self._known, self._is_up = [], False
            warn(log, "gauges_not_read", error)
        self._due = time.monotonic() + FRESH_SECONDS


def database_gauges(database: Database) -> DatabaseGauges:
    """The gauges, read through a worker's pool."""

    def read() -> list[Gauge]:
        with database.transaction() as transaction:
            return read_gauges(transaction)

    return DatabaseGauges(read)


@contextmanager
def served_metrics(
    settings: MetricsSettings, *collectors: Collector, providers: Sequence[str] | None = None
) -> Iterator[None]:
    """Record and serve while this is open, where a port is set; else do nothing.

    `providers`: of a worker; its series are there from the start, at zero. Raises ServiceError when
    the port cannot be had.
    """
    if not settings.metrics_port:
        yield
        return
    registry = CollectorRegistry()
    recorder = PrometheusRecorder(registry)
    if providers is not None:
        recorder.begin(providers)
    ProcessCollector(registry=registry)
    for collector in collectors:
        registry.register(collector)
    server = _start(settings, registry)
    metrics.use(recorder)
    log.info("metrics_served", host=settings.metrics_host, port=settings.metrics_port)
    try:
        yield
    finally:
        metrics.use(None)
        server.shutdown()


def _start(settings: MetricsSettings, registry: CollectorRegistry) -> Any:
    try:
        server, _thread = start_http_server(settings.metrics_port, settings.metrics_host, registry)
    except OSError as error:
        raise ServiceError(
            f"cannot serve metrics on {settings.metrics_host}:{settings.metrics_port} "
            f"({error.strerror}): set DOCMILL_METRICS_PORT to a free port, another one for each "
            "process of a machine"
        ) from None
    return server

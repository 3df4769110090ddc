"""Metrics have bounded labels, and dashboards and alerts use only existing metrics."""

import json
import re
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import yaml
from prometheus_client import CollectorRegistry, generate_latest

from docmill.worker import metrics
from docmill.worker.errors import JobError
from docmill.worker.processes.measured import MeasuredEmbedder
from docmill.worker.processes.metrics import DatabaseGauges, PrometheusRecorder
from docmill.worker.store.gauges import Gauge
from tests.support.metrics_reference import MARK, PAGE, exported_names, metrics_table
from tests.support.pages import ROOT
from tests.support.promql import Samples, parse

ALERTS = yaml.safe_load((ROOT / "ops" / "alerts.yml").read_text())["groups"][0]["rules"]
DASHBOARD = json.loads((ROOT / "ops" / "grafana.json").read_text())
#: Names of prometheus-client, and Prometheus' functions and words.
OTHERS = {"process_resident_memory_bytes"}


@pytest.fixture
def registry() -> Iterator[CollectorRegistry]:
    """The registry of this process during a test."""
    made = CollectorRegistry()
    metrics.use(PrometheusRecorder(made))
    yield made
    metrics.use(None)


def names_in(expression: str) -> set[str]:
    return set(re.findall(r"\b(?:docmill|process)_\w+", expression))


def expressions() -> list[str]:
    shown = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    return [*shown, *(alert["expr"] for alert in ALERTS)]


def test_dashboard_and_alerts_use_only_what_is_exported() -> None:
    used = set().union(*map(names_in, expressions()))
    assert used - exported_names() == OTHERS


def test_workers_are_scaled_by_what_is_exported_and_never_to_none() -> None:
    """Workers run the schedule, and say the number that they are scaled by."""
    scaled = yaml.safe_load((ROOT / "ops" / "keda.yml").read_text())["spec"]
    assert scaled["minReplicaCount"] >= 1
    for trigger in scaled["triggers"]:
        used = names_in(trigger["metadata"]["query"])
        assert used
        assert used <= exported_names()


def test_every_metric_is_on_the_dashboard() -> None:
    """For a histogram one of its three series is enough."""
    shown = set().union(*map(names_in, expressions()))
    for metric in metrics.METRICS:
        assert any(name.startswith(metric.name) for name in shown), metric.name


def test_alerts_lead_to_sections_of_the_runbook_and_to_commands() -> None:
    runbook = (ROOT / "docs" / "runbook.md").read_text()
    for alert in ALERTS:
        page, _, section = alert["annotations"]["runbook"].partition("#")
        assert page == "docs/runbook.md"
        assert re.search(rf"^## {section}$", runbook, re.MULTILINE | re.IGNORECASE), alert["alert"]
        assert alert["annotations"]["command"].startswith("docmill ")


def test_labels_name_no_person_and_no_file() -> None:
    for metric in metrics.METRICS:
        assert set(metric.labels) <= {
            *("outcome", "code", "stage", "provider", "profile", "work", "task", "owner_class")
        }


def test_the_table_of_the_page_is_up_to_date() -> None:
    assert PAGE.read_text().split(MARK)[1].strip() == metrics_table().strip()


def test_every_metric_can_be_recorded_and_is_exported(registry: CollectorRegistry) -> None:
    for metric in metrics.METRICS:
        metrics.record(metric, 0.5, **dict.fromkeys(metric.labels, "x"))
    text = generate_latest(registry).decode()
    for metric in metrics.METRICS:
        assert re.search(rf"^{metric.name}\w*(?:{{.*}})? [0-9.]+$", text, re.MULTILINE), metric.name


def test_what_alerts_count_is_exported_before_it_happens() -> None:
    """Prometheus sees no increase in the first value of a series."""
    registry = CollectorRegistry()
    PrometheusRecorder(registry).begin(["openai"])
    samples = Samples()
    samples.scrape(0, "worker:9464", generate_latest(registry).decode(), job="docmill")
    counted = [selector for alert in ALERTS for selector in counters_in(alert["expr"])]
    assert len(counted) >= 8
    for selector in counted:
        found = parse(selector).value(samples, 0)
        assert isinstance(found, dict)
        assert set(found.values()) == {0}, selector
    failed = {("outcome", "failed"), ("code", "corrupt")}
    runs = parse("docmill_runs_total").value(samples, 0)
    assert isinstance(runs, dict)
    assert any(failed <= series for series in runs)


def counters_in(expression: str) -> list[str]:
    """The selectors of a rule that stand over a window."""
    return re.findall(r"(\w+(?:{[^}]*})?)\[", expression)


def test_nothing_is_recorded_where_nobody_listens() -> None:
    metrics.record(metrics.LEASES_LOST)


class Embedder:
    model, dimensions = "m", 2

    def __init__(self, error: JobError | None = None) -> None:
        self._error = error

    def embed(self, texts: Any) -> tuple[Any, int]:
        if self._error:
            raise self._error
        return np.zeros((len(texts), 2), dtype=np.float32), 10 * len(texts)


def value(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    return registry.get_sample_value(name, labels)


def test_requests_are_measured_with_what_they_cost(registry: CollectorRegistry) -> None:
    how = {"provider": "openai", "batch_size": 4, "usd_per_million_tokens": 2.0}
    MeasuredEmbedder(Embedder(), **how).embed(["a", "b"])  # type: ignore[arg-type]
    busy = Embedder(JobError("rate_limited", retry_after_seconds=7))
    with pytest.raises(JobError):
        MeasuredEmbedder(busy, **how).embed(["a"])  # type: ignore[arg-type]
    of = {"provider": "openai"}
    assert value(registry, "docmill_embedding_requests_total", code="ok", **of) == 1
    assert value(registry, "docmill_embedding_requests_total", code="rate_limited", **of) == 1
    assert value(registry, "docmill_batch_fill_sum", **of) == 0.75
    assert value(registry, "docmill_tokens_total", **of) == 20
    assert value(registry, "docmill_spend_usd_total", **of) == pytest.approx(4e-5)
    assert value(registry, "docmill_rate_limit_waits_total", **of) == 1
    assert value(registry, "docmill_rate_limit_wait_seconds_total", **of) == 7


def test_gauges_of_a_database_that_is_away_are_absent_and_say_so() -> None:
    answers: list[Any] = [
        JobError("database_unavailable"),
        [Gauge("docmill_leases", {"state": "held"}, 3)],
    ]

    def read() -> list[Gauge]:
        answer = answers.pop()
        if isinstance(answer, JobError):
            raise answer
        return list(answer)

    registry = CollectorRegistry()
    gauges = DatabaseGauges(read)
    registry.register(gauges)
    assert value(registry, "docmill_leases", state="held") == 3
    # A second call at once gives the same, without asking the database.
    assert value(registry, "docmill_database_up") == 1
    assert len(answers) == 1
    gauges._due = 0
    assert value(registry, "docmill_database_up") == 0
    assert value(registry, "docmill_leases", state="held") is None


def test_a_database_that_hangs_is_away_for_those_who_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prometheus gives up after ten seconds, and the alert needs an answer."""
    monkeypatch.setattr("docmill.worker.processes.metrics.READ_SECONDS", 0.05)
    answers, begun = threading.Event(), []

    def read() -> list[Gauge]:
        begun.append(1)
        answers.wait(60)
        return [Gauge("docmill_leases", {"state": "held"}, 3)]

    registry = CollectorRegistry()
    gauges = DatabaseGauges(read)
    registry.register(gauges)
    for _ in range(2):
        assert value(registry, "docmill_database_up") == 0
        assert value(registry, "docmill_leases", state="held") is None
    assert len(begun) == 1  # nobody asks again before it has answered
    answers.set()
    assert gauges._reading is not None
    gauges._reading.join()
    assert value(registry, "docmill_database_up") == 1
    assert value(registry, "docmill_leases", state="held") == 3

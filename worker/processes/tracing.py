"""Traces by OTLP, where the standard's own environment variables ask for them."""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

from docmill.worker import tracing
from docmill.worker.log import get_logger

if TYPE_CHECKING:  # loads OpenTelemetry, which a process without traces does not need
    from docmill.worker.processes.otel import OtelTracer

log = get_logger(__name__)

ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_SPOKEN: Final = "http/protobuf"


def is_wanted(environ: Mapping[str, str]) -> bool:
    """Whether the environment names a collector, and does not switch traces off."""
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    if environ.get("OTEL_TRACES_EXPORTER", "").strip() not in ("", "otlp"):
        return False
    return any(environ.get(name, "").strip() for name in ENDPOINTS)


def leave_out_unwanted() -> None:
    """Have libraries find no OpenTelemetry where traces are not wanted. Before they are imported.

    redis-py loads the SDK wherever it is installed, for metrics that nobody asks it for.
    """
    if not is_wanted(os.environ):
        sys.modules.setdefault("opentelemetry", None)  # type: ignore[arg-type]  # as import has it


def _obstacle(environ: Mapping[str, str]) -> str | None:
    """Why traces cannot be exported although they are wanted; None: nothing is known of."""
    protocol = next((environ[name] for name in _PROTOCOLS if environ.get(name)), _SPOKEN)
    if protocol.strip() != _SPOKEN:
        return f"only OTLP over HTTP is spoken: set {_PROTOCOLS[1]} to {_SPOKEN}, or to nothing"
    # The namespace opentelemetry may be there with the API alone, which other packages bring.
    if find_spec("opentelemetry") is None or find_spec("opentelemetry.sdk") is None:
        return "install docmill with the extra otel"
    return None


@contextmanager
def traced(process: str) -> Iterator[None]:
    """Export traces while this is open, if they are wanted; else do nothing and load nothing.

    A process that cannot export says so once and goes on without. At the end what has not been sent
    is sent, within a bound.
    """
    if not is_wanted(os.environ):
        yield
        return
    exported = _started(process)
    try:
        yield
    finally:
        if exported is not None:
            tracing.use(None)
            exported.close()


def _started(process: str) -> "OtelTracer | None":
    remedy = _obstacle(os.environ)
    if remedy is not None:
        log.warning("traces_off", remedy=remedy)
        return None
    try:
        from docmill.worker.processes.otel import OtelTracer

        tracer = OtelTracer(process)
    except Exception as error:  # whatever the variables hold: documents are ingested nevertheless
        log.warning("traces_off", error=type(error).__name__, remedy="correct the OTEL_ variables")
        return None
    tracing.use(tracer)
    log.info("traces_exported", process=process)
    return tracer

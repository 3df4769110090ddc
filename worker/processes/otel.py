"""The one module that loads OpenTelemetry: spans leave by OTLP over HTTP, on a thread of their own.

The SDK reads the standard's environment variables. A span that has ended goes into a queue of
bounded length; if the collector takes none, the oldest are dropped. Nobody waits for it.
"""

import logging
import os
import socket
import threading
import time
from collections.abc import Sequence
from typing import Final
from uuid import uuid4

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.environment_variables import OTEL_RESOURCE_ATTRIBUTES, OTEL_SERVICE_NAME
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)
from opentelemetry.trace import Span as SdkSpan

from docmill import __version__
from docmill.worker.log import get_logger, redact
from docmill.worker.tracing import Attributes, Kind, Span

log = get_logger(__name__)

#: What sending the last spans may take when a process ends.
FLUSH_SECONDS: Final = 3.0
#: The library's own lines: one in this time.
QUIET_SECONDS: Final = 60.0
_MOST_SAID: Final = 200

_KINDS: Final = {
    "internal": SpanKind.INTERNAL,
    "server": SpanKind.SERVER,
    "client": SpanKind.CLIENT,
    "producer": SpanKind.PRODUCER,
    "consumer": SpanKind.CONSUMER,
}


class OtelSpan:
    """A span of the SDK, as docmill's port has it."""

    def __init__(self, span: SdkSpan) -> None:
        self._span = span
        self._lock = threading.Lock()
        self._ended = False
        context = span.get_span_context()
        self.traceparent = (
            f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags & 1:02x}"
        )

    def set(self, attributes: Attributes) -> None:
        """Add attributes."""
        if not self._ended:
            self._span.set_attributes(attributes)

    def link(self, traceparent: str) -> None:
        """Name another span."""
        if not self._ended:
            self._span.add_link(_context(traceparent))

    def end(self, error: str | None = None) -> None:
        """End it, once."""
        with self._lock:
            if self._ended:
                return
            self._ended = True
        if error is not None:
            self._span.set_attribute("error.type", error)
            self._span.set_status(StatusCode.ERROR)
        self._span.end()


class OtelTracer:
    """Makes spans and exports them. See worker.tracing.Tracer."""

    def __init__(self, process: str) -> None:
        """Raises whatever the SDK raises of values that it cannot use."""
        self._library = _LibraryLines()
        self._provider = TracerProvider(
            resource=_resource(process),
            # close() does it, within a bound.
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("docmill", __version__)

    def start(
        self,
        name: str,
        *,
        kind: Kind,
        parent: str | None,
        links: Sequence[str],
        attributes: Attributes,
        began_ns: int | None,
    ) -> Span:
        """A span that has begun."""
        # Without a parent the context is empty, not the one that some library has made current.
        within = NonRecordingSpan(_context(parent)) if parent else NonRecordingSpan(_NOWHERE)
        return OtelSpan(
            self._tracer.start_span(
                name,
                context=set_span_in_context(within),
                kind=_KINDS[kind],
                attributes=attributes,
                links=[Link(_context(each)) for each in links],
                start_time=began_ns,
            )
        )

    def close(self) -> None:
        """Send what has not been sent, for some seconds at most."""
        # The exporter itself would wait for ten seconds, and the SDK for thirty.
        closing = threading.Thread(target=self._provider.shutdown, name="traces-end", daemon=True)
        closing.start()
        closing.join(FLUSH_SECONDS)
        if closing.is_alive():
            log.warning("traces_not_flushed", seconds=FLUSH_SECONDS)


_NOWHERE: Final = SpanContext(0, 0, is_remote=False)


def _context(traceparent: str) -> SpanContext:
    _version, trace, span, flags = traceparent.split("-")
    return SpanContext(int(trace, 16), int(span, 16), True, TraceFlags(int(flags, 16)))


def _resource(process: str) -> Resource:
    named = os.environ.get(OTEL_SERVICE_NAME) or "service.name=" in os.environ.get(
        OTEL_RESOURCE_ATTRIBUTES, ""
    )
    return Resource.create(
        {
            **({} if named else {"service.name": f"docmill-{process}"}),
            "service.version": __version__,
            "service.instance.id": f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:8]}",
        }
    )


class _LibraryLines(logging.Handler):
    """What OpenTelemetry logs, in one line a minute: a collector that is away says much."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._next = 0.0
        self._left_out = 0
        library = logging.getLogger("opentelemetry")
        library.handlers[:] = [self]
        library.propagate = False

    def emit(self, record: logging.LogRecord) -> None:
        """Say it, or count it. Called under the handler's lock."""
        now = time.monotonic()
        if now < self._next:
            self._left_out += 1
            return
        self._next = now + QUIET_SECONDS
        # Without a traceback, and cut: an answer of the collector may be of any length.
        said = redact(record.getMessage())[:_MOST_SAID]
        log.warning("traces_disturbed", said=said, left_out=self._left_out)
        self._left_out = 0

"""A collector on loopback that keeps the spans it is sent by OTLP over HTTP."""

import gzip
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1 import trace_pb2


@dataclass(frozen=True)
class SentSpan:
    """One span, as it was sent."""

    service: str
    name: str
    kind: str
    trace: str
    id: str
    parent: str  #: empty: the first of its trace
    links: Sequence[tuple[str, str]]  #: trace and span
    attributes: Mapping[str, Any]
    failed: bool
    began_ns: int
    ended_ns: int


class FakeCollector:
    """Answers 200 and remembers, unless it is told to do otherwise."""

    def __init__(self) -> None:
        self.spans: list[SentSpan] = []
        self.raw = b""  #: all that was sent
        self.requests = 0
        self.status = 200
        #: While it is clear, no request is answered.
        self.answers = threading.Event()
        self.answers.set()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        """What OTEL_EXPORTER_OTLP_ENDPOINT is."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        """Answer what waits, and stop."""
        self.answers.set()
        self._server.shutdown()
        self._server.server_close()

    def of_trace(self, trace: str) -> list[SentSpan]:
        """The spans of a trace by their beginning."""
        return sorted(
            (span for span in self.spans if span.trace == trace), key=lambda span: span.began_ns
        )

    def named(self, name: str) -> list[SentSpan]:
        """The spans of this name, by their beginning."""
        return sorted(
            (span for span in self.spans if span.name == name), key=lambda span: span.began_ns
        )

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        collector = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                collector.requests += 1
                collector.answers.wait(60)
                if collector.status == 200 and self.path == "/v1/traces":
                    collector._keep(body, self.headers.get("content-encoding"))
                content = ExportTraceServiceResponse().SerializeToString()
                if collector.status != 200:
                    content = b"no " * 10_000
                try:
                    self.send_response(collector.status)
                    self.send_header("content-type", "application/x-protobuf")
                    self.send_header("content-length", str(len(content)))
                    self.end_headers()
                    self.wfile.write(content)
                except OSError:
                    self.close_connection = True

            def log_message(self, *_: Any) -> None:
                pass

        return Handler

    def _keep(self, body: bytes, encoding: str | None) -> None:
        content = gzip.decompress(body) if encoding == "gzip" else body
        self.raw += content
        for resource in ExportTraceServiceRequest.FromString(content).resource_spans:
            service = _attributes(resource.resource.attributes)["service.name"]
            for scope in resource.scope_spans:
                self.spans += [_sent(service, span) for span in scope.spans]


def _sent(service: str, span: trace_pb2.Span) -> SentSpan:
    return SentSpan(
        service=service,
        name=span.name,
        kind=trace_pb2.Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower(),
        trace=span.trace_id.hex(),
        id=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        links=[(link.trace_id.hex(), link.span_id.hex()) for link in span.links],
        attributes=_attributes(span.attributes),
        failed=span.status.code == trace_pb2.Status.STATUS_CODE_ERROR,
        began_ns=span.start_time_unix_nano,
        ended_ns=span.end_time_unix_nano,
    )


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}

"""An HTTP server that stores every webhook that it gets."""

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Delivery:
    """One received request."""

    path: str
    headers: dict[str, str]
    body: bytes

    @cached_property
    def event(self) -> dict[str, Any]:
        event: dict[str, Any] = json.loads(self.body)
        return event

    def concerns(self, bucket: str) -> bool:
        """True if the row is or was in this bucket."""
        if not self.path.endswith("/hook"):
            return False
        rows = (self.event["record"], self.event["old_record"])
        return any(row is not None and row["bucket_id"] == bucket for row in rows)


@dataclass
class Receiver:
    """Deliveries in order of arrival. `answers` maps a path to a status other than 200."""

    deliveries: list[Delivery] = field(default_factory=list)
    answers: dict[str, int] = field(default_factory=dict)
    hanging: set[str] = field(default_factory=set)
    on_delivery: Callable[[Delivery], None] = lambda _: None

    def __post_init__(self) -> None:
        self._changed = threading.Condition()
        self.release = threading.Event()
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def add(self, delivery: Delivery) -> None:
        with self._changed:
            self.deliveries.append(delivery)
            self._changed.notify_all()

    def wait(
        self, wanted: Callable[[list[Delivery]], bool], *, seconds: float = 10
    ) -> list[Delivery]:
        """The deliveries, as soon as they meet the condition. Fails after a time limit."""
        with self._changed:
            came = self._changed.wait_for(lambda: wanted(self.deliveries), seconds)
            assert came, f"not delivered; {len(self.deliveries)} others were"
            return list(self.deliveries)

    def close(self) -> None:
        self.release.set()
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    request_queue_size = 512
    daemon_threads = True


def _handler(receiver: Receiver) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            delivery = Delivery(self.path, dict(self.headers.items()), body)
            receiver.on_delivery(delivery)
            receiver.add(delivery)
            if self.path in receiver.hanging:
                receiver.release.wait(180)
            self.send_response(receiver.answers.get(self.path, 200))
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: object) -> None:
            return

    return Handler

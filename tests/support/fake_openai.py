"""A server with OpenAI's APIs: vectors made from hashes, answers that can be held back.

Its chat model writes the text that a test sets, and it reranks like TEI or like all others.
"""

import base64
import hashlib
import json
import re
import select
import socket
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

from tests.support.fake_batches import FakeBatches

MODEL = "fake-embedding"
DIMENSIONS = 256

#: The answer instead of embeddings: status, body, headers. None: embeddings.
Answer = tuple[int, dict[str, Any], dict[str, str]]


@dataclass(frozen=True)
class Raw:
    """An answer of any form, even one that is not JSON."""

    content: bytes
    status: int = 200
    content_type: str = "application/json"
    seconds_per_byte: float = 0  #: for a server that sends slowly
    headers: dict[str, str] = field(default_factory=dict)


def vector_of(text: str, dimensions: int = DIMENSIONS) -> "np.ndarray[Any, np.dtype[np.float32]]":
    """A vector of length 1 that depends only on the text."""
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    values = np.random.default_rng(seed).standard_normal(dimensions).astype(np.float32)
    return values / np.linalg.norm(values)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # tests kill callers; that is no error
            super().handle_error(request, client_address)


@dataclass
class FakeOpenAI:
    """Serves on loopback. While `gate` is clear, requests wait; `arrived` counts them."""

    gate: threading.Event = field(default_factory=threading.Event)
    requests: list[list[str]] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    closed: threading.Event = field(default_factory=threading.Event)
    respond: Callable[[list[str]], Answer | Raw | None] = lambda _texts: None
    #: The model's text in pieces; None: wait until the caller hangs up.
    write: Callable[[dict[str, Any]], list[str | None] | Answer | Raw] = lambda _body: ["Yes [1]."]
    chats: list[dict[str, Any]] = field(default_factory=list)
    reranks: list[dict[str, Any]] = field(default_factory=list)
    hung_up: threading.Event = field(default_factory=threading.Event)
    #: When it runs as a program: the answer to a GET, and the receiver of a POST to /script.
    state: Callable[[], dict[str, Any]] = dict
    told: Callable[[dict[str, Any]], None] = lambda _body: None
    port: int = 0
    #: Whether `respond` is asked for the texts of batches too.
    answers_batches: bool = True

    def __post_init__(self) -> None:
        self.gate.set()
        #: Files and batches: what a text is answered there is what it is answered anywhere.
        self.batches = FakeBatches(self._embed_one)
        self._changed = threading.Condition()
        self._own = threading.local()
        self._server = _Server(("127.0.0.1", self.port), self._handler())
        # Stopping takes at most one interval.
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        )
        self._thread.start()

    @property
    def url(self) -> str:
        """Base URL for the client."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    @property
    def texts(self) -> list[str]:
        """Every requested text, in order of arrival."""
        return [text for request in self.requests for text in request]

    @property
    def asked_model(self) -> str:
        """The model named in the request for which `respond` was called."""
        return str(self._own.model)

    def wait_for_requests(self, count: int, timeout: float = 180) -> None:
        """Return when this many requests have arrived."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.requests) >= count, timeout)

    def close(self) -> None:
        """Let all requests continue, and stop."""
        self.closed.set()
        self.gate.set()
        self.batches.over.set()
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # The answer is written in two parts; the second would wait for the other side.
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                if not fake._batches(self, b""):
                    state = {**fake.state(), "batches": fake.batches.state()}
                    fake._send(self, (200, state, {}))

            def do_DELETE(self) -> None:
                assert fake._batches(self, b"")

            def do_POST(self) -> None:
                content = _content(self)
                if not fake._batches(self, content):
                    fake._send(self, fake._post(self, json.loads(content)))

            def log_message(self, *_: Any) -> None:
                pass

        return Handler

    def _batches(self, handler: BaseHTTPRequestHandler, content: bytes) -> bool:
        """Whether files or batches were asked for; then it is answered, or never."""
        if not re.search(r"/v1/(files|batches)\b", handler.path):
            return False
        kind = handler.headers.get("content-type", "")
        reply = self.batches.respond(handler.command, handler.path, content, kind)
        if reply is None:
            handler.close_connection = True
            return True
        status, said = reply
        raw = said if isinstance(said, bytes) else json.dumps(said).encode()
        length = {"content-length": str(len(raw)), "connection": "close"}
        _send_raw(handler, Raw(raw, status, headers=length), self.closed)
        return True

    def _send(self, handler: BaseHTTPRequestHandler, answered: Answer | Raw | None) -> None:
        if isinstance(answered, Raw):
            _send_raw(handler, answered, self.closed)
        elif answered is not None:
            _send_json(handler, *answered)

    def _post(self, handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> Answer | Raw | None:
        if handler.path.endswith("/chat/completions"):
            return self._chat(handler, body)
        if handler.path.endswith("/rerank"):
            return self._rerank(body)
        if handler.path.endswith("/script"):
            self.batches.told(body.pop("batches", {}))
            self.told(body)
            return 200, {}, {}
        if "input" not in body:
            # A worker asks compatible servers for their limits, each in its own form.
            return error(404, "unknown_url")
        return self._answer(body)

    def _embed_one(self, text: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        special = self.respond([text]) if self.answers_batches else None
        if isinstance(special, tuple) and special[0] != 200:
            return special[0], special[1]
        width, encoding = body.get("dimensions", DIMENSIONS), body.get("encoding_format", "float")
        return 200, embeddings([text], width, encoding)

    def _answer(self, body: dict[str, Any]) -> Answer | Raw:
        texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
        with self._changed:
            self.requests.append(texts)
            self.bodies.append(body)
            self._changed.notify_all()
        self.gate.wait(180)
        self._own.model = body.get("model", MODEL)
        special = self.respond(texts)
        dimensions = body.get("dimensions", DIMENSIONS)
        encoding = body.get("encoding_format", "float")
        return special or (200, embeddings(texts, dimensions, encoding), {})

    def _chat(self, handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> Answer | Raw | None:
        self.chats.append(body)
        pieces = self.write(body)
        if not isinstance(pieces, list):
            return pieces
        if not body["stream"]:
            content = "".join(piece or "" for piece in pieces)
            return 200, {"choices": [{"message": {"content": content}}]}, {}
        handler.close_connection = True
        handler.send_response(200)
        handler.send_header("content-type", "text/event-stream")
        handler.end_headers()
        for piece in pieces:
            if piece is None:
                self._wait_for_hang_up(handler.connection)
                return None
            handler.wfile.write(_event({"delta": {"content": piece}, "finish_reason": None}))
        handler.wfile.write(_event({"delta": {}, "finish_reason": "stop"}) + b"data: [DONE]\n\n")
        return None

    def _wait_for_hang_up(self, connection: socket.socket) -> None:
        while not self.closed.is_set():
            readable, _, _ = select.select([connection], [], [], 0.05)
            try:
                if readable and not connection.recv(1):
                    break
            except OSError:
                break
        self.hung_up.set()

    def _rerank(self, body: dict[str, Any]) -> Answer | Raw:
        """Rank the last document first."""
        self.reranks.append(body)
        if "texts" in body:
            count = len(body["texts"])
            ranks = [{"index": place, "score": place} for place in range(count)]
            return Raw(json.dumps(ranks).encode())
        count = len(body["documents"])
        ranks = [{"index": place, "relevance_score": place} for place in range(count)]
        return 200, {"results": ranks}, {}


def _send_json(
    handler: BaseHTTPRequestHandler, status: int, answer: dict[str, Any], headers: dict[str, str]
) -> None:
    content = json.dumps(answer).encode()
    try:
        handler.send_response(status)
        handler.send_header("content-type", "application/json")
        handler.send_header("content-length", str(len(content)))
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(content)
    except OSError:
        handler.close_connection = True  # the caller was killed, as tests do


def _content(handler: BaseHTTPRequestHandler) -> bytes:
    """The body of a request; that of a stream of unknown length comes in pieces."""
    if "content-length" in handler.headers:
        return handler.rfile.read(int(handler.headers["content-length"]))
    pieces = []
    while size := int(handler.rfile.readline(), 16):
        pieces.append(handler.rfile.read(size))
        handler.rfile.readline()
    handler.rfile.readline()
    return b"".join(pieces)


def _event(choice: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps({"choices": [{"index": 0, **choice}]}).encode() + b"\n\n"


def _send_raw(handler: BaseHTTPRequestHandler, answer: Raw, closed: threading.Event) -> None:
    handler.close_connection = True
    try:
        handler.send_response(answer.status)
        handler.send_header("content-type", answer.content_type)
        for name, value in answer.headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        if not answer.seconds_per_byte:
            handler.wfile.write(answer.content)
            return
        for byte in answer.content:
            handler.wfile.write(bytes([byte]))
            if closed.wait(answer.seconds_per_byte):
                return
    except OSError:
        return  # the caller has hung up


def embeddings(
    texts: list[str], dimensions: int = DIMENSIONS, encoding: str = "base64"
) -> dict[str, Any]:
    """The answer for some texts."""
    data = [
        {
            "object": "embedding",
            "index": index,
            "embedding": _encoded(vector_of(text, dimensions), encoding),
        }
        for index, text in enumerate(texts)
    ]
    tokens = sum(len(text) // 4 + 1 for text in texts)
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "data": data, "model": MODEL, "usage": usage}


def _encoded(vector: "np.ndarray[Any, np.dtype[np.float32]]", encoding: str) -> object:
    if encoding == "float":
        return vector.tolist()
    return base64.b64encode(vector.astype("<f4").tobytes()).decode()


def error(status: int, code: str, **headers: str) -> Answer:
    """An error answer in OpenAI's form."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return status, {"error": {"message": "no", "type": "error", "code": code}}, names

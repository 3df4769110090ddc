"""uvicorn for our own HTTP services, with bounds on what a stranger's connection may take."""

import asyncio
import contextlib
import resource
import signal
from collections.abc import Iterator
from typing import Any, Final

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

#: Whoever has not sent a request's headers by then is hung up on; uvicorn itself waits for ever.
HEADER_SECONDS: Final = 10.0
#: Of a request, without its body: request line, headers, framing of chunks, trailers. Framing of
#: chunks may be as much as the body again.
MAX_HEADER_BYTES: Final = 64 * 1024
#: Headers, trailers and pieces of the body of a request: each costs a call, however short it is.
#: Pieces of some size may be more.
MAX_PARTS: Final = 500
_PIECE_BYTES: Final = 256
#: With this many requests of a connection waiting for their answers, no more of it is looked at.
MAX_WAITING: Final = 8
#: What has come is looked at in slices of this size: less than the bound above.
_SLICE_BYTES: Final = 16 * 1024
#: Between bodies: each slice may hold one request for every few bytes.
_HEAD_SLICE_BYTES: Final = 1024
_NOTHING: Final = memoryview(b"")
#: Connections cost a descriptor each; the usual soft limit of 1,024 is soon reached.
_MOST_FILES: Final = 65_536


class BoundedProtocol(HttpToolsProtocol):
    """One connection: each request must come in time, and be of reasonable size beside its body.

    The bounds count what arrives, not what the parser makes of it: the parser keeps an unfinished
    header, URL or trailer without telling anybody.
    """

    #: Time for a whole request, body and trailers included; None where large uploads are served.
    request_seconds: float | None = None

    _header_timer: asyncio.TimerHandle | None = None
    _request_timer: asyncio.TimerHandle | None = None
    _received = 0  # bytes since the request began
    _body = 0  # bytes of its body
    _slice = 0  # bytes of the slice that is being parsed
    _parts = 0  # headers, trailers and pieces of the body
    _is_in_body = False
    _rest = _NOTHING  # what has come and waits until requests before it are answered

    def connection_made(self, transport: Any) -> None:
        """A stranger has connected."""
        super().connection_made(transport)
        self._expect_request()

    def connection_lost(self, exc: Exception | None) -> None:
        """The stranger is gone."""
        self._rest = _NOTHING
        self._stop_timers()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Something has come."""
        self._rest = memoryview(bytes(self._rest) + data if self._rest else data)
        self._parse()

    def _parse(self) -> None:
        while self._rest and len(self.pipeline) < MAX_WAITING:
            size = _SLICE_BYTES if self._is_in_body else _HEAD_SLICE_BYTES
            piece, self._rest = bytes(self._rest[:size]), self._rest[size:]
            self._slice = len(piece)
            self._received += self._slice
            if self._header_timer is None and not self._is_in_body:
                # The parser passes over empty lines between requests, and tells nobody.
                self._expect_request()
            super().data_received(piece)
            if self._received - 2 * self._body > MAX_HEADER_BYTES:
                self.transport.abort()
            if self.transport.is_closing():
                self._rest = _NOTHING
        if self._rest:
            self.flow.pause_reading()

    def on_response_complete(self) -> None:
        """A request is answered; there is room for another one."""
        super().on_response_complete()
        if self._rest:
            # uvicorn has begun to read again.
            self.flow.pause_reading()
            self.loop.call_soon(self._parse)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header or trailer has come."""
        if self._is_one_more_allowed():
            super().on_header(name, value)

    def on_message_begin(self) -> None:
        """Another request begins on the connection."""
        super().on_message_begin()
        self._received, self._body, self._parts = self._slice, 0, 0
        self._expect_request()

    def on_headers_complete(self) -> None:
        """The body has a bound of its own, which the application knows."""
        super().on_headers_complete()
        self._is_in_body = True
        self._stop_header_timer()

    def on_body(self, body: bytes) -> None:
        """A part of the body has come."""
        self._body += len(body)
        if self._is_one_more_allowed():
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is there as a whole."""
        super().on_message_complete()
        self._is_in_body = False
        self._stop_timers()

    def _is_one_more_allowed(self) -> bool:
        self._parts += 1
        if self._parts > MAX_PARTS + self._body // _PIECE_BYTES:
            self.transport.abort()
            return False
        return True

    def _expect_request(self) -> None:
        self._stop_timers()
        self._header_timer = self.loop.call_later(HEADER_SECONDS, self.transport.abort)
        if self.request_seconds is not None:
            self._request_timer = self.loop.call_later(self.request_seconds, self.transport.abort)

    def _stop_timers(self) -> None:
        self._stop_header_timer()
        if self._request_timer is not None:
            self._request_timer.cancel()

    def _stop_header_timer(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        # uvicorn's own raises the signal again once it has stopped, which ends the process before
        # whoever started the server can end the rest in order.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self.handle_exit)
        yield


def serve(app: ASGIApp, *, host: str, port: int, request_seconds: float | None = None) -> int:
    """Serve until SIGTERM or SIGINT; running requests get five seconds. Returns the exit code.

    `request_seconds` is the time for a whole request to arrive, None for as long as it takes.
    """
    _allow_files()
    server = _Server(configuration(app, host=host, port=port, request_seconds=request_seconds))
    server.run()
    return 0 if server.started else 1


def configuration(
    app: ASGIApp, *, host: str, port: int, request_seconds: float | None
) -> uvicorn.Config:
    """How uvicorn is to serve; see `serve`."""
    protocol = type("Protocol", (BoundedProtocol,), {"request_seconds": request_seconds})
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        http=protocol,
        # No WebSockets: their protocol would take over the connection, without any bound.
        ws="none",
        loop="uvloop",
        log_config=None,
        # A line for each request would show object names and the tokens of signed URLs.
        access_log=False,
        server_header=False,
        proxy_headers=False,
        # One batch of pg_net is 200 connections at once.
        backlog=2048,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=5,
    )


def _allow_files() -> None:
    """Raise the soft limit of open files as far as this process may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, _MOST_FILES)
    if soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))

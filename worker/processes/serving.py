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
MAX_HEADER_BYTES: Final = 64 * 1024
#: Connections cost a descriptor each; the usual soft limit of 1,024 is soon reached.
_MOST_FILES: Final = 65_536


class BoundedProtocol(HttpToolsProtocol):
    """One connection: its requests' headers must come in time, and be of reasonable size."""

    _timer: asyncio.TimerHandle | None = None
    _header_bytes = 0

    def connection_made(self, transport: Any) -> None:
        """A stranger has connected."""
        super().connection_made(transport)
        self._expect_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """The stranger is gone."""
        self._headers_are_there()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """Another request begins on the connection."""
        super().on_message_begin()
        self._header_bytes = 0
        self._expect_headers()

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header has come."""
        self._header_bytes += len(name) + len(value)
        if self._header_bytes > MAX_HEADER_BYTES:
            self.transport.abort()
            return
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The rest of the request has bounds of its own."""
        self._headers_are_there()
        super().on_headers_complete()

    def _expect_headers(self) -> None:
        self._headers_are_there()
        self._timer = self.loop.call_later(HEADER_SECONDS, self.transport.abort)

    def _headers_are_there(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        # uvicorn's own raises the signal again once it has stopped, which ends the process before
        # whoever started the server can end the rest in order.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self.handle_exit)
        yield


def serve(app: ASGIApp, *, host: str, port: int) -> int:
    """Serve until SIGTERM or SIGINT; running requests get five seconds. Returns the exit code."""
    _allow_files()
    server = _Server(
        uvicorn.Config(
            app,
            host=host,
            port=port,
            http=BoundedProtocol,
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
    )
    server.run()
    return 0 if server.started else 1


def _allow_files() -> None:
    """Raise the soft limit of open files as far as this process may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, _MOST_FILES)
    if soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))

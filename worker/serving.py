"""uvicorn for our own HTTP services."""

import contextlib
import signal
from collections.abc import Iterator

import uvicorn
from starlette.types import ASGIApp


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
    server = _Server(
        uvicorn.Config(
            app,
            host=host,
            port=port,
            http="httptools",
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

"""The client of the chat server, against a server that never ends a line."""

import asyncio
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from docmill.worker.clients.chat import ChatClient, ChatServer
from docmill.worker.errors import AskError


class Endless(BaseHTTPRequestHandler):
    """Answers with one line until the client hangs up."""

    hung_up = threading.Event()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        try:
            self.wfile.write(b"data: ")
            while True:
                self.wfile.write(b"x" * 65_536)
        except OSError:
            self.hung_up.set()

    def log_message(self, *_args: object) -> None:
        """Stay silent."""


@pytest.fixture
def url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Endless) as server:
        serving = threading.Thread(target=server.serve_forever, daemon=True)
        serving.start()
        yield f"http://127.0.0.1:{server.server_port}/v1"
        server.shutdown()


def test_a_line_without_end_is_given_up(url: str):
    async def ask() -> None:
        async for _ in ChatClient(ChatServer(url, "m")).stream([{"role": "user", "content": "x"}]):
            raise AssertionError("there is no text")

    with pytest.raises(AskError) as raised:
        asyncio.run(ask())
    assert raised.value.code == "chat_invalid"
    assert Endless.hung_up.wait(60)


def test_a_short_step_goes_on_without_it(url: str):
    client = ChatClient(ChatServer(url, "m"))
    assert asyncio.run(client.complete([{"role": "user", "content": "x"}])) == ""

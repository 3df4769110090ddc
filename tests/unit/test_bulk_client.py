"""A provider that answers without end holds nobody longer than a round may take."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from io import BytesIO

import pytest

from docmill.worker.clients.bulk import HttpBulk
from docmill.worker.errors import JobError
from docmill.worker.providers.base import Kind, Wanted
from docmill.worker.providers.openai import OpenAI

#: What it sends at once; then a byte every now and then, for ever.
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
BEGINNINGS = {
    "in its headers": HEAD + b"x: ",
    "in its body": HEAD + b"content-length: 1000000\r\n\r\n",
}


@pytest.fixture(params=BEGINNINGS, ids=list(BEGINNINGS))
def trickling(request: pytest.FixtureRequest) -> Iterator[str]:
    listener = socket.create_server(("127.0.0.1", 0))
    over = threading.Event()

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65_536)
            connection.sendall(BEGINNINGS[request.param])
            while not over.wait(0.05):
                try:
                    connection.sendall(b"1")
                except OSError:
                    return

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    over.set()
    thread.join()
    listener.close()


def test_a_provider_that_trickles_is_given_up(trickling: str) -> None:
    client = HttpBulk(
        OpenAI(),
        {"api_key": "k", "base_url": trickling},
        Wanted("m", 8, False, Kind.DOCUMENT),
        timeout_seconds=60,
        round_seconds=0.5,
    )
    with closing(client):
        began = time.monotonic()
        with pytest.raises(JobError) as raised:
            client.download("file", BytesIO())
        assert raised.value.code == "provider_unavailable"
        # Long before its silence would be too long.
        assert time.monotonic() - began < 30
        # Nor does the round go on with another request.
        with pytest.raises(JobError) as raised:
            client.get("batch")
        assert raised.value.code == "provider_unavailable"

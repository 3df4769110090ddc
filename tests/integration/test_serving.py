"""Limits on a stranger's connection to an HTTP service, in bytes and in time."""

import gc
import itertools
import socket
import threading
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from docmill.worker.processes import serving
from tests.support.installation import until

CHUNKED = b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"
#: Far more than every limit, and more than the kernel buffers at both ends of a connection.
FLOOD_BYTES = 32 * 1024 * 1024


async def answer(request: Request) -> PlainTextResponse:
    return PlainTextResponse(str(len(await request.body())))


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """A service that accepts only requests that arrive within a second."""
    yield from served(request_seconds=1.0)


@pytest.fixture(scope="module")
def patient() -> Iterator[int]:
    """A service that waits for a request as long as it takes."""
    yield from served(request_seconds=None)


def served(*, request_seconds: float | None) -> Iterator[int]:
    app = Starlette(routes=[Route("/", answer, methods=["GET", "POST"])])
    server = uvicorn.Server(
        serving.configuration(app, host="127.0.0.1", port=0, request_seconds=request_seconds)
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    until(lambda: server.started, "the service", 30)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    thread.join(180)


def connect(port: int) -> "closing[socket.socket]":
    return closing(socket.create_connection(("127.0.0.1", port), timeout=180))


def is_refused(peer: socket.socket, blocks: Iterable[bytes]) -> bool:
    """Whether the other side hangs up before all of this is sent."""
    sent = 0
    try:
        for block in blocks:
            peer.sendall(block)
            sent += len(block)
            if sent > FLOOD_BYTES:
                return False
        # A request that was sent at once is refused with a reset or with an end.
        return peer.recv(1) == b""
    except OSError:
        return True


@pytest.mark.parametrize(
    ("head", "block"),
    [
        (b"GET /", b"a" * 4096),
        (b"GET / HTTP/1.1\r\nhost: a\r\nx: ", b"a" * 4096),
        (b"GET / HTTP/1.1\r\nhost: a\r\n", b"x: a\r\n" * 500),
        (CHUNKED + b"0\r\nx: ", b"a" * 4096),
        (CHUNKED + b"0\r\n", b"x: a\r\n" * 500),
        (CHUNKED + b"1;", b"a" * 4096),
        (CHUNKED + b"1\r\na\r\n0\r\n", b"trailer: a\r\n" * 300),
        (CHUNKED, b"1;aaaaaaaaaaaaaaaaaaaaaaaa\r\na\r\n" * 150),
        (CHUNKED, b"1\r\na\r\n" * 600),
    ],
    ids=[
        "url",
        "header",
        "headers",
        "trailer",
        "trailers",
        "extension",
        "late",
        "framing",
        "bytes",
    ],
)
def test_what_never_ends_is_not_collected(port: int, head: bytes, block: bytes) -> None:
    with connect(port) as peer:
        peer.sendall(head)
        assert is_refused(peer, itertools.repeat(block))


@pytest.mark.parametrize(
    "begun",
    [
        b"",
        b"GET /",
        b"GET / HTTP/1.1\r\nhost: a\r\nx: ",
        b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\na",
        CHUNKED + b"1\r\na\r\n",
        CHUNKED + b"1\r\na\r\n0\r\n",
        CHUNKED + b"1\r\na\r\n0\r\nx: ",
        CHUNKED + b"1\r\na\r\n0\r\n\r\nPOST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\na",
    ],
    ids=["nothing", "url", "header", "body", "chunk", "trailers", "trailer", "second"],
)
def test_what_does_not_come_is_not_waited_for(
    port: int, begun: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "HEADER_SECONDS", 1.0)
    with connect(port) as peer:
        peer.sendall(begun)
        # An additional byte now and then does not help.
        dripping = threading.Event()

        def drip() -> None:
            while not dripping.wait(0.2):
                try:
                    peer.sendall(b"a" if begun else b"")
                except OSError:
                    return

        thread = threading.Thread(target=drip)
        thread.start()
        try:
            while peer.recv(4096):
                pass
        except ConnectionResetError:
            pass
        finally:
            dripping.set()
            thread.join(180)


UPGRADE = b"connection: upgrade\r\nupgrade: websocket\r\n"


@pytest.mark.parametrize(
    ("begun", "piece"),
    [
        (b"GET / HTTP/1.1\r\nhost: a\r\n\r\n", b"\r\n"),
        (b"", b"\r\n"),
        (CHUNKED.replace(b"host: a\r\n", b"host: a\r\n" + UPGRADE), b"1\r\na\r\n"),
    ],
    ids=["lines after a request", "lines before a request", "another protocol"],
)
def test_nothing_that_is_no_request_keeps_a_connection(
    port: int, begun: bytes, piece: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "HEADER_SECONDS", 1.0)
    with connect(port) as peer, suppress(ConnectionError):
        peer.sendall(begun)
        peer.settimeout(0.1)
        for _ in range(200):
            peer.sendall(piece)
            with suppress(TimeoutError):
                if not peer.recv(4096):
                    return
        pytest.fail("it is still connected")


def test_small_pieces_of_a_body_are_not_taken_without_end(patient: int) -> None:
    """There is more of the body than of its framing, and each piece costs a call."""
    with connect(patient) as peer:
        peer.sendall(CHUNKED)
        assert is_refused(peer, itertools.repeat(b"8\r\naaaaaaaa\r\n" * 600))


def test_requests_whose_answers_nobody_reads_are_not_collected(
    patient: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even after they have arrived, which takes no time."""
    monkeypatch.setattr(serving, "HEADER_SECONDS", 1000)
    requests = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n" * 2000

    def waiting() -> int:
        return sum(isinstance(each, RequestResponseCycle) for each in gc.get_objects())

    with connect(patient) as peer:
        peer.settimeout(5)
        sent = 0
        # Nothing is taken any more, because all buffers are full.
        with suppress(TimeoutError):
            while sent < FLOOD_BYTES:
                sent += peer.send(requests)
        assert 0 < sent < FLOOD_BYTES
        assert 0 < waiting() < 200
        assert httpx.get(f"http://127.0.0.1:{patient}/", timeout=60).text == "0"


def test_honest_requests_are_served_however_they_are_sent(port: int) -> None:
    url = f"http://127.0.0.1:{port}/"
    with httpx.Client() as client:
        for size in (0, 1, 100_000, 8_000_000):
            assert client.post(url, content=b"a" * size).text == str(size)
        assert client.post(url, content=iter([b"a" * 1000] * 3000)).text == "3000000"
        assert client.post(url, content=iter([b"a"] * 400)).text == "400"
        assert client.get(url, headers={"x": "a" * 30_000}).text == "0"
    with connect(port) as peer:
        # One after the other without waiting, for more than one time slice.
        peer.sendall(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n" * 3000)
        received = b""
        while received.count(b"HTTP/1.1 200") < 3000:
            block = peer.recv(65_536)
            assert block
            received += block

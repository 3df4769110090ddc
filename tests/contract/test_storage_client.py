"""The download client against the Storage stand-in."""

import gzip
import hashlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import chain, repeat
from pathlib import Path

import pytest

from docmill.embedded.api import ApiServer
from docmill.embedded.postgres import PostgresServer
from docmill.worker.clients import storage as storage_module
from docmill.worker.clients.storage import SupabaseStorage, object_path
from docmill.worker.errors import JobError
from docmill.worker.pipeline.spool import Spool
from tests.support.api import KEYS, start_test_api
from tests.support.database import make_database

SECRET_KEY = KEYS.secret_key


@pytest.fixture(scope="module")
def server(
    postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ApiServer]:
    folder = tmp_path_factory.mktemp("storage")
    with make_database(postgres, "project") as database:
        made = start_test_api(database, folder)
        from supabase import create_client

        create_client(made.url, SECRET_KEY).storage.create_bucket("docs")
        yield made
        made.stop()


@pytest.fixture
def storage(server: ApiServer) -> Iterator[SupabaseStorage]:
    client = SupabaseStorage(server.url, SECRET_KEY)
    yield client
    client.close()


def upload(server: ApiServer, name: str, content: bytes) -> None:
    from supabase import create_client

    create_client(server.url, SECRET_KEY).storage.from_("docs").upload(
        name, content, {"upsert": "true"}
    )


def download(
    storage: SupabaseStorage, name: str, target: Path, max_bytes: int = 10_000_000
) -> bytes:
    return storage.download("docs", name, target, max_bytes=max_bytes, check=lambda: None)


@pytest.mark.parametrize("name", ["plain.txt", "a b/c (1).pdf", "q?x=1&y.txt", "semi;colon@+$.txt"])
def test_the_object_of_that_name_arrives_whole(
    server: ApiServer, storage: SupabaseStorage, tmp_path: Path, name: str
) -> None:
    content = name.encode() * 50_000
    upload(server, name, content)
    target = tmp_path / "spool"
    assert download(storage, name, target) == hashlib.sha256(content).digest()
    assert target.read_bytes() == content
    stored = storage.info("docs", name, check=lambda: None)
    assert stored is not None
    assert stored.size_bytes == len(content)


def test_a_new_version_shows_in_info(server: ApiServer, storage: SupabaseStorage) -> None:
    upload(server, "versions.txt", b"1")
    first = storage.info("docs", "versions.txt", check=lambda: None)
    upload(server, "versions.txt", b"22")
    second = storage.info("docs", "versions.txt", check=lambda: None)
    assert first is not None
    assert second is not None
    assert first.version != second.version
    assert second.size_bytes == 2


def test_a_missing_object_is_none_and_changed(storage: SupabaseStorage, tmp_path: Path) -> None:
    assert storage.info("docs", "missing.txt", check=lambda: None) is None
    assert storage.info("no-bucket", "missing.txt", check=lambda: None) is None
    with pytest.raises(JobError) as caught:
        download(storage, "missing.txt", tmp_path / "spool")
    assert caught.value.code == "object_changed"


def test_an_object_over_the_limit_is_not_read_to_its_end(
    server: ApiServer, storage: SupabaseStorage, tmp_path: Path
) -> None:
    upload(server, "large.bin", b"x" * 3_000_000)
    with pytest.raises(JobError) as caught:
        download(storage, "large.bin", tmp_path / "spool", max_bytes=1_000_000)
    assert caught.value.code == "document_too_large"
    assert (tmp_path / "spool").stat().st_size <= 1_000_000


class StopError(Exception):
    """Tells the run to stop."""


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nx"], ids=["nothing", "a byte"]
)
def test_a_run_that_must_stop_waits_for_no_silent_server(tmp_path: Path, answer: bytes) -> None:
    asked, done = threading.Event(), threading.Event()

    def check() -> None:
        if asked.is_set():
            raise StopError

    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer_once() -> None:
            connection, _ = listener.accept()
            connection.recv(4096)
            connection.sendall(answer)
            asked.set()
            assert done.wait(180)
            connection.close()

        server = threading.Thread(target=answer_once)
        server.start()
        storage = SupabaseStorage(f"http://127.0.0.1:{listener.getsockname()[1]}", SECRET_KEY)
        with pytest.raises(StopError):
            storage.download("docs", "x", tmp_path / "spool", max_bytes=9, check=check)
        assert server.is_alive()
        done.set()
        server.join(180)
        storage.close()


def test_a_request_left_behind_writes_into_no_other_file(tmp_path: Path) -> None:
    """The target is the number of a descriptor, which the next document's file gets."""
    begun, go_on, abandoned_done = threading.Event(), threading.Event(), threading.Event()

    def check() -> None:
        if begun.is_set():
            raise StopError

    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer_late() -> None:
            connection, _ = listener.accept()
            connection.recv(4096)
            begun.set()
            go_on.wait(180)
            with suppress(OSError):
                connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nalice")
                connection.recv(1)  # until the other side has hung up
            connection.close()
            abandoned_done.set()

        server = threading.Thread(target=answer_late, daemon=True)
        server.start()
        storage = SupabaseStorage(f"http://127.0.0.1:{listener.getsockname()[1]}", SECRET_KEY)
        spool = Spool(tmp_path, capacity_bytes=100)
        with (
            pytest.raises(StopError),
            spool.file(5, owner="alice", check=lambda: None) as alices,
        ):
            storage.download("docs", "x", alices, max_bytes=9, check=check)
        with spool.file(5, owner="bob", check=lambda: None) as bobs:
            # bob's file now has the number of alice's.
            assert bobs == alices
            bobs.write_bytes(b"bob's")
            go_on.set()
            assert abandoned_done.wait(180)
            storage.close()
            assert bobs.read_bytes() == b"bob's"
        server.join(180)


def test_a_compressed_answer_is_unpacked_and_whole(tmp_path: Path) -> None:
    packed = gzip.compress(b"text " * 1000)
    head = f"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {len(packed)}\r\n\r\n"
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            connection.recv(4096)
            connection.sendall(head.encode() + packed)
            connection.recv(1)
            connection.close()

        server = threading.Thread(target=answer, daemon=True)
        server.start()
        storage = SupabaseStorage(f"http://127.0.0.1:{listener.getsockname()[1]}", SECRET_KEY)
        target = tmp_path / "spool"
        assert download(storage, "x", target) == hashlib.sha256(b"text " * 1000).digest()
        assert target.read_bytes() == b"text " * 1000
        storage.close()
        server.join(180)


@contextmanager
def answering(answer: Callable[[], Iterator[bytes]]) -> Iterator[SupabaseStorage]:
    """A client of a server that sends these pieces to everybody, whatever was asked."""
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def send(connection: socket.socket) -> None:
            with connection, suppress(OSError):
                connection.recv(4096)
                for piece in answer():
                    connection.sendall(piece)
                    if over.is_set():
                        return

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    threading.Thread(target=send, args=(connection,), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        storage = SupabaseStorage(f"http://127.0.0.1:{listener.getsockname()[1]}", SECRET_KEY)
        yield storage
        over.set()
        storage.close()
        listener.shutdown(socket.SHUT_RDWR)


def requests(storage: SupabaseStorage, target: Path) -> Iterator[Callable[[], object]]:
    yield lambda: storage.info("docs", "x", check=lambda: None)
    yield lambda: download(storage, "x", target)


def slowly(first: bytes, piece: bytes) -> Iterator[bytes]:
    """The first bytes, and then a piece now and then, for a minute."""
    yield first
    for _ in range(3000):
        time.sleep(0.02)
        yield piece


_OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("first", "piece", "serves"),
    [
        (b"HTTP/1.1 200 ", b"O", False),
        (_OK, b"x: y\r\n", False),
        (b"", b"HTTP/1.1 103 Early Hints\r\n\r\n", False),
        (_OK + b"content-length: 9000000\r\n\r\n", b" ", True),
        (_OK + b"transfer-encoding: chunked\r\n\r\n", b"1\r\n \r\n", True),
        (_OK + b"transfer-encoding: chunked\r\n\r\n0\r\n", b"x: y\r\n", False),
    ],
    ids=["status", "headers", "hints", "body", "chunks", "trailers"],
)
def test_an_answer_that_drips_ends_and_leaves_room_for_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: bytes, piece: bytes, serves: bool
) -> None:
    monkeypatch.setattr(storage_module, "ANSWER_SECONDS", 0.3)
    with answering(lambda: slowly(first, piece)) as storage:
        began = time.monotonic()
        for request in requests(storage, tmp_path / "spool"):
            with pytest.raises(JobError) as caught:
                request()
            assert (caught.value.code, caught.value.counted) == ("storage_unavailable", False)
        assert time.monotonic() - began < 30
        assert storage.serves("docs", "x") == serves
        for _ in range(32):  # every turn is free again
            assert storage._gate.acquire(blocking=False)


def test_an_answer_of_any_size_is_not_collected(tmp_path: Path) -> None:
    sent: list[int] = []

    def endless() -> Iterator[bytes]:
        yield b"HTTP/1.1 400 X\r\n\r\n"
        for _ in range(3000):
            sent.append(1)
            yield b" " * 16_384

    with answering(endless) as storage:
        for request in requests(storage, tmp_path / "spool"):
            with pytest.raises(JobError) as caught:
                request()
            assert caught.value.code == "storage_unavailable"
    # What the sockets hold is sent too.
    assert len(sent) * 16_384 < 2 * 12_000_000


def test_a_request_ends_with_its_run(tmp_path: Path) -> None:
    asked, ended = threading.Event(), threading.Event()

    def check() -> None:
        if asked.is_set():
            raise StopError

    with socket.create_server(("127.0.0.1", 0)) as listener:

        def wait_for_the_end() -> None:
            connection, _ = listener.accept()
            with connection, suppress(ConnectionError):
                connection.recv(4096)
                connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nx")
                asked.set()
                connection.settimeout(20)  # less than the longest silence of a server
                if connection.recv(1):
                    return
            ended.set()

        server = threading.Thread(target=wait_for_the_end)
        server.start()
        storage = SupabaseStorage(f"http://127.0.0.1:{listener.getsockname()[1]}", SECRET_KEY)
        with pytest.raises(StopError):
            storage.download("docs", "x", tmp_path / "spool", max_bytes=9, check=check)
        server.join(180)
        storage.close()
    assert ended.is_set()


def test_a_slow_but_steady_transfer_continues(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage_module, "ANSWER_SECONDS", 0.3)
    monkeypatch.setattr(storage_module, "LEAST_BYTES_A_SECOND", 100)
    head = _OK + b"content-length: 20000\r\n\r\n"
    with answering(lambda: chain([head], map(_late, repeat(b"x" * 500, 40)))) as storage:
        began = time.monotonic()
        assert download(storage, "x", tmp_path / "spool") == hashlib.sha256(b"x" * 20_000).digest()
        assert time.monotonic() - began > 0.6


def _late(piece: bytes) -> bytes:
    time.sleep(0.02)
    return piece


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"null",
        b"[]",
        b'{"version": "v"}',
        *(
            b'{"version": "v", "size": %s}' % size
            for size in (b'"x"', b"null", b"NaN", b"Infinity", b"1e400", b"9" * 5000)
        ),
        b"[" * 100_000,
        b" " * 3_000_000,
    ],
    ids=lambda body: repr(body[:40]),
)
@pytest.mark.parametrize("status", ["200 OK", "204 No Content", "206 X", "301 X", "400 X", "500 X"])
def test_an_answer_of_another_form_becomes_a_code(tmp_path: Path, status: str, body: bytes) -> None:
    length = b"" if status.startswith("204") else b"content-length: %d\r\n" % len(body)
    # The server closes each connection: a second request on it would only fail sometimes.
    head = f"HTTP/1.1 {status}\r\nconnection: close\r\n".encode()
    answer = head + length + b"\r\n" + body
    with answering(lambda: iter([answer])) as storage:
        for request in list(requests(storage, tmp_path / "spool"))[: 1 + (status != "200 OK")]:
            with pytest.raises(JobError) as caught:
                request()
            assert (caught.value.code, caught.value.counted) == ("storage_unavailable", True)


def test_only_so_many_requests_are_made_at_once_and_the_others_can_stop() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        storage = SupabaseStorage(url, SECRET_KEY, connections=1)
        stop = threading.Event()

        def check_first() -> None:
            if stop.is_set():
                raise StopError

        def first() -> None:
            with pytest.raises(StopError):
                storage.info("docs", "x", check=check_first)

        running = threading.Thread(target=first)
        running.start()
        connection, _ = listener.accept()
        connection.recv(4096)

        def check_second() -> None:
            raise StopError

        with pytest.raises(StopError):
            storage.info("docs", "y", check=check_second)
        stop.set()
        running.join(180)
        connection.close()
        storage.close()


def test_a_wrong_key_is_a_configuration_error(server: ApiServer) -> None:
    upload(server, "locked.txt", b"x")
    stranger = SupabaseStorage(server.url, "sb_secret_wrong")
    with pytest.raises(JobError) as caught:
        stranger.info("docs", "locked.txt", check=lambda: None)
    assert caught.value.code == "storage_auth"


def test_storage_that_is_away_is_nobodys_failure() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
    with pytest.raises(JobError) as caught:
        SupabaseStorage(url, SECRET_KEY).info("docs", "x", check=lambda: None)
    assert (caught.value.code, caught.value.counted) == ("storage_unavailable", False)


@pytest.mark.parametrize("name", ["../other", "a/../b", "./a", "a/.", "a/", "/", "a//"])
def test_what_would_name_another_object_never_reaches_a_url(name: str) -> None:
    with pytest.raises(JobError) as caught:
        object_path("docs", name)
    assert caught.value.code == "unsupported_name"


def test_every_segment_is_encoded_by_us() -> None:
    assert object_path("my docs", "a/b?c#d%2e.pdf") == "my%20docs/a/b%3Fc%23d%252e.pdf"

"""The download client against the Storage stand-in."""

import gzip
import hashlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from docmill.embedded.api import ApiServer
from docmill.embedded.postgres import PostgresServer
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
    before = set(threading.enumerate())

    def check() -> None:
        if begun.is_set():
            raise StopError

    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer_late() -> None:
            connection, _ = listener.accept()
            connection.recv(4096)
            begun.set()
            go_on.wait(180)
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nalice")
            connection.recv(1)
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
            (request,) = {t for t in threading.enumerate() if t.name == "storage"} - before
            go_on.set()
            request.join(180)
            storage.close()
            assert abandoned_done.wait(180)
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

"""`docmill erase --objects` against Storage: files go too, whatever happens on the way."""

import json
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.support.installation import BUCKET, Installation, until

OTHER_BUCKET = "more"
#: What Storage is asked to remove, by bucket: None lets it through, else status and body.
Answer = tuple[int, bytes] | None


class Front:
    """A way to Supabase's API on which requests that remove files are answered by a test."""

    def __init__(self, url: str) -> None:
        self.respond: Callable[[str], Answer] = lambda _bucket: None
        self.asked: list[str] = []
        front = self

        class Handler(BaseHTTPRequestHandler):
            def do_DELETE(self) -> None:
                bucket = self.path.rpartition("/")[2]
                front.asked.append(bucket)
                answer = front.respond(bucket)
                if answer is None:
                    answer = front._pass_on(self, url)
                elif answer[0] == 0:  # hangs up
                    self.close_connection = True
                    return
                self.send_response(answer[0])
                self.send_header("content-length", str(len(answer[1])))
                self.end_headers()
                self.wfile.write(answer[1])

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _pass_on(self, handler: BaseHTTPRequestHandler, url: str) -> tuple[int, bytes]:
        body = handler.rfile.read(int(handler.headers["content-length"]))
        names = ("apikey", "authorization", "content-type")
        headers = {name: handler.headers[name] for name in names if handler.headers[name]}
        done = httpx.request("DELETE", f"{url}{handler.path}", content=body, headers=headers)
        return done.status_code, done.content


@pytest.fixture
def made(running: Installation) -> Installation:
    running.rows(
        """with bucket as (insert into storage.buckets (id, name) values ('more', 'more')
                             on conflict do nothing)
           insert into ingest_private.sources (bucket_id) values ('more')
               on conflict do nothing returning 1"""
    )
    return running


@pytest.fixture
def front(made: Installation) -> Iterator[Front]:
    front = Front(made.storage.url)
    yield front
    front.close()


@pytest.fixture
def eve(made: Installation) -> str:
    """A person with two files, one in each bucket, that are searchable."""
    eve = str(uuid4())
    for bucket in (BUCKET, OTHER_BUCKET):
        upload(made, eve, f"{bucket}.md", bucket)
        until(lambda b=bucket: job_state(made, f"{eve}/{b}.md") == "succeeded", "searchable")  # type: ignore[misc]
    return eve


@pytest.fixture
def bob(made: Installation) -> Iterator[str]:
    """Somebody else, who keeps everything."""
    bob = str(uuid4())
    name = upload(made, bob, "bob.md", BUCKET)
    until(lambda: job_state(made, name) == "succeeded", "searchable")
    before = (files_of(made, bob), made.search(bob, "anything"))
    yield bob
    assert (files_of(made, bob), made.search(bob, "anything")) == before


def upload(made: Installation, owner: str, name: str, bucket: str) -> str:
    content = f"# {name}\n\nWhat {owner} wrote.".encode()
    made.client(owner).storage.from_(bucket).upload(f"{owner}/{name}", content)
    return f"{owner}/{name}"


def job_state(made: Installation, name: str) -> str | None:
    job = made.latest_job(name)
    return job["state"] if job else None


def files_of(made: Installation, owner: str) -> list[str]:
    query = "select bucket_id || '/' || name as name from storage.objects where owner_id = %s"
    return sorted(row["name"].replace(owner, "") for row in made.rows(query, owner))


def rows_of(made: Installation, owner: str) -> dict[str, int]:
    (row,) = made.rows(
        """select (select count(*) from ingest.documents where owner_id = %(o)s) as documents,
                  (select count(*) from ingest.chunks where owner_id = %(o)s) as chunks,
                  (select count(*) from ingest.jobs where owner_id = %(o)s) as jobs,
                  (select count(*) from ingest_private.withdrawn
                    where owner_id = %(o)s) as withdrawn
        """.replace("%(o)s", f"'{owner}'")
    )
    return {name: count for name, count in row.items() if count}


class Erase:
    """The command, as a process."""

    def __init__(self, made: Installation, owner: str, url: str) -> None:
        command = [*made.program, "erase", "--owner", owner, "--objects", "--yes", "--json"]
        self.process = subprocess.Popen(
            command,
            env=made.environ() | {"SUPABASE_URL": url},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def end(self) -> tuple[int, dict[str, Any], str]:
        """Its exit code, the receipt, and what it says is wrong."""
        out, wrong = self.process.communicate(timeout=180)
        lines = [json.loads(line) for line in out.splitlines()]
        receipts = [line for line in lines if "erased_at" in line]
        wrong += "".join(str(line) for line in lines if "erased_at" not in line)
        return self.process.returncode, receipts[0] if receipts else {}, wrong


def test_rows_and_files_of_one_person_go_and_the_receipt_counts_them(
    made: Installation, front: Front, eve: str, bob: str
) -> None:
    objects = [
        row["version"]
        for row in made.rows("select version from storage.objects where owner_id = %s", eve)
    ]
    code, receipt, wrong = Erase(made, eve, front.url).end()
    assert (code, wrong) == (0, "")
    assert (receipt["owner"], receipt["documents"]) == (eve, 2)
    assert (receipt["files"], receipt["files_removed"]) == (2, 2)
    assert receipt["rows"]["ingest.jobs"] == 2
    assert files_of(made, eve) == []
    assert rows_of(made, eve) == {}
    assert made.search(eve, "anything") == []
    # The bytes are gone, not only their rows.
    kept = [path.name for path in Path(made.folder).rglob("*") if path.is_file()]
    assert not [version for version in objects if any(version in name for name in kept)]
    # Nothing is left to erase: said, and no failure of something else.
    code, receipt, wrong = Erase(made, eve, front.url).end()
    assert code != 0
    assert f"there is nothing of {eve} to erase" in wrong


@pytest.mark.parametrize(
    ("answer", "reason", "remedy"),
    [
        (
            (403, b'{"statusCode": "403", "error": "Unauthorized", "message": "no"}'),
            "Storage says: no",
            "set SUPABASE_SECRET_KEY to a secret key",
        ),
        (
            (500, b'{"statusCode": "500", "error": "Internal", "message": "broken"}'),
            "Storage says: broken",
            "run the same command again",
        ),
        ((502, b"<html>Bad gateway</html>"), "Bad gateway", "run the same command again"),
        ((0, b""), "Storage does not answer", "check SUPABASE_URL"),
        ((200, b"[]"), "Storage answered, and kept 1 file", "see its log"),
    ],
)
def test_where_storage_fails_half_way_it_says_so_and_what_is_gone(
    made: Installation, front: Front, eve: str, bob: str, answer: Answer, reason: str, remedy: str
) -> None:
    front.respond = lambda bucket: answer if bucket == OTHER_BUCKET else None
    code, receipt, wrong = Erase(made, eve, front.url).end()
    assert code != 0
    for part in (reason, remedy, "The rows are erased", "run the same command again"):
        assert part in wrong
    assert "Traceback" not in wrong
    # What is gone is on paper, and nobody finds what is left.
    assert (receipt["documents"], receipt["files"], receipt["files_removed"]) == (2, 2, 1)
    assert files_of(made, eve) == [f"{OTHER_BUCKET}//{OTHER_BUCKET}.md"]
    assert rows_of(made, eve) == {}


def test_a_run_that_is_killed_half_way_is_ended_by_another(
    made: Installation, front: Front, eve: str, bob: str
) -> None:
    held = threading.Event()

    def hold(bucket: str) -> Answer:
        if bucket == OTHER_BUCKET:
            held.wait(180)
            return 0, b""
        return None

    front.respond = hold
    first = Erase(made, eve, front.url)
    until(lambda: OTHER_BUCKET in front.asked, "the second bucket")
    os.kill(first.process.pid, signal.SIGKILL)
    first.process.communicate()
    held.set()
    assert files_of(made, eve) == [f"{OTHER_BUCKET}//{OTHER_BUCKET}.md"]
    front.respond = lambda _bucket: None
    code, receipt, _ = Erase(made, eve, front.url).end()
    assert code == 0
    assert (receipt["documents"], receipt["files"], receipt["files_removed"]) == (0, 1, 1)
    assert (files_of(made, eve), rows_of(made, eve)) == ([], {})


def test_what_is_uploaded_meanwhile_goes_too(
    made: Installation, front: Front, eve: str, bob: str
) -> None:
    later: list[str] = []

    def upload_once(_bucket: str) -> Answer:
        if not later:
            later.append(upload(made, eve, "later.md", BUCKET))
            until(lambda: job_state(made, later[0]) == "succeeded", "searchable")
        return None

    front.respond = upload_once
    code, receipt, wrong = Erase(made, eve, front.url).end()
    assert (code, wrong) == (0, "")
    assert (receipt["documents"], receipt["files"], receipt["files_removed"]) == (3, 3, 3)
    assert (files_of(made, eve), rows_of(made, eve)) == ([], {})


def test_who_goes_on_uploading_has_to_be_stopped(
    made: Installation, front: Front, eve: str, bob: str
) -> None:
    numbers = iter(range(1000))

    def upload_more(_bucket: str) -> Answer:
        upload(made, eve, f"later {next(numbers)}.md", BUCKET)
        return None

    front.respond = upload_more
    code, receipt, wrong = Erase(made, eve, front.url).end()
    assert code != 0
    assert "goes on uploading: ban the user" in wrong
    assert receipt["files_removed"] > 2
    front.respond = lambda _bucket: None
    assert Erase(made, eve, front.url).end()[0] == 0
    assert (files_of(made, eve), rows_of(made, eve)) == ([], {})


def test_a_file_that_became_somebody_elses_meanwhile_is_kept(
    made: Installation, front: Front, eve: str, bob: str
) -> None:
    """Storage removes by name: whose a name is has to be looked up late."""
    name = f"{eve}/{OTHER_BUCKET}.md"
    heir = str(uuid4())

    def hand_over(bucket: str) -> Answer:
        if bucket == BUCKET:
            query = "update storage.objects set owner_id = %s where name = %s returning 1"
            assert made.rows(query, heir, name)
        return None

    front.respond = hand_over
    code, receipt, wrong = Erase(made, eve, front.url).end()
    assert (code, wrong) == (0, "")
    assert receipt["files_removed"] == 1
    assert made.rows("select owner_id from storage.objects where name = %s", name) == [
        {"owner_id": heir}
    ]
    assert Erase(made, heir, front.url).end()[0] == 0


def test_nothing_is_erased_while_a_setting_is_missing(made: Installation, eve: str) -> None:
    environ = {
        name: value for name, value in made.environ().items() if name != "SUPABASE_SECRET_KEY"
    }
    done = subprocess.run(
        [*made.program, "erase", "--owner", eve, "--objects", "--yes"],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "SUPABASE_SECRET_KEY" in done.stdout + done.stderr
    assert rows_of(made, eve)["documents"] == 2

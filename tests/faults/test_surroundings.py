"""Postgres that stalls, refuses or freezes; a failing provider; wrong clocks; full disks."""

import json
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import psycopg
import pytest
from psycopg import errors as pg

from docmill.worker.errors import JobError
from docmill.worker.store.database import Database
from tests.faults.fake_provider import WAYS, wrong_answer
from tests.faults.processes import NoDiskError, SmallDisk, small_disk
from tests.faults.stack import FULL, LEASE_SECONDS, Stack
from tests.faults.test_deaths import HELD
from tests.support.database import Database as MadeDatabase
from tests.support.database import delete_objects
from tests.support.fake_openai import Answer, embeddings, error
from tests.support.installation import ALICE, until

pytestmark = pytest.mark.faults

#: Errors that Postgres may give to a correct statement: serialization failure, deadlock, disk full,
#: too many connections, shutting down.
MISHAPS: Final = ("40001", "40P01", "53100", "53300", "57P01")


@pytest.mark.parametrize("number", range(10 if FULL else 1))
def test_a_mishap_of_postgres_uses_up_no_attempt(stack: Stack, number: int) -> None:
    with stack.installation.database.connect() as connection:
        connection.execute("alter sequence public.mishap restart")
        for code in MISHAPS:
            connection.execute("insert into public.mishaps values (%s)", [code])
        try:
            name = stack.upload("has bad luck", 2)
            (job,) = stack.succeed(name)
        finally:
            connection.execute("truncate public.mishaps")
    assert job["attempt"] == 1
    assert {outcome for outcome, _alone in stack.runs(job)} <= {"released", "succeeded"}
    assert len(stack.runs(job)) >= 3
    stack.is_whole(name, 2)
    stack.note("Postgres refuses five statements", name)


@pytest.mark.parametrize("number", range(20 if FULL else 1))
def test_a_restart_of_postgres_in_any_stage_costs_no_attempt(stack: Stack, number: int) -> None:
    """Like a restart for clients: sessions end in the middle, and new ones are refused for a while.

    The server keeps running, because other tests use it; `make chaos` restarts its own.
    """
    name = stack.installation.database.name
    server_url = stack.installation.database.server.url("postgres")
    with ExitStack() as holds:
        for stage in HELD:
            holds.enter_context(stack.holding(stage))
        names = [stack.upload(word, 3) for word in ("in its commit", "hold publish", "hold embed")]
        for stage in HELD:
            stack.wait_for(stage, 1)
        with psycopg.connect(server_url, autocommit=True) as server:
            server.execute(f"alter database {name} allow_connections false".encode())
            try:
                ended = server.execute(
                    "select pg_terminate_backend(pid) from pg_stat_activity"
                    " where datname = %s and usename <> current_user",
                    [name],
                ).fetchall()
                time.sleep(1)  # the restart itself
            finally:
                server.execute(f"alter database {name} allow_connections true".encode())
    assert len(ended) >= 3
    for document, job in zip(names, stack.succeed(*names), strict=True):
        assert job["attempt"] == 1
        stack.is_whole(document, 3)
    assert not any(child.ended() for child in (stack.worker, stack.isolated))
    stack.note("Postgres restarted", *names)


@pytest.mark.parametrize("number", range(5 if FULL else 1))
def test_a_database_that_stalls_costs_no_attempt(stack: Stack, number: int) -> None:
    with stack.holding("embed"):
        names = [stack.upload("hold embed", 3) for _ in range(2)]
        stack.wait_for("embed", 2)
        with stack.database_way.held():
            stack.let_embed()
            time.sleep(5 if FULL else 2)  # the stall itself
    for name, job in zip(names, stack.succeed(*names), strict=True):
        assert job["attempt"] == 1
        stack.is_whole(name, 3)
    stack.note("Postgres stalls", *names)


def test_a_database_that_is_read_only_holds_jobs_and_costs_nothing(stack: Stack) -> None:
    database = stack.installation.database
    with database.connect() as connection:
        with stack.frozen():
            names = [stack.upload("waits for a writable database") for _ in range(3)]
            asked = len(stack.installation.openai.requests)
            sent = "select 1 from ingest_private.job_queue where phase = 'dispatched'"
            until(lambda: len(stack.installation.rows(sent)) == 3, "hints", 10)
            failed = _failed_claims(stack)
            _read_only(connection, database.name, "on")
        try:
            until(lambda: _failed_claims(stack) >= failed + 3, "claims", 10)
            states = stack.installation.rows(
                "select distinct state from ingest.jobs where object_name = any(%s)", names
            )
            assert states == [{"state": "queued"}]
            assert len(stack.installation.openai.requests) == asked
        finally:
            _read_only(connection, database.name, "off")
    for job in stack.succeed(*names):
        assert job["attempt"] == 1
    stack.note("Postgres read-only", *names)
    assert "raised unexpected: ReadOnly" not in stack.worker.log_path.read_text()


def _write_after(pause: float, pool: Database) -> None:
    with pool.transaction() as transaction:
        transaction.execute("select 1")
        time.sleep(pause)
        transaction.execute("select ingest_private.prune('1 day', '1 day')")


def _failed_claims(stack: Stack) -> int:
    return stack.worker.log_path.read_text().count('"claim_failed"')


@pytest.mark.parametrize(
    ("setting", "pause"),
    [("default_transaction_read_only = on", 0), ("idle_in_transaction_session_timeout = 50", 0.3)],
)
def test_what_a_standby_or_a_long_sleep_answers_is_an_outage(
    database: MadeDatabase, setting: str, pause: float
) -> None:
    """And not the document's fault, which would use up an attempt."""
    with database.connect() as admin:
        admin.execute(
            f"alter role docmill_worker in database {database.name} set {setting}".encode()
        )
    pool = Database(database.url("docmill_worker"), connections=2)
    pool.open()
    try:
        with pytest.raises(JobError) as raised:
            _write_after(pause, pool)
        assert raised.value.code == "database_unavailable"
    finally:
        pool.close()


def _read_only(connection: psycopg.Connection[Any], database: str, setting: str) -> None:
    connection.execute(
        f"alter role docmill_worker in database {database}"
        f" set default_transaction_read_only = {setting}".encode()
    )
    connection.execute(
        """select pg_terminate_backend(pid) from pg_stat_activity
            where usename = 'docmill_worker' and datname = current_database()"""
    )


def test_a_worker_that_sleeps_inside_a_transaction_holds_nobody_up(stack: Stack) -> None:
    """Others skip its locked rows, but this must not last."""
    with stack.holding("embed"):
        name = stack.upload("hold embed", 3)
        stack.wait_for("embed", 1)
        job = stack.installation.latest_job(name)
        assert job is not None
        sleeper = stack.installation.database.connect("docmill_worker")
        with stack.installation.database.connect() as admin:
            sleeper.execute("begin")
            sleeper.execute(
                "select ingest_private.begin_stage(%s, %s)", [job["id"], _token(stack, job)]
            )
            delete_objects(admin, [name])
            assert stack.installation.document(name) is None
            # The drain skips its locked rows, until Postgres ends its session.
            until(lambda: stack.installation.job(job["id"])["finished_at"], "the job ended", 30)
        with pytest.raises(pg.IdleInTransactionSessionTimeout):
            sleeper.execute("commit")
        sleeper.close()


def _token(stack: Stack, job: dict[str, Any]) -> int:
    (row,) = stack.installation.rows(
        "select token from ingest_private.leases where job_id = %s", job["id"]
    )
    return int(row["token"])


@pytest.mark.parametrize("number", range(10 if FULL else 1))
def test_after_a_failure_at_the_seventh_of_ten_batches_the_other_three_are_asked_for(
    stack: Stack, number: int
) -> None:
    failures: list[str] = []

    def fail_once(texts: Sequence[str]) -> Answer | None:
        if any("fails late" in text and ", part 6." in text for text in texts) and not failures:
            failures.append("500")
            # The three before it have arrived and are staged by then.
            until(lambda: _staged(stack, name) >= 6, "six staged", 10)
            return error(500, "server_error")
        return None

    stack.on_request = fail_once
    name = stack.upload("fails late", 10)
    (job,) = stack.succeed(name)
    asked = stack.asked(name)
    assert failures == ["500"]
    assert len(asked) == 10
    # Requests in flight beside the failed one may be repeated, staged texts may not.
    assert sorted(asked.values()) == [1] * 6 + sorted(asked.values())[6:]
    assert asked.total() <= 10 + 4
    stack.is_whole(name, 10)
    assert job["attempt"] == 1
    stack.note("provider fails at batch 7 of 10", name)


def _staged(stack: Stack, name: str) -> int:
    (row,) = stack.installation.rows(
        """select count(*) from ingest_private.staged_chunks as staged
             join ingest.documents as document on document.id = staged.document_id
            where document.object_name = %s""",
        name,
    )
    return int(row["count"])


@pytest.mark.parametrize("way", WAYS)
def test_a_wrong_answer_of_the_provider_is_never_stored(stack: Stack, way: str) -> None:
    wrong: list[str] = []

    def answer(texts: Sequence[str]) -> Answer | None:
        if len(wrong) < 2 and any("is answered wrongly" in text for text in texts):
            wrong.append(way)
            return 200, wrong_answer(list(texts), way), {}
        return None

    stack.on_request = answer
    name = stack.upload("answered wrongly", 2)
    stack.succeed(name)
    assert wrong == [way] * 2
    stack.is_whole(name, 2)
    for text in stack.asked(name):
        hit = stack.installation.search(ALICE, text, 1)[0]
        assert hit["object_name"] == name
        assert hit["score"] > 0.999
    stack.note("wrong vectors", name)


def test_what_a_provider_embeds_beside_a_refusal_is_kept(stack: Stack) -> None:
    """One request of a document is refused; the others in flight are paid for."""
    together = threading.Barrier(4)
    refused = threading.Event()

    def answer(texts: Sequence[str]) -> Answer | None:
        (text,) = texts
        if "is half refused" not in text or refused.is_set():
            return None
        together.wait(180)
        if ", part 0." in text:
            refused.set()
            return error(429, "rate_limit_exceeded", retry_after="1")
        # The refusal is on its way before this answer is.
        assert refused.wait(180)
        return None

    # Before its first answer the provider gets one request at a time.
    stack.succeed(stack.upload("the first", 1))
    stack.on_request = answer
    name = stack.upload("half refused", 9)
    (job,) = stack.succeed(name)
    stack.is_whole(name, 9)
    # The run itself waits for the limit.
    assert [outcome for outcome, _alone in stack.runs(job)] == ["succeeded"]
    asked = stack.asked(name)
    assert {text for text, times in asked.items() if times > 1} == {
        text for text in asked if ", part 0." in text
    }
    stack.note("a request refused beside others", name)


@pytest.mark.parametrize("usage", [None, {"total_tokens": None}, {"total_tokens": "four"}])
def test_an_answer_without_a_count_of_tokens_ends_no_worker(stack: Stack, usage: object) -> None:
    stack.on_request = lambda texts: (200, {**embeddings(list(texts)), "usage": usage}, {})
    name = stack.upload("uncounted", 2)
    (job,) = stack.succeed(name)
    assert job["tokens_used"] == 0


def test_workers_that_are_told_to_stop_leave_their_jobs_to_others(stack: Stack) -> None:
    """Another worker has them within a minute, and nothing is counted."""
    first = stack.worker
    stack.start_worker()
    with stack.holding("embed"):
        names = [stack.upload("hold embed", 3) for _ in range(6)]
        stack.wait_for("embed", 6)
        stopped = time.monotonic()
        first.process.send_signal(signal.SIGTERM)
    jobs = stack.succeed(*names)
    assert time.monotonic() - stopped <= 60
    for job in jobs:
        assert job["attempt"] == 1
        assert {outcome for outcome, _alone in stack.runs(job)} <= {"released", "succeeded"}
    for name in names:
        # The worker waited for the requests in flight when it was stopped, and kept their results.
        assert set(stack.asked(name).values()) == {1}
    assert first.process.wait(180) == 0
    stack.note("worker told to stop", *names)


def test_a_worker_that_is_told_to_stop_ends_what_is_all_but_done(stack: Stack) -> None:
    first = stack.worker
    with stack.holding("commit"):
        names = [stack.upload("in its commit", 3) for _ in range(3)]
        stack.wait_for("commit", 3)
        first.process.send_signal(signal.SIGTERM)
        draining = "select 1 from ingest_private.workers where draining"
        until(lambda: stack.installation.rows(draining), "a worker that drains", 10)
    assert first.process.wait(180) == 0
    for job in stack.succeed(*names):
        assert (job["attempt"], stack.runs(job)) == (1, [("succeeded", False)])
    stack.note("worker told to stop in a commit", *names)


#: Shifts the clock of a process: only CLOCK_REALTIME, as with a wrong clock.
SHIFT: Final = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
static long shift(void) { const char *s = getenv("CLOCK_SHIFT"); return s ? atol(s) : 0; }
int clock_gettime(clockid_t id, struct timespec *t) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int r = real(id, t);
    if (id == CLOCK_REALTIME) t->tv_sec += shift();
    return r;
}
int gettimeofday(struct timeval *restrict t, void *restrict z) {
    static int (*real)(struct timeval *, void *);
    if (!real) real = dlsym(RTLD_NEXT, "gettimeofday");
    int r = real(t, z);
    t->tv_sec += shift();
    return r;
}
time_t time(time_t *out) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    if (out) *out = t.tv_sec;
    return t.tv_sec;
}
"""

#: The same only for Python, if nothing can be compiled. Types of C are changed through their dict.
SHIFT_PYTHON: Final = """
import ctypes, datetime, gc, os, time
seconds = int(os.environ["CLOCK_SHIFT"])
read, read_ns, now = time.time, time.time_ns, datetime.datetime.now
time.time = lambda: read() + seconds
time.time_ns = lambda: read_ns() + seconds * 10**9
shifted = lambda cls, tz=None: now(tz) + datetime.timedelta(seconds=seconds)
gc.get_referents(datetime.datetime.__dict__)[0]["now"] = classmethod(shifted)
ctypes.pythonapi.PyType_Modified(ctypes.py_object(datetime.datetime))
"""


@pytest.fixture(scope="module")
def clock_shift(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a process whose clock is wrong by CLOCK_SHIFT seconds."""
    folder = tmp_path_factory.mktemp("clock")
    (folder / "shift.c").write_text(SHIFT)
    library = folder / "shift.so"
    command = ["cc", "-shared", "-fPIC", "-o", str(library), str(folder / "shift.c"), "-ldl"]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        (folder / "sitecustomize.py").write_text(SHIFT_PYTHON)
        return {"PYTHONPATH": str(folder)}
    return {"LD_PRELOAD": str(library)}


@pytest.mark.parametrize("hours", [1, -1] if FULL else [1])
def test_a_worker_whose_clock_is_wrong_works_as_any_other(
    broken: Stack, clock_shift: dict[str, str], hours: int
) -> None:
    stack = broken
    stack.worker.stop()
    stack.start_worker(**clock_shift, CLOCK_SHIFT=str(3600 * hours))
    failures: list[float] = []

    def fail_once(texts: Sequence[str]) -> Answer | None:
        if not failures and any("tried again" in text for text in texts):
            failures.append(time.monotonic())
            return error(500, "server_error")
        return None

    stack.on_request = fail_once
    try:
        ready = next(
            json.loads(line)["timestamp"]
            for line in stack.worker.log_path.read_text().splitlines()
            if "worker_ready" in line
        )
        off = datetime.fromisoformat(ready) - datetime.now(UTC)
        assert abs(off - timedelta(hours=hours)) < timedelta(minutes=1)
        with stack.holding("embed"):
            held = stack.upload("hold embed", 3)
            stack.wait_for("embed", 1)
            # Only the schedule finds a job that is due again.
            again = stack.upload("tried again")
            stack.succeed(again, timeout=15)
            until(lambda: time.monotonic() > failures[0] + LEASE_SECONDS, "a term of the lease")
        (job,) = stack.succeed(held)
        assert stack.runs(job) == [("succeeded", False)]
        stack.note("worker's clock wrong by an hour", held, again)
    finally:
        stack.on_request = lambda _texts: None
        assert stack.worker.stop() == 0


@pytest.fixture
def tiny_disk(tmp_path: Path) -> SmallDisk:
    try:
        return small_disk(tmp_path / "tiny")
    except NoDiskError as error:
        pytest.skip(str(error))


def test_a_full_disk_delays_a_document_and_nothing_of_it_stays(
    broken: Stack, tiny_disk: SmallDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = broken
    stack.worker.stop()
    with monkeypatch.context() as patch:
        program = (*tiny_disk.command, *stack.installation.program)
        patch.setattr(stack.installation, "program", program)
        stack.start_worker(DOCMILL_SPOOL_DIR=str(tiny_disk.folder))
    # The folder as the worker sees it.
    seen = Path(f"/proc/{stack.worker.pid}/root{tiny_disk.folder}")
    filler = seen / "filler"
    try:
        filler.write_bytes(b"x" * 60_000)
        name = stack.upload("larger than what is free", 60)
        until(lambda: _met(stack, name, "no_space"), "a full disk", 20)
        filler.unlink()
        (job,) = stack.succeed(name)
        assert job["attempt"] == 1
        stack.is_whole(name, 60)
        assert [entry.name for entry in seen.iterdir() if entry.is_file()] == []
        stack.note("worker's disk full", name)
    finally:
        assert stack.worker.stop() == 0


def _met(stack: Stack, name: str, code: str) -> bool:
    return bool(
        stack.installation.rows(
            """select 1 from ingest_private.attempts as try
                 join ingest.documents as document on document.latest_job_id = try.job_id
                where document.object_name = %s and try.error_code = %s""",
            *(name, code),
        )
    )

"""Redis that forgets, is away or is full; lost webhooks; unknown messages."""

import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final
from uuid import uuid4

import psycopg
import pytest
import redis as redis_client
from psycopg import errors as pg

from docmill.embedded.process import ChildProcess
from docmill.embedded.stack import SERVICES
from docmill.worker.admin.schema import apply_schema
from docmill.worker.app import create_app
from docmill.worker.queue import JOBS_QUEUE, RUN_JOB
from tests.faults.stack import FULL, Stack
from tests.support.database import INDEX, delete_objects, put_object
from tests.support.fake_openai import Answer
from tests.support.installation import ALICE, BOB, FAST, until

pytestmark = pytest.mark.faults

UPLOADS = 200 if FULL else 8
BACKLOG: Final = 10_000 if FULL else 2_000
SLOTS: Final = int(FAST["DOCMILL_SLOTS"])


def broker(stack: Stack) -> Any:
    return redis_client.Redis.from_url(stack.installation.settings["REDIS_URL"])


def redis_process(stack: Stack) -> ChildProcess:
    known = [*stack.installation.children, stack.installation.redis.child]
    return next(child for child in known if child.name == "redis" and not child.ended())


@pytest.mark.parametrize("number", range(5 if FULL else 1))
@pytest.mark.parametrize("loss", ["flushed", "restarted"])
def test_hints_that_redis_has_lost_are_sent_again(stack: Stack, loss: str, number: int) -> None:
    with stack.frozen():
        stack.keep_worker_for_a_minute()
        names = [stack.upload("lost") for _ in range(8)]
        until(lambda: _has_hints(stack, 7), "hints in Redis")
        if loss == "flushed":
            broker(stack).flushall()
        else:
            restart_redis(stack)
        lost_at = time.time()
    # A worker that is alive but takes no hints would show here: there is no other.
    jobs = stack.succeed(*names)
    assert all(job["started_at"].timestamp() - lost_at <= 60 for job in jobs)
    assert [len(stack.runs(job)) for job in jobs] == [1] * 8
    recovery = max(job["started_at"].timestamp() for job in jobs) - lost_at
    stack.note(f"Redis {loss}, with hints in it", *names, recovery=recovery)


def _has_hints(stack: Stack, number: int) -> bool:
    # Once more: a heartbeat in flight when the worker was frozen may have undone it.
    stack.keep_worker_for_a_minute()
    return bool(broker(stack).llen("docmill:ingest") >= number)


def restart_redis(stack: Stack) -> None:
    stack.installation.kill(redis_process(stack))
    stack.installation.start_redis_again()
    until(lambda: _answers(stack), "Redis again", 10)


def _answers(stack: Stack) -> bool:
    try:
        return bool(broker(stack).ping())
    except redis_client.ConnectionError:
        return False


def test_uploads_while_redis_is_away_are_all_answered_and_made_good(stack: Stack) -> None:
    child = redis_process(stack)
    log = stack.installation.storage.child.log_path
    refused = log.read_text().count("webhook_lost")
    os.kill(child.pid, signal.SIGSTOP)
    try:
        names = [stack.upload("meanwhile") for _ in range(UPLOADS)]
        queued = "select 1 from net.http_request_queue limit 1"
        until(lambda: not stack.installation.rows(queued), "webhooks sent", 30)
    finally:
        os.kill(child.pid, signal.SIGCONT)
    stack.succeed(*names, timeout=120)
    assert log.read_text().count("webhook_lost") == refused
    stack.note("Redis away during uploads", *names)


def test_a_full_redis_delays_and_loses_nothing(stack: Stack) -> None:
    client = broker(stack)
    client.config_set("maxmemory", "1")
    try:
        names = [stack.upload("no room for its hint") for _ in range(3)]
        until(lambda: "hints_not_sent" in stack.installation.logs(), "a hint refused", 10)
    finally:
        client.config_set("maxmemory", "0")
    stack.succeed(*names)
    assert not any(child.ended() for child in (stack.worker, stack.isolated))
    stack.note("Redis full", *names)


def test_without_any_webhook_everything_is_found(stack: Stack) -> None:
    (webhook,) = (
        child
        for child in stack.installation.children
        if child.name.startswith("webhook") and not child.ended()
    )
    stack.installation.kill(webhook)
    started = time.monotonic()
    names = [stack.upload("untold") for _ in range(100 if FULL else 5)]
    stack.succeed(*names)
    assert time.monotonic() - started <= 60
    stack.note("all webhooks lost", *names, recovery=time.monotonic() - started)
    stack.installation.start(*SERVICES["webhook"])


def test_hints_of_nothing_and_of_another_release_do_no_harm(stack: Stack) -> None:
    """A job that is unknown or finished; one argument too many; no job at all."""
    (done,) = stack.succeed(stack.upload("hinted once more"))
    app = create_app(stack.installation.settings["REDIS_URL"])
    with app.connection() as connection:
        for arguments in ([str(uuid4())], [str(done["id"])], [str(done["id"]), "more"], ["?"], []):
            app.send_task(RUN_JOB, args=arguments, queue=JOBS_QUEUE, connection=connection)
        app.send_task("docmill.unheard_of", queue=JOBS_QUEUE, connection=connection)
    stack.succeed(stack.upload("after them"))
    assert len(stack.runs(done)) == 1
    assert not stack.worker.ended()


def test_hints_that_are_lost_doubled_and_shuffled_run_each_job_once(stack: Stack) -> None:
    client = broker(stack)
    with stack.frozen():
        stack.keep_worker_for_a_minute()
        names = [stack.upload("hinted at somehow") for _ in range(SLOTS)]
        until(lambda: client.llen("docmill:ingest") >= SLOTS - 1, "hints in Redis", 30)
        hints = [client.rpop("docmill:ingest") for _ in range(client.llen("docmill:ingest"))]
        # In reverse order, each twice; two are lost.
        client.lpush("docmill:ingest", *hints[:1:-1], *hints[2:])
    for job in stack.succeed(*names):
        assert stack.runs(job) == [("succeeded", False)]
    stack.note("hints lost, doubled and shuffled", *names)


def test_functions_are_replaced_while_jobs_run(stack: Stack) -> None:
    """As in an upgrade, while workers of both releases run.

    In a deadlock with a worker Postgres ends one of them: then a run is given back, or the upgrade
    is tried again.
    """
    names = []
    with stack.installation.database.connect("postgres") as connection:
        for number in range(10 if FULL else 2):
            names += [stack.upload("during an upgrade", 3) for _ in range(4)]
            connection.execute("delete from ingest_private.settings where name = 'applied_schema'")
            assert apply_schema(connection, INDEX).reapplied
            assert number < len(names)
    for job in stack.succeed(*names):
        *before, last = stack.runs(job)
        assert last == ("succeeded", False)
        assert all(run == ("released", False) for run in before)
        assert job["attempt"] == 1
    stack.note("functions replaced while jobs run", *names)


SYNC: Final = "ingest_private.sync_objects(uuid[])"
WITHDRAW: Final = "ingest_private.withdraw_documents(uuid[])"


@contextmanager
def replaced(connection: psycopg.Connection[Any], function: str, statement: str) -> Iterator[None]:
    """While this is open, a function does only this."""
    (definition,) = connection.execute(
        "select pg_get_functiondef(%s::regprocedure)", [function]
    ).fetchone()  # type: ignore[misc]
    head = definition.partition(" LANGUAGE")[0]
    connection.execute(f"{head} language plpgsql as $$ begin {statement}; end $$".encode())
    try:
        yield
    finally:
        connection.execute(definition.encode())


def test_a_trigger_that_fails_loses_nothing(stack: Stack) -> None:
    """Uploads succeed; within ten seconds after the repair their changes are found."""
    old = stack.upload("to be deleted")
    changed = stack.upload("to be changed")
    stack.succeed(old, changed)
    with stack.installation.database.connect() as connection:
        with replaced(connection, SYNC, "raise exception 'broken'"):
            new = stack.upload("new")
            stack.upload("changed", 2, name=changed.rpartition("/")[2])
            delete_objects(connection, [old])
        repaired = time.monotonic()
    until(lambda: stack.chunks(old) == [] and stack.installation.document(old) is None, "gone", 10)
    until(lambda: stack.installation.document(new), "seen", 10)
    assert time.monotonic() - repaired <= 10
    stack.succeed(new)
    until(lambda: len(stack.chunks(changed)) == 2, "the new version", 30)
    stack.note("trigger fails", old, new, changed)
    assert old not in {hit["object_name"] for hit in stack.installation.search(ALICE, "x", 50)}


def test_a_statement_timeout_in_a_trigger_refuses_the_change_as_a_whole(stack: Stack) -> None:
    """A trigger cannot catch it: Storage gets the error, and no part of the change stays."""
    kept = stack.upload("kept", 2)
    (before,) = stack.succeed(kept)
    new = f"{ALICE}/{stack.fresh_name('refused at first')}"
    database = stack.installation.database
    with database.connect() as admin, database.connect("supabase_storage_admin") as storage:
        storage.execute("set statement_timeout = '100ms'")
        with replaced(admin, SYNC, "perform pg_sleep(30)"):
            for name in (new, kept):
                with pytest.raises(pg.QueryCanceled):
                    put_object(storage, name, owner=ALICE)
        with replaced(admin, WITHDRAW, "perform pg_sleep(30)"), pytest.raises(pg.QueryCanceled):
            delete_objects(storage, [kept])
        stored = "select name from storage.objects where name = any(%s)"
        assert stack.installation.rows(stored, [new, kept]) == [{"name": kept}]
        assert stack.installation.document(new) is None
        assert stack.installation.latest_job(kept) == before
        stack.is_whole(kept, 2)
        # When it is fast again, the same changes succeed.
        stack.upload("refused at first", 3, name=new.rpartition("/")[2])
        delete_objects(storage, [kept])
    stack.succeed(new)
    stack.is_whole(new, 3)
    assert stack.installation.document(kept) is None
    stack.note("statement timeout in a trigger", new, kept)


class Backlog:
    """Thousands of documents of one owner, whose jobs end one at a time on demand."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._first = stack.fresh_name("of the backlog")
        self._turns = threading.Semaphore(0)
        self._begun: list[str] = []
        self._let = 0
        stack.on_request = self._wait_for_a_turn

    def fill(self) -> None:
        """Upload them, each with its own text, without a webhook."""
        first = self._stack.upload("of the backlog", name=self._first)
        installation = self._stack.installation
        with installation.database.connect() as connection, connection.transaction():
            made = connection.execute(
                """insert into storage.objects (bucket_id, name, version, owner_id, metadata)
                   select bucket_id, name || number, gen_random_uuid(), owner_id, metadata
                     from storage.objects, generate_series(2, %s) as number where name = %s
                   returning version""",
                [BACKLOG, first],
            ).fetchall()
            (source,) = connection.execute(
                "select version from storage.objects where name = %s", [first]
            ).fetchone() or [""]
            versions = installation.folder / "objects" / "versions"
            content = (versions / source[:2] / source).read_bytes()
            for number, (version,) in enumerate(made):
                # As large as the first one, according to its row.
                own = content.replace(b"of the backlog", b"backlog%07d" % number)
                path = versions / version[:2] / version
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(own)
            connection.execute("delete from net.http_request_queue")

    def fills_all_slots(self) -> bool:
        """Whether every slot holds one of them in the embedding stage."""
        return len(self._begun) == self._let + SLOTS

    def let_one_end_in_each_slot(self) -> None:
        self._let += SLOTS
        self._turns.release(SLOTS)

    def ended_during(self, job: dict[str, Any]) -> int:
        """How many of them ended between the upload of another job's document and its end."""
        return self._count("finished_at between %s and %s", job["created_at"], job["finished_at"])

    def queued(self) -> int:
        return self._count("state = 'queued'")

    def remove(self) -> None:
        """Delete them all, and release the held ones."""
        with self._stack.installation.database.connect() as connection, connection.transaction():
            connection.execute("set local storage.allow_delete_query = 'true'")
            connection.execute(
                "delete from storage.objects where name like %s", [f"{ALICE}/{self._first}%"]
            )
            connection.execute("delete from net.http_request_queue")
        self._turns.release(BACKLOG)
        until(lambda: self._count("state in ('queued', 'running')") == 0, "the backlog gone")

    def _count(self, condition: str, *values: Any) -> int:
        (row,) = self._stack.installation.rows(
            f"select count(*) from ingest.jobs where object_name like %s and {condition}",
            *(f"{ALICE}/{self._first}%", *values),
        )
        return int(row["count"])

    def _wait_for_a_turn(self, texts: Sequence[str]) -> Answer | None:
        if any("backlog" in text for text in texts):
            self._begun.append(texts[0])
            self._turns.acquire(timeout=600)
        return None


def test_a_backlog_delays_another_owner_by_one_job_in_each_slot(stack: Stack) -> None:
    """The window of running and dispatched jobs has exactly the size of the live slots.

    So when another owner uploads, at most as many jobs as slots are ahead. When each slot has
    finished the one job that it holds, and every later one is held again, the other owner's job
    ends.
    """
    # A worker that has measured no provider yet. Otherwise held requests would look slow, and the
    # worker would send fewer at once than it has slots.
    stack.worker.stop()
    # Held requests are not sent a second time, however long a busy machine needs between two turns.
    # Each text has a request of its own: in one with a held text, the other owner's would wait.
    stack.start_worker(DOCMILL_EMBEDDING_TIMEOUT_SECONDS="600", DOCMILL_EMBEDDING_BATCH_SIZE="1")
    alone = "select 1 from ingest_private.workers where not isolated and expires_at > now()"
    until(lambda: len(stack.installation.rows(alone)) == 1, "workers that died forgotten")
    window = "select 1 from ingest_private.job_queue where phase in ('dispatched', 'running')"
    backlog = Backlog(stack)
    try:
        backlog.fill()
        for number in range(3):
            until(backlog.fills_all_slots, "a backlog in all slots")
            assert backlog.queued() >= 0.9 * BACKLOG
            assert len(stack.installation.rows(window)) == SLOTS
            text = "# A question\n\nof somebody who has no other."
            name = stack.installation.upload(BOB, f"{number} of another owner.md", text)
            until(lambda name=name: stack.installation.latest_job(name), "its job")  # type: ignore[misc]
            backlog.let_one_end_in_each_slot()
            (job,) = stack.succeed(name)
            assert 1 <= backlog.ended_during(job) <= SLOTS
            stack.note("behind thousands of jobs of another owner", name)
    finally:
        backlog.remove()

"""Redis that forgets, is away or is full; webhooks that are lost; messages of another kind."""

import os
import signal
import time
from typing import Any
from uuid import uuid4

import pytest
import redis as redis_client

from tests.faults.stack import FULL, Stack
from tests.support.database import delete_objects
from tests.support.installation import ALICE, until
from worker.app import create_app
from worker.local.process import ChildProcess
from worker.local.stack import SERVICES
from worker.queue import JOBS_QUEUE, RUN_JOB
from worker.settings import Settings
from worker.store.schema import reapplied_files

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]

UPLOADS = 200 if FULL else 8


def broker(stack: Stack) -> Any:
    return redis_client.Redis.from_url(stack.installation.settings["REDIS_URL"])


def redis_process(stack: Stack) -> ChildProcess:
    known = [*stack.installation.children, stack.installation.redis.child]
    return next(child for child in known if child.name == "redis" and not child.ended())


@pytest.mark.parametrize("number", range(5 if FULL else 1))
@pytest.mark.parametrize("loss", ["flushed", "restarted"])
def test_hints_that_redis_has_lost_are_sent_again(stack: Stack, loss: str, number: int) -> None:
    with stack.frozen():
        # However long the uploads take, it is not given up before there are hints for it.
        stack.installation.rows(
            "update ingest_private.workers set expires_at = now() + interval '1 minute'"
            " returning id"
        )
        names = [stack.upload("lost") for _ in range(8)]
        until(lambda: broker(stack).llen("docmill:ingest") >= 7, "hints in Redis", 30)
        if loss == "flushed":
            broker(stack).flushall()
        else:
            restart_redis(stack)
        lost_at = time.time()
    # A worker that lives and takes no hints would show here: there is no other.
    jobs = stack.succeed(*names)
    assert all(job["started_at"].timestamp() - lost_at <= 60 for job in jobs)
    assert [len(stack.runs(job)) for job in jobs] == [1] * 8
    recovery = max(job["started_at"].timestamp() for job in jobs) - lost_at
    stack.note(f"Redis {loss}, with hints in it", *names, recovery=recovery)


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
    """A job that is unknown, or over; an argument too many; no job at all."""
    (done,) = stack.succeed(stack.upload("hinted once more"))
    settings = Settings.model_validate({"redis_url": stack.installation.settings["REDIS_URL"]})
    app = create_app(settings)
    with app.connection() as connection:
        for arguments in ([str(uuid4())], [str(done["id"])], [str(done["id"]), "more"], ["?"], []):
            app.send_task(RUN_JOB, args=arguments, queue=JOBS_QUEUE, connection=connection)
        app.send_task("docmill.unheard_of", queue=JOBS_QUEUE, connection=connection)
    stack.succeed(stack.upload("after them"))
    assert len(stack.runs(done)) == 1
    assert not stack.worker.ended()


def test_functions_are_replaced_while_jobs_run(stack: Stack) -> None:
    """As an upgrade does, with workers of both releases at work."""
    names = []
    with stack.installation.database.connect("postgres") as connection:
        for number in range(10 if FULL else 2):
            names += [stack.upload("during an upgrade", 3) for _ in range(4)]
            connection.execute("set role postgres")
            with connection.transaction():
                for file in reapplied_files():
                    connection.execute(file.text.encode())
            assert number < len(names)
    for job in stack.succeed(*names):
        assert stack.runs(job) == [("succeeded", False)]
    stack.note("functions replaced while jobs run", *names)


def test_a_trigger_that_fails_loses_nothing(stack: Stack) -> None:
    """Uploads go on; what they missed is made good within ten seconds of its repair."""
    old = stack.upload("to be deleted")
    changed = stack.upload("to be changed")
    stack.succeed(old, changed)
    with stack.installation.database.connect() as connection:
        function = "ingest_private.sync_objects(uuid[])"
        (definition,) = connection.execute(
            f"select pg_get_functiondef('{function}'::regprocedure)".encode()
        ).fetchone()  # type: ignore[misc]
        connection.execute(
            b"""create or replace function ingest_private.sync_objects(p_object_ids uuid[])
                returns table (object_id uuid, job_id uuid) language plpgsql
                as $$ begin raise exception 'broken'; end $$"""
        )
        try:
            new = stack.upload("new")
            stack.upload("changed", 2, name=changed.rpartition("/")[2])
            delete_objects(connection, [old])
        finally:
            repaired = time.monotonic()
            connection.execute(definition.encode())
    until(lambda: stack.chunks(old) == [] and stack.installation.document(old) is None, "gone", 10)
    until(lambda: stack.installation.document(new), "seen", 10)
    assert time.monotonic() - repaired <= 10
    stack.succeed(new)
    until(lambda: len(stack.chunks(changed)) == 2, "the new version", 30)
    stack.note("trigger fails", old, new, changed)
    assert old not in {hit["object_name"] for hit in stack.installation.search(ALICE, "x", 50)}

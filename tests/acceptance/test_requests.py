"""Requests of owners take effect at every stage while real processes work."""

import itertools
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.support.database import as_client
from tests.support.installation import ALICE, Installation, until
from tests.support.slow import SLOW_MARKDOWN

LONG = "This sentence is about nothing in particular but it fills the section. " * 6
#: "Within about a second": the worker checks once a second.
SECONDS = 2.5
_numbers = itertools.count()


def ask(running: Installation, function: str, job_id: Any) -> Any:
    """A request of Alice through the Data API."""
    with as_client(running.database, {"sub": ALICE}) as client:
        row = client.execute(f"select ingest.{function}(%s)".encode(), [job_id]).fetchone()
    assert row is not None
    return row[0]


@pytest.fixture(scope="module")
def running(shared_installation: Installation) -> Installation:
    """Shared by all tests, each with its own documents. A single worker, which can be frozen."""
    shared_installation.start("beat")
    shared_installation.start_webhook()
    shared_installation.start_worker(
        DOCMILL_EMBEDDING_BATCH_SIZE="1", DOCMILL_EMBEDDING_REQUESTS="1"
    )
    return shared_installation


def fresh(name: str) -> str:
    """A name that no document has."""
    return f"{next(_numbers)} {name}"


def in_stage(job: dict[str, Any] | None, stage: str) -> dict[str, Any] | None:
    return job if job is not None and job["stage"] == stage else None


@contextmanager
def downloading(running: Installation) -> Iterator[str]:
    name = running.upload(ALICE, fresh("a.txt"), f"Waits for Storage. {LONG}")
    running.wait_for_job(name)
    with running.database.connect() as connection:
        os.kill(running.storage.child.pid, signal.SIGSTOP)
        try:
            connection.execute(
                "update storage.objects set version = gen_random_uuid()::text where name = %s",
                [name],
            )
            running.wait_for_job(name, "running")
            yield name
        finally:
            os.kill(running.storage.child.pid, signal.SIGCONT)


@contextmanager
def extracting(running: Installation) -> Iterator[str]:
    # A Markdown parser needs minutes for it.
    name = running.upload(ALICE, fresh("a.md"), SLOW_MARKDOWN)
    running.wait_for_job(name, "running")
    yield name


@contextmanager
def embedding(running: Installation) -> Iterator[str]:
    requests = len(running.openai.requests)
    running.openai.gate.clear()
    own = fresh("a.md")
    parts = (f"# Part {n}\n\nText {n} of {own}. {LONG}\n" for n in range(3))
    name = running.upload(ALICE, own, "\n".join(parts))
    running.openai.wait_for_requests(requests + 1)
    yield name


@contextmanager
def publishing(running: Installation) -> Iterator[str]:
    with running.slow_publish():
        name = running.upload(ALICE, fresh("a.txt"), f"Long to publish. {LONG}")
        running.wait_for_publish()
        yield name


@pytest.mark.parametrize("stage", [downloading, extracting, embedding, publishing])
def test_a_cancelled_job_stops_within_about_a_second_at_any_stage(
    running: Installation, stage: Any
) -> None:
    with stage(running) as name:
        job = until(lambda: in_stage(running.latest_job(name), stage.__name__), stage.__name__)
        started = time.monotonic()
        assert ask(running, "cancel_job", job["id"]) == "running"
        running.wait_for_job(name, "cancelled", timeout=10)
        assert time.monotonic() - started < SECONDS
        requests = len(running.openai.requests)
        running.openai.gate.set()
    # The worker is free for the next job, and the provider gets only that one.
    after = running.upload(ALICE, fresh("after.txt"), f"After {stage.__name__}. {LONG}")
    assert running.wait_for_job(after)["state"] == "succeeded"
    assert len(running.openai.requests) == requests + 1


def test_a_cancelled_job_can_be_retried_and_pays_for_nothing_twice(running: Installation) -> None:
    with embedding(running) as name:
        job = running.latest_job(name)
        assert job is not None
        ask(running, "cancel_job", job["id"])
        running.wait_for_job(name, "cancelled")
        running.openai.gate.set()
    new_id = ask(running, "retry_job", job["id"])
    assert new_id != job["id"]
    done = running.wait_for_job(name)
    assert (done["id"], done["state"]) == (new_id, "succeeded")
    # The request in flight at the cancellation may be repeated once.
    own = name.rpartition("/")[2]
    assert sum(f"of {own}." in text for text in running.openai.texts) <= 4


def test_a_queued_job_is_cancelled_before_any_worker_sees_it(running: Installation) -> None:
    (worker,) = (child for child in running.children if child.name.startswith("worker"))
    os.kill(worker.pid, signal.SIGSTOP)
    try:
        name = running.upload(ALICE, fresh("a.txt"), f"Never read. {LONG}")
        job = running.latest_job(name)
        assert job is not None
        assert ask(running, "cancel_job", job["id"]) == "cancelled"
    finally:
        os.kill(worker.pid, signal.SIGCONT)
    after = running.upload(ALICE, fresh("b.txt"), f"Read. {LONG}")
    assert running.wait_for_job(after)["state"] == "succeeded"
    assert running.job(job["id"])["state"] == "cancelled"
    assert not any("Never read" in text for text in running.openai.texts)

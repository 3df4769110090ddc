"""A pooler takes logins while Postgres is away: processes start, work and stop all the same."""

import json
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any, Final

import pytest

from docmill.embedded.process import ChildProcess
from docmill.worker.store.database import require_database
from tests.support.installation import ALICE, SHORT_LEASE, Installation, until
from tests.support.pooler import Pooler

#: Queries that get no server in one outage: each task, heartbeat and job has asked several times.
MANY: Final = 40


@pytest.fixture
def pooler(installation: Installation) -> Iterator[Pooler]:
    with Pooler(installation.database.server.port) as made:
        yield made


def pooled(installation: Installation, pooler: Pooler) -> str:
    """The database's address by way of the pooler."""
    port = installation.database.server.port
    return installation.settings["DATABASE_URL"].replace(f":{port}/", f":{pooler.port}/")


def events(child: ChildProcess) -> list[dict[str, Any]]:
    """The lines that a process has logged; each must be one event."""
    lines = [json.loads(line) for line in child.log_path.read_text().splitlines()]
    for line in lines:
        assert "Traceback" not in str(line), "\n".join(map(str, line.values()))
    return lines


def told(child: ChildProcess, event: str) -> int:
    return sum(line["event"] == event for line in events(child))


def warnings(child: ChildProcess) -> list[str]:
    """What a process warned of, beside outages."""
    return [
        line["event"]
        for line in events(child)
        if line["level"] in ("warning", "error", "critical")
        # Celery's own: about root, and that messages wait for another worker when it stops.
        and line["logger"] != "py.warnings"
        and not line["event"].startswith("Requeuing undeliverable message")
        and line["event"] not in ("database_unavailable", "database_not_ready")
    ]


def outage(pooler: Pooler, children: list[ChildProcess]) -> None:
    """Wait until all have asked in vain, many times together."""
    before = pooler.refused
    until(lambda: pooler.refused >= before + MANY, "queries in vain")
    assert not any(child.ended() for child in children)


def test_a_worker_that_starts_during_an_outage_begins_to_work_when_it_ends(
    installation: Installation, pooler: Pooler
) -> None:
    pooler.cut()
    name = installation.upload(ALICE, "early.txt", "written before any worker")
    installation.start("beat")
    url = pooled(installation, pooler)
    children = [installation.start(one, DATABASE_URL=url) for one in ("worker", "webhook")]
    until(lambda: pooler.refused >= 6, "both ask in vain")
    assert not any(child.ended() for child in children)
    pooler.restore()
    installation.wait_for_job(name, "succeeded")
    for child in children:
        assert told(child, "database_not_ready") == 1
        assert warnings(child) == []


def test_a_worker_lives_through_outages_and_says_of_each_that_it_began_and_ended(
    installation: Installation, pooler: Pooler
) -> None:
    url = pooled(installation, pooler)
    beat = installation.start("beat")
    worker = installation.start_worker(isolated=False, DATABASE_URL=url, **SHORT_LEASE)
    # A job whose lease ends during the outage goes on in it.
    installation.start_worker(isolated=True)
    for number in (1, 2):
        installation.openai.gate.clear()
        asked = len(installation.openai.requests)
        names = [installation.upload(ALICE, f"{number}-{n}.txt", f"{number} {n}") for n in range(4)]
        installation.openai.wait_for_requests(asked + 1)
        pooler.cut()
        # Now what was bought cannot be staged, nor the end of a run written.
        installation.openai.gate.set()
        outage(pooler, [beat, worker])
        assert told(worker, "database_unavailable") == number
        pooler.restore()
        for name in names:
            job = installation.wait_for_job(name, "succeeded")
            assert job["attempt"] <= 1
        until(lambda: told(worker, "database_back") == number, "it is told")  # noqa: B023
    assert told(worker, "database_unavailable") == 2
    assert set(warnings(worker)) <= {"lease_given_back", "jobs_rescued"}


@pytest.mark.parametrize("is_working", [True, False])
def test_a_worker_stops_during_an_outage_and_another_one_goes_on(
    installation: Installation, pooler: Pooler, *, is_working: bool
) -> None:
    installation.start("beat")
    worker = installation.start_worker(
        isolated=False, DATABASE_URL=pooled(installation, pooler), **SHORT_LEASE
    )
    installation.openai.gate.clear()
    if is_working:
        name = installation.upload(ALICE, "cut.txt", "cut off while it was embedded")
        installation.openai.wait_for_requests(1)
    pooler.cut()
    outage(pooler, [worker])
    os.kill(worker.pid, signal.SIGTERM)
    installation.openai.gate.set()
    # 75: a run could not be ended in order, because its end cannot be written.
    assert worker.process.wait(180) in {os.EX_OK, 75}
    assert told(worker, "database_unavailable") == 1
    assert set(warnings(worker)) <= {"drain_timed_out"}
    if is_working:
        installation.start_worker()
        installation.start_worker(isolated=True)
        installation.wait_for_job(name, "succeeded")


def test_a_login_that_was_taken_shows_that_the_address_is_right(
    installation: Installation, pooler: Pooler
) -> None:
    """Whoever starts waits longer than its patience, until the database is there."""
    pooler.cut()
    url = pooled(installation, pooler)
    waiting = threading.Thread(target=require_database, args=(url,), kwargs={"patience_seconds": 1})
    waiting.start()
    until(lambda: pooler.refused >= 4, "it asks for longer than a second")
    assert waiting.is_alive()
    pooler.restore()
    waiting.join(60)
    assert not waiting.is_alive()

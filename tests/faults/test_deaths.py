"""Workers that die or freeze while they hold documents in every stage."""

import os
import signal
import time
from contextlib import ExitStack
from typing import Any, Final

import pytest

from docmill.embedded.process import ChildProcess
from docmill.embedded.stack import SERVICES
from docmill.worker.extraction.child.kinds.pdf.reading import WINDOW_PAGES
from tests.faults.stack import FULL, RECOVERY_SECONDS, Stack, Stage
from tests.integration.extraction.documents import make_pdf
from tests.support.fake_openai import Answer
from tests.support.installation import ALICE, until

HELD: Final[tuple[Stage, ...]] = ("commit", "publish", "embed")

pytestmark = pytest.mark.faults


@pytest.mark.parametrize("number", range(25 if FULL else 1))
def test_a_death_in_any_stage_loses_nothing_and_pays_for_nothing_twice(
    stack: Stack, number: int
) -> None:
    with ExitStack() as holds:
        for stage in HELD:
            holds.enter_context(stack.holding(stage))
        embedding = stack.upload("hold embed", 3)
        publishing = stack.upload("hold publish", 3)
        committing = stack.upload("in its commit", 3)
        cut_off = stack.upload("cut off in its commit", 3)
        for stage in HELD:
            stack.wait_for(stage, 2 if stage == "commit" else 1)
        # Claimed, and nothing written yet.
        holds.enter_context(stack.holding("download"))
        claimed = stack.upload("claimed", 3)
        stack.wait_for("download", 1)

        moment = stack.kill_worker()
        stack.break_connection("commit", at_most=1)
    stack.start_worker()
    names = [claimed, embedding, publishing, committing, cut_off]
    jobs = dict(zip(names, stack.succeed(*names), strict=True))
    for name in names:
        stack.is_whole(name, 3)
    again = [("crashed", False), ("succeeded", True)]
    for name in (claimed, embedding, publishing):
        assert stack.runs(jobs[name]) == again, name
        assert stack.recovery(jobs[name], moment) <= RECOVERY_SECONDS
    # A commit that the server has begun either completes or is rolled back.
    ends = sorted(stack.runs(jobs[name]) for name in (committing, cut_off))
    assert ends == [again, [("succeeded", False)]]
    # Staged texts were paid for once; only the request in flight was repeated.
    assert sorted(stack.asked(embedding).values()) == [1, 1, 2]
    for name in (claimed, publishing, committing, cut_off):
        assert sorted(stack.asked(name).values()) == [1, 1, 1], name
    assert all(jobs[name]["attempt"] == 1 for name in names)
    recovery = max(stack.recovery(jobs[name], moment) for name in (claimed, embedding, publishing))
    stack.note("worker killed, with documents in every stage", *names, recovery=recovery)


@pytest.mark.parametrize("number", range(25 if FULL else 1))
def test_a_death_costs_no_window_that_was_read(stack: Stack, number: int) -> None:
    """Three windows were read when the worker died: the next run reads none of them."""
    # Numbers that do not grow with the pages; otherwise each line would be a page number.
    pages = [f"hold embed, part 2. Kiln {17 * page % 101}" for page in range(2 * WINDOW_PAGES + 1)]
    with stack.holding("embed"):
        name = stack.installation.upload(ALICE, stack.fresh_name("pages"), make_pdf(pages))
        stack.wait_for("embed", 1)
        (kept,) = stack.installation.rows("select count(*) from ingest_private.document_windows")
        assert kept["count"] == 3
        moment = stack.kill_worker()
    stack.start_worker()
    (job,) = stack.succeed(name)
    assert (job["pages_total"], job["pages_done"]) == (len(pages), len(pages))
    assert stack.runs(job) == [("crashed", False), ("succeeded", True)]
    assert "windows_reused" in stack.isolated.log_path.read_text()
    assert "".join(stack.chunks(name)).count("hold embed") == len(pages)
    (left,) = stack.installation.rows("select count(*) from ingest_private.document_windows")
    assert left["count"] == 0
    stack.note(
        "worker killed after it had read a large document",
        name,
        recovery=stack.recovery(job, moment),
    )


@pytest.mark.parametrize("number", range(25 if FULL else 1))
def test_a_worker_that_slept_past_its_lease_writes_nothing_more(stack: Stack, number: int) -> None:
    """The isolated worker can finish the held jobs; then the first worker continues."""
    with ExitStack() as holds:
        holds.enter_context(stack.holding("embed"))
        names = [stack.upload("hold embed", 3) for _ in range(3)]
        stack.wait_for("embed", 3)
        # In the middle of a COPY it would keep its leases: see end_stalled_sessions.
        until(lambda: _staged(stack, names) == 6, "all others staged")
        asleep = holds.enter_context(ExitStack())
        sleeper = stack.worker
        asleep.enter_context(stack.frozen())
        stack.start_worker()
        until(lambda: all(_crashes(stack, name) for name in names), "rescued")
        stack.let_embed()
        jobs = stack.succeed(*names)
        asleep.close()
        until(lambda: sum(_stale_runs(sleeper)) == 3, "three runs that were refused")
    for name, job in zip(names, jobs, strict=True):
        assert stack.runs(job) == [("crashed", False), ("succeeded", True)]
        stack.is_whole(name, 3)
        assert max(stack.asked(name).values()) == 2
    # One may have been frozen inside a transaction, which Postgres then ended.
    assert _stale_runs(sleeper)[0] >= 1
    assert sleeper.stop() == 0
    stack.note("worker suspended beyond its lease", *names)


def test_two_of_everything_do_nothing_twice(stack: Stack) -> None:
    """Two beats dispatch, sweep and rescue at once; two workers refill the window."""
    beat = stack.installation.start(*SERVICES["beat"])
    deadlocks = _deadlocks(stack)
    try:
        with stack.holding("embed"):
            held = [stack.upload("hold embed", 3) for _ in range(6)]
            stack.wait_for("embed", len(held))
            first = stack.worker
            stack.start_worker()
            stack.installation.kill(first)
            until(lambda: all(_crashes(stack, name) for name in held), "rescued")
        others = [stack.upload("by two of everything", 2) for _ in range(200 if FULL else 16)]
        for job in stack.succeed(*held):
            assert stack.runs(job) == [("crashed", False), ("succeeded", True)]
        for name, job in zip(others, stack.succeed(*others), strict=True):
            assert stack.runs(job) == [("succeeded", False)]
            assert set(stack.asked(name).values()) == {1}
        assert _deadlocks(stack) == deadlocks
        stack.note("two beats and two workers", *held, *others)
    finally:
        beat.stop()


def _deadlocks(stack: Stack) -> int:
    (row,) = stack.installation.rows(
        "select deadlocks from pg_stat_database where datname = current_database()"
    )
    return int(row["deadlocks"])


def _staged(stack: Stack, names: list[str]) -> int:
    (row,) = stack.installation.rows(
        """select count(*) from ingest_private.staged_chunks as staged
             join ingest.documents as document on document.id = staged.document_id
            where document.object_name = any(%s)""",
        names,
    )
    return int(row["count"])


def _stale_runs(worker: ChildProcess) -> tuple[int, int]:
    """Runs that learned that they are over, and runs that met an outage."""
    log = worker.log_path.read_text()
    return log.count('"job_lost"'), log.count('"job_not_done"')


def _crashes(stack: Stack, name: str) -> int:
    (row,) = stack.installation.rows(
        """select count(*) from ingest_private.attempts as try
             join ingest.documents as document on document.latest_job_id = try.job_id
            where document.object_name = %s and try.outcome = 'crashed'""",
        name,
    )
    return int(row["count"])


def test_a_document_that_kills_its_workers_is_failed_and_hurts_nobody(stack: Stack) -> None:
    deaths: list[int] = []

    def kill_who_asks(texts: Any) -> Answer | None:
        if any("deadly" in text for text in texts):
            (row,) = stack.installation.rows(
                """select split_part(lease.worker_id, ':', 2)::integer as pid
                     from ingest_private.leases as lease
                     join ingest.jobs as job on job.id = lease.job_id
                    where job.object_name like '%%deadly%%'"""
            )
            deaths.append(row["pid"])
            os.killpg(row["pid"], signal.SIGKILL)
        return None

    stack.on_request = kill_who_asks
    with stack.holding("embed"):
        innocents = [stack.upload("hold embed", 3) for _ in range(3)]
        stack.wait_for("embed", 3)
        deadly = stack.upload("deadly")
        stack.worker.process.wait(180)
    stack.start_worker()
    for _ in range(2):
        stack.isolated.process.wait(180)
        stack.start_isolated()
    failed = stack.installation.wait_for_job(deadly, "failed")
    assert failed["error_code"] == "worker_lost"
    assert stack.runs(failed) == [("crashed", False), ("crashed", True), ("failed", True)]
    assert len(deaths) == 3
    for job in stack.succeed(*innocents):
        assert ("crashed", True) not in stack.runs(job)
    # It stays failed, and other jobs run as before.
    started = time.monotonic()
    stack.succeed(stack.upload("served as before"))
    assert time.monotonic() - started < 5
    assert len(deaths) == 3
    stack.note("document that kills its workers", deadly, *innocents)

"""A refused key or an operator holds jobs; and workers that take no hints end."""

import time
from datetime import datetime
from typing import Any

from docmill.worker.processes.runtime import EXIT_STARVED
from tests.support.fake_openai import error
from tests.support.installation import ALICE, BOB, Installation, until


def explain(running: Installation, name: str) -> dict[str, Any]:
    job = running.latest_job(name)
    assert job is not None
    return running.docmill_rows("explain", str(job["id"]))[0]


def test_a_refused_key_costs_one_request_until_somebody_mends_it(
    installation: Installation,
) -> None:
    installation.start("beat")
    installation.settings |= {"DOCMILL_RETRY_MAX_SECONDS": "600", "DOCMILL_SLOTS": "1"}
    worker = installation.start_worker()
    installation.openai.respond = lambda _texts: error(401, "invalid_api_key")
    first = installation.upload(ALICE, "first.txt", "The first one to be refused.")
    until(
        lambda: bool(installation.rows("select * from ingest_private.breakers")), "a breaker opens"
    )
    others = [
        installation.upload(BOB, f"{number}.txt", f"Another one, number {number}.")
        for number in range(5)
    ]
    for name in (first, others[-1]):
        found = explain(installation, name)
        assert (found["situation"], found["hold_reason"]) == ("held", "breaker_open")
        assert found["remedy"]
    (status,) = installation.docmill_rows("status")
    assert [breaker["error_code"] for breaker in status["breakers"]] == ["provider_auth"]
    assert len(installation.openai.requests) == 1

    # The key is right now and the worker restarted, so it need not wait for the breaker.
    installation.openai.respond = lambda _texts: None
    worker.stop()
    installation.start_worker()
    for name in (first, *others):
        done = installation.wait_for_job(name)
        assert (done["state"], done["attempt"]) == ("succeeded", 1)
    assert installation.rows("select * from ingest_private.breakers") == []


def test_what_an_operator_pauses_waits_and_is_ingested_afterwards(
    running: Installation,
) -> None:
    (said,) = running.docmill_rows("pause", "--owner", ALICE, "--yes")
    assert (said["action"], said["scope"], said["jobs"]) == ("paused", "owner", 0)
    hers = running.upload(ALICE, "hers.txt", "She waits until she may go on.")
    his = running.upload(BOB, "his.txt", "He does not have to wait for anybody.")
    assert running.wait_for_job(his)["state"] == "succeeded"
    found = explain(running, hers)
    assert (found["state"], found["hold_reason"]) == ("queued", "paused")
    (status,) = running.docmill_rows("status")
    assert [pause["key"] for pause in status["pauses"]] == [ALICE]
    (said,) = running.docmill_rows("resume", "--owner", ALICE)
    assert (said["action"], said["jobs"]) == ("resumed", 1)
    assert running.wait_for_job(hers)["state"] == "succeeded"


def test_reconcile_says_what_differs_and_what_it_costs_and_repairs_it(
    running: Installation,
) -> None:
    kept = running.upload(ALICE, "kept.txt", "What was there before. " * 20)
    running.wait_for_job(kept)
    lost = running.upload(ALICE, "lost.txt", "What somebody has deleted by hand. " * 20)
    running.wait_for_job(lost)
    with running.database.connect() as admin:
        admin.execute("delete from ingest.documents where object_name = %s", [lost])
    *differences, summary = running.docmill_rows("reconcile", "--dry-run")
    assert [(one["object_name"], one["difference"]) for one in differences] == [(lost, "missing")]
    assert (summary["missing"], summary["stale"], summary["repaired"]) == (1, 0, False)
    assert summary["orphaned_chunks"] > 0
    assert 0 < summary["tokens"] < summary["bytes"]
    assert running.document(lost) is None
    assert running.docmill_rows("reconcile")[-1]["repaired"] is True
    assert running.wait_for_job(lost)["state"] == "succeeded"
    *differences, summary = running.docmill_rows("reconcile")
    assert (differences, summary["orphaned_chunks"]) == ([], 0)


def test_a_worker_that_takes_no_hints_while_hints_wait_ends(installation: Installation) -> None:
    worker = installation.start_worker(DOCMILL_STARVED_SECONDS="2", DOCMILL_RESEND_SECONDS="1")
    with installation.database.connect("postgres") as admin:
        deadline = time.monotonic() + 60
        installation.upload(ALICE, "unheard.txt", "Nobody ever hears of this one.")
        # The sender believes that hints are sent, but none arrives.
        while not worker.ended():
            assert time.monotonic() < deadline
            admin.execute("select ingest_private.take_ready_jobs('1 second')")
            installation.forget_hints()
            time.sleep(0.05)
    assert worker.process.returncode == EXIT_STARVED
    assert "worker_starved" in installation.logs()
    assert installation.rows("select * from ingest_private.leases") == []


def test_a_worker_outlives_an_outage_of_redis_however_long_hints_seem_to_wait(
    installation: Installation,
) -> None:
    """Nobody can take hints then, so a new worker would be of no more use."""
    worker = installation.start_worker(
        DOCMILL_STARVED_SECONDS="2", DOCMILL_RESEND_SECONDS="1", DOCMILL_LEASE_SECONDS="3"
    )
    installation.kill(installation.redis.child)
    installation.upload(ALICE, "later.txt", "It is read when Redis is back.")
    renewals: set[datetime] = set()

    def has_lived_on() -> bool:
        """Longer than the limit: it renews what it holds three times in each lease."""
        assert not worker.ended(), installation.logs()[-2000:]
        rows = installation.rows("select expires_at from ingest_private.workers")
        renewals.update(row["expires_at"] for row in rows)
        # The sender believes that hints are sent.
        installation.rows("select ingest_private.take_ready_jobs('1 second')")
        return len(renewals) > 8

    until(has_lived_on, "many signs of life")
    assert "worker_starved" not in installation.logs()

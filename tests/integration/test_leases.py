"""Leases of a process: renewed, lost, cancelled, drained."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from uuid import UUID

import pytest

from docmill.worker.errors import CancelledRunError, DrainError, JobError, LeaseLostError
from docmill.worker.models import Claim
from docmill.worker.pipeline.lease import LeaseKeeper, Run
from docmill.worker.store import jobs
from docmill.worker.store.database import single_connection
from docmill.worker.store.jobs import WorkerState
from tests.support.database import Database, put_object, watch_bucket

LEASE = timedelta(seconds=1)


@pytest.fixture
def keeper(database: Database) -> Iterator[LeaseKeeper]:
    state = WorkerState(
        "me", slots=4, isolated=False, draining=False, version="test", providers=["local"]
    )
    made = LeaseKeeper(
        lambda: single_connection(database.url("docmill_worker")), state, lease_for=LEASE
    )
    yield made
    made.close()


def put_one(database: Database) -> UUID:
    watch_bucket(database)
    with database.connect() as admin:
        put_object(admin, "a.txt", owner="u")
        (job_id,) = admin.execute("select id from ingest.jobs").fetchone()  # type: ignore[misc]
    assert isinstance(job_id, UUID)
    return job_id


def claim_job(database: Database, job_id: UUID, *, lease: timedelta = LEASE) -> Claim:
    with database.connect("docmill_worker") as worker:
        claim = jobs.claim(worker, job_id, worker_id="me", isolated=False, lease_for=lease)
    assert claim is not None
    return claim


def claim_one(database: Database, *, lease: timedelta = LEASE) -> Claim:
    return claim_job(database, put_one(database), lease=lease)


@contextmanager
def holding(keeper: LeaseKeeper, claim: Claim) -> Iterator[Run]:
    with keeper.hold(claim.job_id, lambda: claim) as run:
        assert run is not None
        yield run


def until_raises(check: Callable[[], None], error: type[Exception], seconds: float = 5) -> float:
    started = time.monotonic()
    while time.monotonic() - started < seconds:
        try:
            check()
        except error:
            return time.monotonic() - started
        time.sleep(0.02)
    raise AssertionError(f"no {error.__name__} within {seconds} s")


def expiry(database: Database, job_id: UUID) -> float:
    with database.connect() as admin:
        row = admin.execute(
            "select extract(epoch from expires_at - clock_timestamp())::float"
            " from ingest_private.leases where job_id = %s",
            [job_id],
        ).fetchone()
    assert row is not None
    return float(row[0])


def test_a_lease_outlives_its_first_term(database: Database, keeper: LeaseKeeper) -> None:
    claim = claim_one(database)
    keeper.start()
    with holding(keeper, claim) as run:
        deadline = time.monotonic() + 2.5 * LEASE.total_seconds()
        while time.monotonic() < deadline:
            run.check()
            time.sleep(0.05)
        assert expiry(database, claim.job_id) > 0


def queue_entry(database: Database) -> tuple[str, int, int]:
    with database.connect() as admin:
        row = admin.execute(
            "select phase, failures, crashes from ingest_private.job_queue"
        ).fetchone()
    assert row is not None
    phase, failures, crashes = row
    return str(phase), int(failures), int(crashes)


def test_a_lease_that_no_run_has_is_given_back_and_counts_as_nothing(
    database: Database, keeper: LeaseKeeper
) -> None:
    """Its claim was committed, but the connection broke before the answer."""
    claim_one(database, lease=timedelta(hours=1))
    keeper.start()
    _until(lambda: queue_entry(database) == ("ready", 0, 0))


def test_what_a_run_that_ended_could_not_say_is_given_back(
    database: Database, keeper: LeaseKeeper
) -> None:
    claim = claim_one(database)
    keeper.start()
    with holding(keeper, claim):
        _until(lambda: expiry(database, claim.job_id) > 0.9)
        assert queue_entry(database)[0] == "running"
    _until(lambda: queue_entry(database) == ("ready", 0, 0))


def test_a_claim_under_way_is_not_given_back(database: Database) -> None:
    beats = threading.Semaphore(0)
    keeper = LeaseKeeper(
        lambda: single_connection(database.url("docmill_worker")),
        WorkerState("me", 4, isolated=False, draining=False, version="test", providers=["local"]),
        lease_for=LEASE,
        on_alive=beats.release,
    )
    job_id = put_one(database)

    def slow_claim() -> Claim | None:
        claim = claim_job(database, job_id, lease=timedelta(hours=1))
        for _ in range(3):
            assert beats.acquire(timeout=180)
        return claim

    keeper.start()
    try:
        with keeper.hold(job_id, slow_claim) as run:
            assert run is not None
            assert queue_entry(database)[0] == "running"
    finally:
        keeper.close()


def test_a_worker_announces_itself_and_its_drain(database: Database, keeper: LeaseKeeper) -> None:
    keeper.start()

    def seen() -> list[tuple[str, int, bool]]:
        with database.connect() as admin:
            return admin.execute(
                "select id, slots, draining from ingest_private.workers"
            ).fetchall()

    _until(lambda: seen() == [("me", 4, False)])
    keeper.drain()
    _until(lambda: seen() == [("me", 4, True)])


def _until(holds: Callable[[], bool], seconds: float = 5) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_superseded_job_stops_its_run_within_about_a_second(
    database: Database, keeper: LeaseKeeper
) -> None:
    claim = claim_one(database)
    keeper.start()
    with holding(keeper, claim) as run:
        run.check()
        with database.connect() as admin:
            put_object(admin, "a.txt", owner="u")
        assert until_raises(run.check, LeaseLostError) < 2


def test_a_cancelled_job_stops_its_run_within_about_a_second(
    database: Database, keeper: LeaseKeeper
) -> None:
    claim = claim_one(database)
    keeper.start()
    with holding(keeper, claim) as run:
        with database.connect() as admin:
            admin.execute("update ingest.jobs set cancel_requested = true")
        assert until_raises(run.check, CancelledRunError) < 2


def test_a_drain_reaches_runs_that_are_held_and_those_that_come(
    database: Database, keeper: LeaseKeeper
) -> None:
    claim = claim_one(database)
    with holding(keeper, claim) as early:
        keeper.drain()
        with pytest.raises(DrainError):
            early.check()
    with holding(keeper, claim) as late, pytest.raises(DrainError):
        late.check()


def test_a_process_that_cannot_renew_stops_before_its_lease_is_given_away(
    database: Database,
) -> None:
    claim = claim_one(database)

    def no_database() -> None:
        raise JobError("database_unavailable")

    beats: list[None] = []
    keeper = LeaseKeeper(
        no_database,  # type: ignore[arg-type]
        WorkerState("me", 4, isolated=False, draining=False, version="test", providers=["local"]),
        lease_for=LEASE,
        on_alive=lambda: beats.append(None),
    )
    keeper.start()
    try:
        with holding(keeper, claim) as run:
            run.check()
            until_raises(run.check, LeaseLostError)
            with database.connect() as admin:
                row = admin.execute(
                    "select extract(epoch from expires_at - clock_timestamp())::float"
                    " from ingest_private.leases"
                ).fetchone()
            assert row is not None
            assert row[0] > -0.3  # noticed when it expired, not much later
        assert beats == []
    finally:
        keeper.close()


def test_a_process_that_renews_is_alive(database: Database) -> None:
    alive = threading.Event()
    keeper = LeaseKeeper(
        lambda: single_connection(database.url("docmill_worker")),
        WorkerState("me", 4, isolated=False, draining=False, version="test", providers=["local"]),
        lease_for=LEASE,
        on_alive=alive.set,
    )
    keeper.start()
    try:
        for _ in range(2):
            assert alive.wait(180)
            alive.clear()
    finally:
        keeper.close()


def test_a_run_that_slept_past_its_lease_stops_without_being_told(database: Database) -> None:
    claim = claim_one(database)
    run = Run(claim, valid_until=time.monotonic() - 0.01)
    with pytest.raises(LeaseLostError):
        run.check()

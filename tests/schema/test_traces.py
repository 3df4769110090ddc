"""The trace that the runs of a job continue."""

from typing import Any
from uuid import UUID

import pytest
from psycopg import errors as pg

from tests.schema.actors import Connection, claimed, job_of, value
from tests.support.database import Database, put_object

FIRST = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
SECOND = "00-aaaaaaaa77b34da6a3ce929d0e0e4736-bbbbbbbbbba902b7-00"


@pytest.fixture
def job_id(admin: Connection) -> UUID:
    return job_of(admin, put_object(admin, "traced.txt"))


def trace(connection: Connection, job_id: UUID | None, traceparent: str | None) -> Any:
    return traces(connection, {job_id: traceparent})[0]


def traces(connection: Connection, given: dict[Any, str | None]) -> Any:
    return value(
        connection,
        "select ingest_private.trace_jobs(%s::uuid[], %s::text[])",
        *(list(given), list(given.values())),
    )


def test_the_first_trace_stays(worker: Connection, job_id: UUID) -> None:
    assert trace(worker, job_id, None) is None
    assert trace(worker, job_id, FIRST) == FIRST
    assert trace(worker, job_id, SECOND) == FIRST
    assert trace(worker, job_id, None) == FIRST


def test_many_are_traced_at_once(admin: Connection, worker: Connection, job_id: UUID) -> None:
    other = job_of(admin, put_object(admin, "other.txt"))
    third = job_of(admin, put_object(admin, "third.txt"))
    trace(worker, other, FIRST)
    given = {third: SECOND, UUID(int=1): FIRST, other: SECOND, job_id: None}
    assert traces(worker, given) == [SECOND, None, FIRST, None]
    assert traces(worker, {}) == []


def test_it_outlasts_a_run_and_ends_with_the_job(
    admin: Connection, worker: Connection, job_id: UUID
) -> None:
    trace(worker, job_id, FIRST)
    run = claimed(worker, job_id)
    worker.execute(
        "select ingest_private.release_job(%s, %s, null, null, '0')", [run.job_id, run.token]
    )
    claimed(worker, job_id)
    admin.execute("update ingest_private.leases set expires_at = clock_timestamp()")
    assert value(worker, "select ingest_private.rescue_jobs()") == 1
    assert trace(worker, job_id, SECOND) == FIRST
    value(admin, "select ingest_private.end_job(%s, 'cancelled')", job_id)
    assert trace(worker, job_id, SECOND) is None


def test_nothing_but_ids_can_be_kept(worker: Connection, job_id: UUID) -> None:
    for odd in (
        "",
        "x",
        FIRST + "-x",
        FIRST.upper(),
        FIRST[:-2] + "ff",
        "'; select 1",
        " " + FIRST,
    ):
        with pytest.raises(pg.CheckViolation):
            trace(worker, job_id, odd)
    assert trace(worker, job_id, None) is None


def test_a_job_that_is_not_there_has_none(worker: Connection) -> None:
    assert trace(worker, UUID(int=1), FIRST) is None
    assert trace(worker, None, FIRST) is None


def test_who_comes_at_once_gets_the_same(wiped: Database, worker: Connection, job_id: UUID) -> None:
    with wiped.connect("docmill_worker") as other:
        with worker.transaction():
            assert trace(worker, job_id, FIRST) == FIRST
            # It waits a short time only: a request of the webhook must not hang here.
            with pytest.raises(pg.LockNotAvailable):
                trace(other, job_id, SECOND)
        assert trace(other, job_id, SECOND) == FIRST

"""Schedules: when each is due, and the runs that are claimed."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, LiteralString
from uuid import UUID

from docmill.worker.store.database import Connection

NOW: Final[LiteralString] = "select clock_timestamp()"
PUT: Final[LiteralString] = """
    select ingest_private.put_schedules(
        %(names)s::text[], %(expressions)s::text[], %(next_due_at)s::timestamptz[], %(time_zone)s)
"""
CLAIM: Final[LiteralString] = (
    "select ingest_private.claim_schedule(%(name)s, %(next_due_at)s, %(lease)s)"
)
RENEW: Final[LiteralString] = "select ingest_private.renew_schedule(%(name)s, %(token)s, %(lease)s)"
FINISH: Final[LiteralString] = """
    select ingest_private.finish_schedule(
        %(name)s, %(token)s, %(error)s, %(documents)s, %(jobs)s::uuid[])
"""
RETRY_FAILED: Final[LiteralString] = "select ingest_private.retry_failed(%(codes)s, %(limit)s)"


@dataclass(frozen=True)
class Planned:
    """A schedule according to the settings; without an expression it is off."""

    name: str
    expression: str | None
    next_due_at: datetime | None


@dataclass(frozen=True)
class RunOfSchedule:
    """A claimed run: no other worker has it."""

    name: str
    token: int


def now(connection: Connection) -> datetime:
    """The database's time, which is the same for all workers."""
    row = connection.execute(NOW).fetchone()
    assert row is not None
    moment: datetime = row[0]
    return moment


def put(connection: Connection, planned: Sequence[Planned], *, time_zone: str) -> list[str]:
    """Write the schedules of the settings; returns the names of those that are due."""
    parameters = {
        "names": [one.name for one in planned],
        "expressions": [one.expression for one in planned],
        "next_due_at": [one.next_due_at for one in planned],
        "time_zone": time_zone,
    }
    return [row[0] for row in connection.execute(PUT, parameters)]


def claim(
    connection: Connection, name: str, *, next_due_at: datetime, lease: timedelta
) -> RunOfSchedule | None:
    """Claim a run; None: it is not due, or another worker has claimed it."""
    parameters = {"name": name, "next_due_at": next_due_at, "lease": lease}
    row = connection.execute(CLAIM, parameters).fetchone()
    token = row and row[0]
    return None if token is None else RunOfSchedule(name, token)


def renew(connection: Connection, run: RunOfSchedule, *, lease: timedelta) -> bool:
    """Keep the run for this transaction. False: another worker has it."""
    row = connection.execute(RENEW, {**vars(run), "lease": lease}).fetchone()
    return bool(row and row[0])


def finish(
    connection: Connection,
    run: RunOfSchedule,
    *,
    error: str | None = None,
    documents: int | None = None,
    jobs: Sequence[UUID] = (),
) -> bool:
    """Write what the run did, or the code of its error. False: another worker has it."""
    parameters = {**vars(run), "error": error, "documents": documents, "jobs": list(jobs)}
    row = connection.execute(FINISH, parameters).fetchone()
    return bool(row and row[0])


def retry_failed(connection: Connection, codes: Sequence[str], limit: int) -> list[UUID]:
    """New jobs for some documents that failed with one of these codes."""
    row = connection.execute(RETRY_FAILED, {"codes": list(codes), "limit": limit}).fetchone()
    assert row is not None
    jobs: list[UUID] = row[0]
    return jobs

"""Keeping documents in line with Storage, and the tables small."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, LiteralString
from uuid import UUID

from psycopg.rows import class_row

from worker.models import IndexVersion
from worker.store.database import Connection
from worker.store.hints import SYNC_OBJECT, ObjectHint

DRAIN: Final[LiteralString] = "select settled, failed from ingest_private.drain_pending_events()"
RECONCILE: Final[LiteralString] = """
    select repaired, next_after from ingest_private.reconcile(%(after)s, %(since)s)
"""
PRUNE: Final[LiteralString] = "select ingest_private.prune(%(keep_jobs)s, %(keep_staged)s)"
ACTIVE_INDEX: Final[LiteralString] = """
    select id, model, dimensions, chunking from ingest_private.active_index_version()
"""


@dataclass(frozen=True)
class DrainedEvents:
    """How many pending events were settled, and how many failed again."""

    settled: int
    failed: int


def sync_object(connection: Connection, hint: ObjectHint) -> UUID | None:
    """Bring documents and jobs in line with what Storage holds; the unfinished job, if any."""
    row = connection.execute(SYNC_OBJECT, vars(hint)).fetchone()
    assert row is not None
    job_id: UUID | None = row[0]
    return job_id


def drain_pending_events(connection: Connection) -> DrainedEvents:
    """Sync what the triggers on storage.objects could not."""
    with connection.cursor(row_factory=class_row(DrainedEvents)) as cursor:
        row = cursor.execute(DRAIN).fetchone()
    assert row is not None
    return row


def reconcile_page(
    connection: Connection, *, after: UUID | None, since: datetime | None
) -> tuple[int, UUID | None]:
    """Compare one page with Storage and repair it: how many differed, where to go on."""
    row = connection.execute(RECONCILE, {"after": after, "since": since}).fetchone()
    assert row is not None
    return row[0], row[1]


def prune(connection: Connection, *, keep_jobs: timedelta, keep_staged: timedelta) -> int:
    """Remove a bounded number of old rows; returns how many."""
    row = connection.execute(PRUNE, {"keep_jobs": keep_jobs, "keep_staged": keep_staged}).fetchone()
    assert row is not None
    pruned: int = row[0]
    return pruned


def active_index_version(connection: Connection) -> IndexVersion | None:
    """The index version that uploads go to."""
    with connection.cursor(row_factory=class_row(IndexVersion)) as cursor:
        return cursor.execute(ACTIVE_INDEX).fetchone()

"""Keeping documents in line with Storage, and the tables small."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Literal, LiteralString
from uuid import UUID

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from docmill.worker.models import IndexVersion
from docmill.worker.store.database import Connection
from docmill.worker.store.hints import SYNC_OBJECT, ObjectHint

DRAIN: Final[LiteralString] = "select settled, failed from ingest_private.drain_pending_events()"
DRAIN_WITHDRAWN: Final[LiteralString] = """
    select ingest_private.drain_withdrawn(p_keep_embeddings => %(keep_embeddings)s)
"""
FILL_CHUNKS: Final[LiteralString] = "select ingest_private.fill_chunks(%(copy)s, %(limit)s)"
RECONCILE: Final[LiteralString] = """
    select differences, next_after
      from ingest_private.reconcile(
        %(after)s, clock_timestamp() - %(newest)s::interval, p_repair => %(repair)s)
"""
NOTE_FULL_RECONCILE: Final[LiteralString] = "select ingest_private.note_full_reconcile()"
ORPHANED_CHUNKS: Final[LiteralString] = "select ingest_private.forget_orphaned_chunks(%(repair)s)"
APPLY_PAUSES: Final[LiteralString] = """
    select changed, next_after from ingest_private.apply_pauses(%(after)s)
"""
PROBES_WANTED: Final[LiteralString] = """
    select dependency, bucket_id, object_name from ingest_private.probes_wanted()
"""
SETTLE_SPEND: Final[LiteralString] = "select ingest_private.settle_spend()"
BEGIN_WORK: Final[LiteralString] = """
    select ingest_private.begin_work(%(work)s, %(period)s)
"""
NOTE_TICK: Final[LiteralString] = "select ingest_private.note_tick(%(work)s)"
NOTE_PROBE: Final[LiteralString] = "select ingest_private.note_probe(%(dependency)s, %(served)s)"
NOTE_PRICES: Final[LiteralString] = "select ingest_private.note_prices(%(prices)s)"
PRUNE: Final[LiteralString] = "select ingest_private.prune(%(keep_jobs)s, %(keep_staged)s)"
END_DUE_VERSIONS: Final[LiteralString] = "select ingest_private.end_due_versions()"
ACTIVE_INDEX: Final[LiteralString] = """
    select active.*, made.*
      from ingest_private.active_index_version() as active
           cross join lateral ingest_private.embedding_of(active.id) as made
"""
FILL_VERSIONS: Final[LiteralString] = "select ingest_private.fill_index_versions()"


#: The data that is stored beside each chunk for searches.
ChunkCopy = Literal["sketches", "lexemes", "titles"]
#: Number of chunks in one transaction that makes copies.
FILL_PAGE: Final = 500

DifferenceKind = Literal["missing", "orphaned", "stale", "renamed", "changed", "stuck"]


@dataclass(frozen=True)
class Difference:
    """One object whose document differs from Storage; see reconcile."""

    object_id: UUID
    difference: DifferenceKind
    bucket_id: str
    object_name: str
    size_bytes: int | None


@dataclass(frozen=True)
class DrainedEvents:
    """How many pending events were settled, and how many failed again."""

    settled: int
    failed: int


@dataclass(frozen=True)
class WantedProbe:
    """A dependency to try. For Storage: with an object that it has delivered before."""

    dependency: Literal["storage", "provider"]
    bucket_id: str | None
    object_name: str | None


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


def drain_withdrawn(connection: Connection, *, keep_embeddings: timedelta) -> int:
    """Remove a part of the withdrawn documents' contents; returns how many rows, 0 at the end.

    The embeddings of deleted files are kept for their owners for this long.
    """
    return int(_scalar(connection, DRAIN_WITHDRAWN, {"keep_embeddings": keep_embeddings}))


def fill_chunks(connection: Connection, copy: ChunkCopy) -> int:
    """Make some of the copies that older chunks lack; returns how many, 0 at the end."""
    return int(_scalar(connection, FILL_CHUNKS, {"copy": copy, "limit": FILL_PAGE}))


def fill_index_versions(connection: Connection) -> int:
    """Make jobs for documents that other index versions lack; returns how many."""
    return int(_scalar(connection, FILL_VERSIONS, {}))


def reconcile_page(
    connection: Connection, *, after: UUID | None, newest: timedelta | None, repair: bool
) -> tuple[list[Difference], UUID | None]:
    """Compare one page with Storage, and repair it; returns the differences and where to go on."""
    parameters = {"after": after, "newest": newest, "repair": repair}
    row = connection.execute(RECONCILE, parameters).fetchone()
    assert row is not None
    found, next_after = row
    return [
        Difference(**{**difference, "object_id": UUID(difference["object_id"])})
        for difference in found
    ], next_after


def note_full_reconcile(connection: Connection) -> None:
    """Tell workers of the former release that everything has just been compared."""
    connection.execute(NOTE_FULL_RECONCILE)


def orphaned_chunks(connection: Connection, *, repair: bool) -> int:
    """Count rows of chunks whose document is gone, and remove them."""
    return int(_scalar(connection, ORPHANED_CHUNKS, {"repair": repair}))


def apply_pauses_page(connection: Connection, *, after: UUID | None) -> tuple[int, UUID | None]:
    """Hold paused jobs and resume others; returns how many changed, and where to go on."""
    row = connection.execute(APPLY_PAUSES, {"after": after}).fetchone()
    assert row is not None
    return row[0], row[1]


def _scalar(connection: Connection, query: LiteralString, parameters: dict[str, object]) -> Any:
    row = connection.execute(query, parameters).fetchone()
    assert row is not None
    return row[0]


def probes_wanted(connection: Connection) -> list[WantedProbe]:
    """The dependencies that a worker should try by itself, because jobs keep failing with them."""
    with connection.cursor(row_factory=class_row(WantedProbe)) as cursor:
        return cursor.execute(PROBES_WANTED).fetchall()


def note_prices(connection: Connection, prices: Mapping[str, Mapping[str, float]]) -> None:
    """Say what a million tokens cost: dollars by provider and model; `""`: any other model."""
    connection.execute(NOTE_PRICES, {"prices": Jsonb(prices)})


def note_probe(connection: Connection, dependency: str, *, served: bool) -> None:
    """Write the result of a try."""
    connection.execute(NOTE_PROBE, {"dependency": dependency, "served": served})


def settle_spend(connection: Connection) -> None:
    """Write what owners have spent at the same time into the table that they read."""
    connection.execute(SETTLE_SPEND)


def begin_work(connection: Connection, work: str, period: timedelta | None) -> bool:
    """Whether a work of the schedule is due; if so, it counts as begun.

    Without a period it is always due.
    """
    return bool(_scalar(connection, BEGIN_WORK, {"work": work, "period": period}))


def note_tick(connection: Connection, work: str) -> None:
    """Note that a task of the schedule was done to its end."""
    connection.execute(NOTE_TICK, {"work": work})


def prune(connection: Connection, *, keep_jobs: timedelta, keep_staged: timedelta) -> int:
    """Remove a bounded number of old rows; returns how many."""
    return int(_scalar(connection, PRUNE, {"keep_jobs": keep_jobs, "keep_staged": keep_staged}))


def end_due_versions(connection: Connection) -> int:
    """End versions whose time is over, and remove some of their rows; 0: none are left.

    Their tables stay until an operator drops them.
    """
    return int(_scalar(connection, END_DUE_VERSIONS, {}))


def active_index_version(connection: Connection) -> IndexVersion | None:
    """The index version that uploads go to."""
    with connection.cursor(row_factory=class_row(IndexVersion)) as cursor:
        return cursor.execute(ACTIVE_INDEX).fetchone()

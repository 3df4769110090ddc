"""Erases a person: every row and vector, with a note that keeps their files from coming back."""

import time
from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, LiteralString
from uuid import UUID

from docmill.worker.admin.rows import Row, fetch_rows, fetch_value
from docmill.worker.errors import RefusedError, ServiceError
from docmill.worker.store import maintenance
from docmill.worker.store.database import Connection
from docmill.worker.store.outage import CONTENTION

RULES: Final[LiteralString] = """
    select bucket_id, prefix, owner_from from ingest_private.sources
     where owner_from = 'fixed:' || %(owner)s or strpos(prefix, %(owner)s) > 0
     order by bucket_id, prefix
"""
ERASE_OWNER: Final[LiteralString] = """
    select document_ids from ingest_private.erase_owner(%(owner)s)
"""
ERASE_ROWS: Final[LiteralString] = """
    select relation, removed from ingest_private.erase_rows(%(owner)s)
"""
STILL_WITHDRAWN: Final[LiteralString] = """
    select count(*) from ingest_private.withdrawn
     where document_id = any(%(documents)s) or owner_id = %(owner)s
"""
FILES: Final[LiteralString] = """
    select id, bucket_id, name from storage.objects
     where id in (select ingest_private.owned_objects(%(owner)s)) order by bucket_id, name
     limit %(at_most)s
"""
OWNED: Final[LiteralString] = """
    select (select count(*) from ingest_private.owned_objects(%(owner)s)) as files,
           (select count(*) from ingest.documents where owner_id = %(owner)s) as documents,
           (select count(*) from ingest.chunks where owner_id = %(owner)s) as chunks,
           (select count(*) from ingest.jobs where owner_id = %(owner)s) as jobs,
           (select count(*) from ingest.conversations where owner_id = %(owner)s) as conversations
"""

#: How often a step is tried while another transaction uses its rows, and the pause in between.
_TRIES: Final = 20
_PAUSE_SECONDS: Final = 0.25
#: The drain may work this long without removing anything; then another transaction blocks it.
_STUCK_SECONDS: Final = 60.0


@dataclass(frozen=True)
class Erased:
    """The receipt: what was erased, without any text."""

    documents: int
    drained: int  #: rows of chunks, positions, staged chunks and windows
    rows: dict[str, int]  #: rows that named the owner, by table

    def __add__(self, more: "Erased") -> "Erased":
        """What was erased by both."""
        rows = Counter(self.rows)
        rows.update(more.rows)
        return Erased(
            self.documents + more.documents, self.drained + more.drained, dict(sorted(rows.items()))
        )


@dataclass(frozen=True)
class StoredFile:
    """A file that Storage holds."""

    object_id: UUID
    bucket_id: str
    name: str


def owned(connection: Connection, owner: str) -> Row:
    """Count the owner's files, documents, chunks, jobs and conversations."""
    return fetch_rows(connection, OWNED, {"owner": owner})[0]


def owned_files(connection: Connection, owner: str, *, at_most: int) -> list[StoredFile]:
    """Files that are an owner's now, erased or not, in order of bucket and name."""
    rows = fetch_rows(connection, FILES, {"owner": owner, "at_most": at_most})
    return [StoredFile(row["id"], row["bucket_id"], row["name"]) for row in rows]


def erase_owner(connection: Connection, owner: str) -> Erased:
    """Remove every row of an owner. Safe to interrupt and to repeat.

    Their files in Storage stay, and their present versions are not ingested again. Raises
    RefusedError if the rules of a source name the owner, ServiceError if rows stay locked. Workers
    may run meanwhile.
    """
    _check_rules(connection, owner)
    found = _patiently(connection, ERASE_OWNER, owner)[0]
    drained = _drain(connection, owner, found["document_ids"])
    rows = {row["relation"]: row["removed"] for row in _patiently(connection, ERASE_ROWS, owner)}
    return Erased(
        len(found["document_ids"]),
        drained,
        {name: removed for name, removed in rows.items() if removed},
    )


def _check_rules(connection: Connection, owner: str) -> None:
    rules = fetch_rows(connection, RULES, {"owner": owner})
    if rules:
        named = f"{rules[0]['bucket_id']}/{rules[0]['prefix']}"
        raise RefusedError(
            f"the source {named} names this owner, and would bring documents back: docmill sources "
            f"remove {rules[0]['bucket_id']} --prefix '{rules[0]['prefix']}' first, and delete its "
            "row of ingest_private.sources"
        )


def _patiently(connection: Connection, query: LiteralString, owner: str) -> list[Row]:
    for _ in range(_TRIES):
        try:
            return fetch_rows(connection, query, {"owner": owner})
        except CONTENTION:
            time.sleep(_PAUSE_SECONDS)
    raise ServiceError("some rows stay locked: try again when fewer uploads are running")


def _drain(connection: Connection, owner: str, documents: list[UUID]) -> int:
    """Remove the contents of the documents, in transactions of limited size."""
    wanted = {"owner": owner, "documents": documents}
    removed, moved_at = 0, time.monotonic()
    while fetch_value(connection, STILL_WITHDRAWN, wanted):
        rows = maintenance.drain_withdrawn(connection, keep_embeddings=timedelta())
        removed += rows
        if rows:
            moved_at = time.monotonic()
        elif time.monotonic() > moved_at + _STUCK_SECONDS:
            raise ServiceError("contents of the documents stay locked: run it again")
        else:
            time.sleep(_PAUSE_SECONDS)
    return removed

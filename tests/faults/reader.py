"""A client that searches and reads all the while, and notes what it should never have seen."""

import random
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Final
from uuid import UUID

import psycopg
from psycopg.rows import dict_row

from tests.faults.documents import mark_of, tear
from tests.support.database import Database, as_client
from tests.support.fake_openai import MODEL, vector_of

#: Until then a delete that met a lock may take: see drain_pending_events.
DELETE_SECONDS: Final = 10.0

_SEARCH: Final = b"""
    select hit.document_id, document.object_id, hit.content, 'found' as owner_id
      from ingest.match_chunks(%s, %s, 20) as hit
           left join ingest.documents as document on document.id = hit.document_id
     order by hit.document_id"""
_READ: Final = b"""
    select position.document_id, document.object_id, chunk.content, chunk.owner_id
      from ingest.chunk_positions as position
           join ingest.chunks as chunk on chunk.index_version = position.index_version
                                      and chunk.id = position.chunk_id
           left join ingest.documents as document on document.id = position.document_id
     order by position.document_id, position.ordinal"""


@dataclass
class Reader:
    """Reads as one owner after the other until it is stopped."""

    database: Database
    owners: dict[str, str]  #: name in the documents' marks, and sub
    seed: int
    readings: int = 0
    chunks_seen: int = 0
    outages: int = 0
    torn: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    #: Seconds after its delete that something of an object was still seen.
    deleted_seen: dict[UUID, float] = field(default_factory=dict)
    failures: list[BaseException] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._deleted: dict[UUID, float] = {}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="reader")

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, and raise what went wrong in the thread."""
        self._stopped.set()
        self._thread.join()
        if self.failures:
            raise self.failures[0]

    def note_deleted(self, object_ids: Iterable[UUID]) -> None:
        """Storage has answered that these are gone."""
        now = time.monotonic()
        self._deleted |= dict.fromkeys(object_ids, now)

    @property
    def seen_too_long(self) -> dict[UUID, float]:
        """Objects that were seen longer after their delete than that may take."""
        return {key: late for key, late in self.deleted_seen.items() if late > DELETE_SECONDS}

    def _loop(self) -> None:
        chance = random.Random(f"{self.seed} reader")
        try:
            while not self._stopped.wait(0.02):
                name = chance.choice(sorted(self.owners))
                try:
                    self._read(name)
                except psycopg.OperationalError:
                    self.outages += 1  # Postgres is away: no answer is no wrong one
                    self._stopped.wait(0.2)
        except BaseException as error:
            self.failures.append(error)

    def _read(self, name: str) -> None:
        started = time.monotonic()
        vector = "[" + ",".join(map(repr, vector_of(name).tolist())) + "]"
        claims = {"sub": self.owners[name]}
        with as_client(self.database, claims, read_only=True) as connection:
            cursor = connection.cursor(row_factory=dict_row)
            found = cursor.execute(_SEARCH, [vector, MODEL]).fetchall()
            whole = cursor.execute(_READ).fetchall()
        self.readings += 1
        self.chunks_seen += len(whole)
        for row in [*found, *whole]:
            self._check_right(row, name, started)
        for document_id, rows in groupby(found, key=lambda row: row["document_id"]):
            revisions = {mark_of(row["content"]).revision for row in rows}
            if len(revisions) > 1:
                self.torn.append(f"search found revisions {revisions} of {document_id}")
        for document_id, rows in groupby(whole, key=lambda row: row["document_id"]):
            wrong = tear(mark_of(row["content"]) for row in rows)
            if wrong:
                self.torn.append(f"{document_id} has {wrong}")

    def _check_right(self, row: dict[str, Any], name: str, started: float) -> None:
        if mark_of(row["content"]).owner != name or row["object_id"] is None:
            self.foreign.append(f"{name} saw {row['content'][:60]!r}")
        deleted = self._deleted.get(row["object_id"])
        if deleted is not None and deleted < started:
            late = started - deleted
            self.deleted_seen[row["object_id"]] = max(
                late, self.deleted_seen.get(row["object_id"], 0)
            )

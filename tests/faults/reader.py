"""A client that searches and reads all the time, and notes everything that it must not see."""

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
from tests.support.agreement import disagreements
from tests.support.database import Database, as_client
from tests.support.fake_openai import vector_of

_SEARCH: Final = b"""
    select hit.document_id, document.object_id, hit.content, 'found' as owner_id,
           chunk.index_version
      from ingest.match_chunks(%(vector)s, %(model)s, 20, index_version => %(version)s) as hit
           left join ingest.chunks as chunk on chunk.id = hit.chunk_id
           left join ingest.documents as document on document.id = hit.document_id
     order by hit.document_id"""
_READ: Final = b"""
    select position.document_id, document.object_id, chunk.content, chunk.owner_id,
           position.index_version
      from ingest.chunk_positions as position
           join ingest.chunks as chunk on chunk.index_version = position.index_version
                                      and chunk.id = position.chunk_id
           left join ingest.documents as document on document.id = position.document_id
     order by position.index_version, position.document_id, position.ordinal"""
_SEARCHABLE: Final = b"""
    select id, model, dimensions from ingest.index_versions
     where state in ('active', 'retired') order by id"""


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
    looks: int = 0  #: how often it compared status, doctor, explain and reconcile
    contradictions: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    #: Seconds after its delete in which an object was still seen, by reads that began after
    #: Storage's answer.
    deleted_seen: dict[UUID, float] = field(default_factory=dict)
    #: Hits that searches of an index version should not have.
    misled: list[str] = field(default_factory=list)
    failures: list[BaseException] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._deleted: dict[UUID, float] = {}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="reader")

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Stop, and raise the thread's error, if any."""
        self._stopped.set()
        self._thread.join()
        if self.failures:
            raise self.failures[0]

    def note_deleted(self, object_ids: Iterable[UUID]) -> None:
        """Note that Storage has confirmed these deletes."""
        now = time.monotonic()
        self._deleted |= dict.fromkeys(object_ids, now)

    def _loop(self) -> None:
        chance = random.Random(f"{self.seed} reader")
        try:
            while not self._stopped.wait(0.02):
                name = chance.choice(sorted(self.owners))
                try:
                    self._read(name, chance)
                    if not self.readings % 10:
                        self._look()
                except psycopg.OperationalError:
                    self.outages += 1  # Postgres is away: no answer is not a wrong answer
                    self._stopped.wait(0.2)
        except BaseException as error:
            self.failures.append(error)

    def _read(self, name: str, chance: random.Random) -> None:
        version = self._some_version(chance)
        started = time.monotonic()
        vector = "[" + ",".join(map(repr, vector_of(name, version["dimensions"]).tolist())) + "]"
        asked = {"vector": vector, "model": version["model"], "version": version["id"]}
        claims = {"sub": self.owners[name]}
        try:
            with as_client(self.database, claims, read_only=True) as connection:
                cursor = connection.cursor(row_factory=dict_row)
                found = cursor.execute(_SEARCH, asked).fetchall()
                whole = cursor.execute(_READ).fetchall()
        except psycopg.OperationalError:
            raise
        except psycopg.Error as error:
            self._check_dropped(version["id"], error)
            return
        self.misled += [
            f"a search of {version['id']} found a chunk of {row['index_version']}"
            for row in found
            if row["index_version"] not in (version["id"], None)
        ]
        self.readings += 1
        self.chunks_seen += len(whole)
        for row in [*found, *whole]:
            self._check_right(row, name, started)
        for document_id, rows in groupby(found, key=lambda row: row["document_id"]):
            revisions = {mark_of(row["content"]).revision for row in rows}
            if len(revisions) > 1:
                self.torn.append(f"search found revisions {revisions} of {document_id}")
        for (_version, document_id), rows in groupby(
            whole, key=lambda row: (row["index_version"], row["document_id"])
        ):
            wrong = tear(mark_of(row["content"]) for row in rows)
            if wrong:
                self.torn.append(f"{document_id} has {wrong}")

    def _some_version(self, chance: random.Random) -> dict[str, Any]:
        with self.database.connect(row_factory=dict_row) as connection:
            return dict(chance.choice(connection.execute(_SEARCHABLE).fetchall()))

    def _check_dropped(self, version: int, error: psycopg.Error) -> None:
        with self.database.connect() as connection:
            row = connection.execute(
                "select state from ingest.index_versions where id = %s", [version]
            ).fetchone()
        if row != ("dropped",) or not isinstance(error, psycopg.errors.InvalidParameterValue):
            self.misled.append(f"a search of {version}, which is {row}, met {error!r}")

    def _look(self) -> None:
        with self.database.connect() as connection:
            found = disagreements(connection)
            # Time may have passed between two statements: only a difference that is seen twice
            # counts.
            self.contradictions += set(found) & set(disagreements(connection)) if found else ()
        self.looks += 1

    def _check_right(self, row: dict[str, Any], name: str, started: float) -> None:
        if mark_of(row["content"]).owner != name or row["object_id"] is None:
            self.foreign.append(f"{name} saw {row['content'][:60]!r}")
        deleted = self._deleted.get(row["object_id"])
        if deleted is not None and deleted < started:
            late = started - deleted
            self.deleted_seen[row["object_id"]] = max(
                late, self.deleted_seen.get(row["object_id"], 0)
            )

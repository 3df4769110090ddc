"""Random histories: after every commit, a model without SQL says who must find what.

Storage's statements are mixed with all background work of docmill, while other transactions are
open or hold locks. None of Storage's statements may fail or time out. From its commit on, everybody
finds exactly what the new state allows.

DOCMILL_HISTORIES sets the number of histories, DOCMILL_HISTORY_STEPS their length.
"""

import itertools
import os
import random
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID, uuid4

import pytest

from docmill.embedded.postgres import PostgresServer
from tests.schema.actors import (
    UNSETTLED,
    Run,
    claim,
    drain_withdrawn,
    publish,
    rows,
    search,
    stage_missing,
    value,
)
from tests.support.database import (
    Database,
    as_client,
    delete_objects,
    make_database,
    watch_bucket,
)

HISTORIES: Final = int(os.environ.get("DOCMILL_HISTORIES", "6"))
STEPS: Final = int(os.environ.get("DOCMILL_HISTORY_STEPS", "45"))

Readers = tuple[str | None, str]

OWNERS: Final = ("alice", "bob")
CALLERS: Final = (*OWNERS, "service_role")
#: Bucket: how the owner is found, and who may read.
SOURCES: Final = {
    "docs": ("uploader", "owner"),
    "home": ("folder:1", "owner"),
    "shared": ("uploader", "inherit"),
}
BUCKETS: Final = (*SOURCES, "unwatched")
FOLDERS: Final = ("alice", "bob")
FILES: Final = ("1", "2", "3")


@dataclass
class Stored:
    """An object of Storage in the model, and the texts that searches may find of it."""

    id: UUID
    bucket: str
    name: str
    uploader: str | None
    version: str
    texts: list[str]
    #: The text that was published since its readers last changed.
    published: list[str] = field(default_factory=list)
    #: Texts of the versions that it had with its present readers.
    history: dict[Readers, set[str]] = field(default_factory=dict)
    #: Its readers changed while docmill could not act. Until it is published again, present readers
    #: may find texts that they could read before.
    is_unsure: bool = False
    #: Texts that were embedded since it was ingested.
    embedded: list[str] = field(default_factory=list)

    @property
    def readers(self) -> Readers | None:
        """Owner and access by the rules of its source; None: it is not ingested."""
        if self.bucket not in SOURCES:
            return None
        rule, access = SOURCES[self.bucket]
        return (self.name.partition("/")[0] if rule == "folder:1" else self.uploader), access

    def is_for(self, caller: str) -> bool:
        if self.readers is None:
            return False
        owner, access = self.readers
        is_shared = access == "inherit" and self.name.startswith("alice/")
        return caller in {"service_role", owner} or is_shared

    def change(self, before: Readers | None) -> None:
        """Note a change; `before` are the earlier readers."""
        if self.readers != before:
            self.published = []
        if self.readers is None:
            self.embedded = []
        else:
            self.history.setdefault(self.readers, set()).update(self.texts)


@dataclass
class Held:
    """An open transaction, and what its end means."""

    name: str
    run: Run | None = None
    texts: list[str] = field(default_factory=list)
    object_id: UUID | None = None


class History:
    """One history: the database, the model of its contents, and the open transactions."""

    def __init__(self, database: Database, chance: random.Random, stack: ExitStack) -> None:
        self.database = database
        self.chance = chance
        self.storage, self.admin, self.holder = (
            stack.enter_context(database.connect()) for _ in range(3)
        )
        self.worker = stack.enter_context(database.connect("docmill_worker"))
        self.storage.execute("set statement_timeout = '1s'")
        self.stored: dict[UUID, Stored] = {}
        self.held: Held | None = None
        self.done: list[str] = []
        self._numbers = itertools.count()

    # -- Storage

    def write(self) -> None:
        """An upload, or an overwrite by the same or another user."""
        bucket, name = self.chance.choice(BUCKETS), self._name()
        if self.held and self.chance.random() < 0.5 and (one := self._any()):
            bucket, name = one.bucket, one.name
        uploader, version = self.chance.choice([*OWNERS, *OWNERS, None]), str(uuid4())
        [[object_id]] = self.storage.execute(
            """insert into storage.objects (bucket_id, name, version, owner_id)
               values (%s, %s, %s, %s)
                   on conflict (bucket_id, name) do update
                      set version = excluded.version, owner_id = excluded.owner_id
               returning id""",
            [bucket, name, version, uploader],
        ).fetchall()
        # Versions share a part, whose embedding is taken over.
        texts = [f"head of {object_id}", f"version {next(self._numbers)}"]
        one = self.stored.setdefault(
            object_id, Stored(object_id, bucket, name, uploader, version, texts)
        )
        before = one.readers
        one.uploader, one.version, one.texts = uploader, version, texts
        one.change(before)

    def change_owner(self) -> None:
        """Change the owner by SQL, without a new version."""
        if one := self._any():
            before, one.uploader = one.readers, self.chance.choice(OWNERS)
            self.storage.execute(
                "update storage.objects set owner_id = %s where id = %s", [one.uploader, one.id]
            )
            one.change(before)

    def move(self) -> None:
        """Move an object to a free name: in its bucket or another, into or out of a source."""
        bucket, name = self.chance.choice(BUCKETS), self._name()
        is_free = all((one.bucket, one.name) != (bucket, name) for one in self.stored.values())
        if is_free and (one := self._any()):
            before = one.readers
            one.bucket, one.name, one.version = bucket, name, str(uuid4())
            self.storage.execute(
                "update storage.objects set bucket_id = %s, name = %s, version = %s where id = %s",
                [bucket, name, one.version, one.id],
            )
            one.change(before)

    def delete(self) -> None:
        """Delete one or several objects of a bucket, in one statement."""
        bucket = self.chance.choice(BUCKETS)
        there = [one for one in self.stored.values() if one.bucket == bucket]
        gone = self.chance.sample(there, min(len(there), self.chance.choice([1, 1, 3])))
        if self.held and (one := self._any()):
            bucket, gone = one.bucket, [one]
        delete_objects(self.storage, [one.name for one in gone], bucket=bucket)
        for one in gone:
            del self.stored[one.id]

    def take_back(self) -> None:
        """Do several changes in a transaction that is rolled back."""
        with self.storage.transaction(force_rollback=True):
            self.storage.execute("set local storage.allow_delete_query = 'true'")
            self.storage.execute("update storage.objects set version = 'never', owner_id = 'eve'")
            self.storage.execute("delete from storage.objects")

    def _name(self) -> str:
        return f"{self.chance.choice(FOLDERS)}/{self.chance.choice(FILES)}"

    def _any(self) -> Stored | None:
        """An object; more likely one that another transaction uses."""
        if self.held and self.held.object_id in self.stored and self.chance.random() < 0.6:
            return self.stored[self.held.object_id]
        return self.chance.choice([*self.stored.values()]) if self.stored else None

    # -- docmill in the background

    def ingest(self) -> None:
        """Claim a job, stage and publish; or leave it running."""
        if (claimed := self._claim()) is not None:
            run, texts = claimed
            if self.chance.random() < 0.8:
                readers = self._readers_of(run)
                self._note(run, texts, readers, publish(self.worker, run, texts))

    def _claim(self) -> tuple[Run, list[str]] | None:
        jobs = rows(self.admin, "select id from ingest.jobs where state = 'queued'")
        for job in self.chance.sample(jobs, len(jobs)):
            if (run := claim(self.worker, job["id"])) is None:
                continue
            for one in self.stored.values():
                if one.version == run.storage_version:
                    one.embedded += stage_missing(self.worker, run, one.texts)
                    return run, one.texts
            self.worker.execute(
                "select ingest_private.release_job(%s, %s, 'object_changed', null, '0')",
                [run.job_id, run.token],
            )
        return None

    def _readers_of(self, run: Run) -> tuple[UUID, Readers] | None:
        found = rows(
            self.admin,
            "select object_id, owner_id, access from ingest.documents where id = %s",
            run.document_id,
        )
        return (
            (found[0]["object_id"], (found[0]["owner_id"], found[0]["access"])) if found else None
        )

    def _note(
        self, run: Run, texts: list[str], readers: tuple[UUID, Readers] | None, outcome: str
    ) -> None:
        """A published text is found as long as the object has the readers of that version."""
        assert outcome in {"published", "lost", "superseded"}
        if outcome == "published" and readers is not None:
            one = self.stored.get(readers[0])
            if one is not None and one.readers == readers[1]:
                one.published, one.is_unsure = texts, False

    def drain(self) -> None:
        self.worker.execute("select ingest_private.drain_pending_events()")

    def remove(self) -> None:
        limit = self.chance.choice([1, 2, 3, 100])
        self.worker.execute("select ingest_private.drain_withdrawn(%s)", [limit])

    def rescue(self) -> None:
        self.admin.execute("update ingest_private.leases set expires_at = now() - interval '1 s'")
        self.worker.execute("select ingest_private.rescue_jobs()")
        self.admin.execute("update ingest_private.job_queue set isolated = false")

    def reconcile(self) -> None:
        self.worker.execute("select ingest_private.reconcile(null, null)")

    def prune(self) -> None:
        self.worker.execute("select ingest_private.prune('1 day', '1 day')")

    # -- open transactions

    HOLDS: Final = {
        "documents": "select from ingest.documents where random() < 0.5 for update",
        "jobs": "select from ingest.jobs where finished_at is null for update",
        "leases": "select from ingest_private.leases for key share",
        "queue": "select from ingest_private.job_queue for update",
        "drain": "select ingest_private.drain_pending_events()",
        "remove": "select ingest_private.drain_withdrawn(3)",
        "reconcile": "select ingest_private.reconcile(null, null)",
        "prune": "select ingest_private.prune('0', '0')",
    }

    def hold(self) -> None:
        """Begin a transaction that stays open: one of HOLDS, or a publish."""
        held = Held(self.chance.choice([*self.HOLDS, "publish", "publish", "publish"]))
        if held.name == "publish":
            claimed = self._claim()
            if claimed is None:
                return
            held.run, held.texts = claimed
            if (of := self._readers_of(held.run)) is not None:
                held.object_id = of[0]
        self.holder.execute("begin")
        if held.run is None:
            self.holder.execute(self.HOLDS[held.name].encode())
        else:
            publish(self.holder, held.run, held.texts)
        self.held = held

    def let_go(self) -> None:
        held, self.held = self.held, None
        if held is None:
            return
        self.holder.execute("commit")
        if held.run is not None:
            self._note(held.run, held.texts, self._readers_of(held.run), "published")

    # -- searches

    def check(self) -> None:
        """Check that everybody finds exactly what the model allows."""
        pending = {
            row["object_id"]: row["hides"]
            for row in rows(
                self.admin,
                """select object_id, bool_or(hides) as hides
                     from ingest_private.pending_events group by object_id""",
            )
        }
        for one in self.stored.values():
            one.is_unsure |= pending.get(one.id, False)
            twice = len(one.embedded) - len(set(one.embedded))
            assert not twice, self._story(f"{one.embedded} was paid for twice")
        for caller in CALLERS:
            self._check_chunks(caller, {one for one, hides in pending.items() if hides})
            self._check_documents(caller, pending)
        with as_client(self.database, None) as anon, pytest.raises(Exception, match="denied"):
            anon.execute("select from ingest.chunks")

    def _check_chunks(self, caller: str, hidden: set[UUID]) -> None:
        may: set[str] = set()
        must: set[str] = set()
        for one in self.stored.values():
            if one.is_for(caller):
                assert one.readers is not None
                may.update(one.history[one.readers] if one.is_unsure else one.published)
                if one.id not in hidden:
                    must.update([] if one.is_unsure else one.published)
        claims = {"role": caller} if caller == "service_role" else {"sub": caller}
        with as_client(self.database, claims, read_only=True) as client:
            found = [hit["content"] for hit in search(client, "anything", match_count=200)]
            self._compare(caller, "finds", found, may, must)
            by_words = [row["content"] for row in rows(client, BY_WORDS)]
            self._compare(caller, "finds by words", by_words, may, must)
            if caller != "service_role":
                for what in ("ingest.chunks", POSITIONS):
                    seen = [row["content"] for row in rows(client, f"select content from {what}")]
                    self._compare(caller, f"reads in {what}", seen, may, must)

    def _check_documents(self, caller: str, pending: dict[UUID, bool]) -> None:
        mine = {one.id for one in self.stored.values() if one.is_for(caller)}
        claims = {"role": caller} if caller == "service_role" else {"sub": caller}
        with as_client(self.database, claims, read_only=True) as client:
            found = {row["object_id"] for row in rows(client, "select * from ingest.documents")}
        # No policy applies to the service role: it sees hidden documents until the event is
        # settled.
        wrong = found - mine - (set(pending) if caller == "service_role" else set())
        assert not wrong, self._story(f"{caller} sees documents of {wrong}")
        missing = mine - found - set(pending)
        assert not missing, self._story(f"{caller} sees no documents of {missing}")

    def _compare(
        self, caller: str, verb: str, found: list[str], may: set[str], must: set[str]
    ) -> None:
        assert len(found) == len(set(found)), self._story(f"{caller} {verb} twice: {found}")
        assert set(found) <= may, self._story(f"{caller} {verb} {set(found) - may}")
        assert set(found) >= must, self._story(f"{caller} does not: {verb} {must - set(found)}")

    def _story(self, what: str) -> str:
        return f"{what}, after {self.done}"

    # -- the order of events

    #: Also while another transaction holds a lock.
    ALWAYS: Final = (
        ("write",) * 5
        + ("move",) * 3
        + ("change_owner",) * 3
        + (*("delete", "delete", "take_back", "drain", "remove", "remove", "let_go", "let_go"),)
    )
    FREE: Final = ("ingest",) * 8 + ("hold",) * 4 + ("rescue", "reconcile", "prune")

    def step(self) -> None:
        names = self.ALWAYS if self.held else self.ALWAYS + self.FREE
        name = self.chance.choice(names)
        self.done.append(f"{name} ({self.held.name})" if self.held else name)
        getattr(self, name)()
        self.check()

    def settle(self) -> None:
        """Let everything end without further changes: nothing may be left over."""
        self.let_go()
        for _ in range(100):
            self.admin.execute(
                "update ingest_private.pending_events"
                "   set first_tried_at = now() - interval '1 minute'"
            )
            self.drain()
            self.rescue()
            drain_withdrawn(self.worker)
            while (claimed := self._claim()) is not None:
                readers = self._readers_of(claimed[0])
                self._note(*claimed, readers, publish(self.worker, *claimed))
            if not value(self.admin, UNSETTLED):
                break
        self.check()
        for one in self.stored.values():
            if one.readers is not None:
                assert one.published == one.texts, self._story(f"{one} is not up to date")
        for table in LEFT_EMPTY:
            assert not rows(self.admin, f"select * from {table}"), self._story(table)


POSITIONS: Final = """(
    select chunk.content from ingest.chunk_positions as position
           join ingest.chunks as chunk on chunk.id = position.chunk_id) as placed"""
BY_WORDS: Final = """
    select content from ingest.hybrid_search('head version', match_count => 200)"""
LEFT_EMPTY: Final = (
    *("ingest_private.withdrawn", "ingest_private.former_documents", "ingest_private.leases"),
    *("ingest_private.staged_chunks", "ingest_private.job_queue", "ingest_private.pending_events"),
    "ingest.chunks where document_id not in (select id from ingest.documents)",
    "ingest.chunk_positions where document_id not in (select id from ingest.documents)",
    "ingest.chunk_lexemes where document_id not in (select id from ingest.documents)",
    "ingest_private.published_versions where document_id not in (select id from ingest.documents)",
    """ingest.jobs where document_id is not null
                      and document_id not in (select id from ingest.documents)""",
)


@pytest.fixture
def database(postgres: PostgresServer, request: pytest.FixtureRequest) -> Iterator[Database]:
    with make_database(postgres) as made, made.connect() as admin:
        for bucket, (rule, access) in SOURCES.items():
            watch_bucket(made, bucket, owner_from=rule, access=access)
        admin.execute("insert into storage.buckets (id, name) values ('unwatched', 'unwatched')")
        admin.execute(
            """create policy read_shared on storage.objects for select to authenticated
               using (bucket_id = 'shared' and name like 'alice/%')"""
        )
        yield made


@pytest.mark.parametrize("seed", range(HISTORIES))
def test_everybody_finds_what_the_state_of_storage_allows(database: Database, seed: int) -> None:
    with ExitStack() as stack:
        history = History(database, random.Random(seed), stack)
        for _ in range(STEPS):
            history.step()
        history.settle()

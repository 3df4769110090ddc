"""Random transactions of Storage beside work that holds locks, judged after each commit.

DOCMILL_STRESS_SECONDS sets the time, DOCMILL_STRESS_SEED the course of events.
"""

import json
import os
import random
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID, uuid4

import psycopg
import pytest

from docmill.worker.store.outage import CONTENTION
from tests.schema.actors import (
    MODEL,
    UNSETTLED,
    Background,
    Connection,
    Run,
    claim,
    drain_withdrawn,
    literal,
    new_version,
    publish,
    rows,
    stage_missing,
    value,
    vector_of,
    wait_until_blocked,
)
from tests.support.database import Database, watch_bucket

SECONDS: Final = float(os.environ.get("DOCMILL_STRESS_SECONDS", "12"))
SEED: Final = int(os.environ.get("DOCMILL_STRESS_SEED", "1"))

PEOPLE: Final = ("ann", "ben", "cat")
#: Where files may lie. Nobody ingests those in `other`.
BUCKETS: Final = ("docs", "docs", "inbox", "shared", "other")
WATCHED: Final = ("docs", "inbox", "shared")
NAMES: Final = [f"{folder}/{number}" for folder in (*PEOPLE, "open") for number in range(3)]

#: Who may read an object of the bucket whose documents everybody finds who may read the object.
POLICY: Final = """
    create policy readers on storage.objects for select to authenticated
        using (bucket_id = 'shared'
               and (name like 'open/%' or owner_id = ((select auth.jwt()) ->> 'sub')))
"""
#: Storage waits no longer than this for one lock: the triggers wait 5 ms, the rest is a busy
#: machine.
MOST_WAIT_SECONDS: Final = 0.25
#: What a transaction of Storage may do, and how often.
OPERATIONS: Final = {
    "write": 8, "change owner": 2, "move": 3, "copy": 2, "delete": 2, "delete many": 1,
    "archive": 1, "permission test": 1,
}  # fmt: skip
#: What may hold locks meanwhile.
HOLDERS: Final = {
    "publish": 6, "sync": 2, "claim": 2, "drain": 3, "settle": 3, "erase": 1, "reindex": 2,
    "reconcile": 1, "rescue": 1, "prune": 1, "remove": 1,
}  # fmt: skip


#: The newest documents, also those that are gone, are asked for what is similar to them.
ASKED: Final = 12
#: What must happen at least once; otherwise the test proves less than it says.
WANTED: Final = {*OPERATIONS, *HOLDERS, "run published", "rolled back"}


def not_yet(done: Counter[str]) -> set[str]:
    """What of this has not happened. Never for ever: each of it is drawn by chance."""
    return WANTED - set(done)


def pick(chance: random.Random, weights: dict[str, int]) -> str:
    return chance.choices(list(weights), list(weights.values()))[0]


@dataclass(frozen=True)
class Stored:
    """An object as Storage holds it now: what it knows, read without docmill's help."""

    bucket: str
    name: str
    owner: str | None
    text: str
    is_archived: bool

    @property
    def is_watched(self) -> bool:
        return self.bucket in WATCHED and not self.is_archived

    def readers(self) -> set[str]:
        """Who may find its document, by the rules of its bucket."""
        if not self.is_watched:
            return set()
        if self.bucket == "docs":
            return {str(self.owner)}
        if self.bucket == "inbox":
            return {self.name.split("/")[0]}
        return set(PEOPLE) if self.name.startswith("open/") else {str(self.owner)}


@dataclass
class Storage:
    """Storage's own connection. Its statements have one second, and may not fail."""

    connection: Connection
    chance: random.Random
    done: Counter[str]
    written: int = 0

    def transaction(self, between: Callable[[], None]) -> None:
        """Some operations, some of them in savepoints; any part may be rolled back."""
        with self.connection.transaction() as whole:
            self.connection.execute("set local storage.allow_delete_query = 'true'")
            for number in range(self.chance.randint(1, 4)):
                if number == 1:
                    between()
                if self.chance.random() < 0.4:
                    with self.connection.transaction() as savepoint:
                        self.operate()
                        if self.chance.random() < 0.4:
                            self.done["rolled back to a savepoint"] += 1
                            raise psycopg.Rollback(savepoint)
                else:
                    self.operate()
            if self.chance.random() < 0.15:
                self.done["rolled back"] += 1
                raise psycopg.Rollback(whole)

    def operate(self) -> None:
        kind = pick(self.chance, OPERATIONS)
        self.done[kind] += 1
        {
            "write": self.write,
            "change owner": self.change_owner,
            "move": self.move,
            "copy": self.copy,
            "delete": lambda: self.delete(1),
            "delete many": lambda: self.delete(len(NAMES)),
            "archive": self.archive,
            "permission test": self.test_permission,
        }[kind]()

    def place(self) -> list[str]:
        return [self.chance.choice(BUCKETS), self.chance.choice(NAMES)]

    def person(self) -> str:
        return self.chance.choice(PEOPLE)

    def free_place(self) -> list[str]:
        """A place without an object: Storage itself refuses another one there."""
        while True:
            place = self.place()
            query = "select from storage.objects where bucket_id = %s and name = %s"
            if not rows(self.connection, query, *place):
                return place

    def insert(self, place: list[str], owner: str, text: str, version: str) -> None:
        self.connection.execute(
            """insert into storage.objects (bucket_id, name, owner_id, version, metadata)
               values (%s, %s, %s, %s, jsonb_build_object('size', 10, 'text', %s::text))
                   on conflict (bucket_id, name) do update
                      set version = excluded.version, metadata = excluded.metadata,
                          owner_id = excluded.owner_id""",
            [*place, owner, version, text],
        )

    def write(self) -> None:
        """A new file, or another version, perhaps by somebody else."""
        self.written += 1
        self.insert(self.place(), self.person(), f"w{self.written}", str(uuid4()))

    def change_owner(self) -> None:
        self.connection.execute(
            "update storage.objects set owner_id = %s where bucket_id = %s and name = %s",
            [self.person(), *self.place()],
        )

    def move(self) -> None:
        self.connection.execute(
            """update storage.objects set bucket_id = %s, name = %s, version = %s
                where bucket_id = %s and name = %s""",
            [*self.free_place(), str(uuid4()), *self.place()],
        )

    def copy(self) -> None:
        self.connection.execute(
            """insert into storage.objects (bucket_id, name, owner_id, version, metadata)
               select %s, %s, %s, %s, metadata from storage.objects
                where bucket_id = %s and name = %s""",
            [*self.free_place(), self.person(), str(uuid4()), *self.place()],
        )

    def delete(self, count: int) -> None:
        self.connection.execute(
            "delete from storage.objects where bucket_id = %s and name = any(%s)",
            [self.chance.choice(BUCKETS), self.chance.sample(NAMES, count)],
        )

    def archive(self) -> None:
        self.connection.execute(
            """update storage.objects
                  set archived_at = case when archived_at is null then now() end
                where bucket_id = %s and name = %s""",
            self.place(),
        )

    def test_permission(self) -> None:
        """Before each upload Storage writes the row, and rolls it back."""
        with self.connection.transaction() as savepoint:
            self.insert(self.place(), self.person(), "w0", "1")
            raise psycopg.Rollback(savepoint)


class Waits:
    """Notes how long a connection ever waits for a lock, as Postgres sees it."""

    def __init__(self, database: Database, pid: int) -> None:
        self._database, self._pid = database, pid
        self._stopped = threading.Event()
        self.longest = 0.0
        self.looks = 0
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> "Waits":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def _watch(self) -> None:
        with self._database.connect() as connection:
            while not self._stopped.wait(0.01):
                waited = value(
                    connection,
                    """select max(extract(epoch from clock_timestamp() - waitstart))::float
                         from pg_locks where pid = %s and not granted""",
                    self._pid,
                )
                self.looks += 1
                self.longest = max(self.longest, waited or 0.0)


@dataclass
class Workers:
    """docmill beside Storage: each of its works in a transaction that can be left open."""

    database: Database
    chance: random.Random
    done: Counter[str]

    def hold(self, kind: str) -> "Held":
        """Begin a work on a connection of its own, and keep its locks."""
        self.done[kind] += 1
        role = None if kind in ("erase", "remove") else "docmill_worker"
        connection = self.database.connect(role)
        # The role's bound is for a worker that hangs; here a busy machine may be slow to look.
        connection.execute("set idle_in_transaction_session_timeout = 0")
        return Held(connection, lambda work: self.begin(kind, work))

    def begin(self, kind: str, work: Connection) -> None:
        if kind == "publish":
            self.run_one(work)
            return
        statement, parameters = self.statement(kind)
        work.execute(statement.encode(), parameters)

    def statement(self, kind: str) -> tuple[str, list[Any]]:
        with self.database.connect() as admin:
            objects = [row["id"] for row in rows(admin, "select id from storage.objects")]
            waiting = self.waiting(admin)
            sources = [row["id"] for row in rows(admin, "select id from ingest_private.sources")]
        call = {
            "sync": ("sync_object(%s, null, null)", [self.chance.choice(objects or [uuid4()])]),
            "claim": (
                "claim_job(%s, 'w', false, '1 min')",
                [self.chance.choice(waiting or [uuid4()])],
            ),
            "drain": ("drain_withdrawn(%s)", [self.chance.randint(1, 20)]),
            "settle": ("drain_pending_events()", []),
            "erase": ("erase_owner(%s)", [self.chance.choice(PEOPLE)]),
            "reindex": ("fill_index_versions()", []),
            "reconcile": ("reconcile(null, null)", []),
            "rescue": ("rescue_jobs()", []),
            "prune": ("prune('0', '0')", []),
            # To forget nothing locks the same, and takes no bucket away from the test.
            "remove": (
                "backfill_source(%s, '')",
                [self.chance.choice(sources)],
            ),
        }[kind]
        return f"select ingest_private.{call[0]}", call[1]

    def waiting(self, admin: Connection) -> list[UUID]:
        query = "select id from ingest.jobs where state = 'queued'"
        return [row["id"] for row in rows(admin, query)]

    def run_one(self, work: Connection, job_id: UUID | None = None) -> bool:
        """Claim a job, read its file, stage and publish; the last in the open transaction."""
        with self.database.connect() as admin, self.database.connect("docmill_worker") as before:
            waiting = [job_id] if job_id else self.waiting(admin)
            if not waiting:
                return False
            run = claim(before, self.chance.choice(waiting), lease="1 minute")
            if run is None:
                return False
            text = value(
                admin,
                """select object.id || ' ' || (object.metadata ->> 'text')
                     from ingest.documents as document
                          join storage.objects as object on object.id = document.object_id
                    where document.id = %s and object.version = %s""",
                *(run.document_id, run.storage_version),
            )
            if text is None:
                before.execute(
                    "select ingest_private.release_job(%s, %s, 'object_changed', null, '0')",
                    [run.job_id, run.token],
                )
                return False
            texts = [f"paper {text} part {part}" for part in range(3)]
            stage_missing(before, run, texts)
        self.publish(work, run, texts)
        return True

    def publish(self, work: Connection, run: Run, texts: list[str]) -> None:
        self.done[f"run {publish(work, run, texts, title=None)}"] += 1

    def settle(self) -> None:
        """Without further events everything comes to an end."""
        with self.database.connect() as admin, self.database.connect("docmill_worker") as work:
            deadline = time.monotonic() + 20
            while value(admin, UNSETTLED):
                assert time.monotonic() < deadline, rows(
                    admin, "select * from ingest.jobs where finished_at is null"
                )
                # Let time pass, but not to before Postgres started: such leases are spared.
                for table, column, ago in (
                    ("leases", "expires_at", "1 ms"),
                    ("job_queue", "due_at", "1 ms"),
                    ("pending_events", "first_tried_at", "1 min"),
                ):
                    admin.execute(
                        f"update ingest_private.{table} set {column} = now() - interval '{ago}'"
                        f" where {column} is not null".encode()
                    )
                admin.execute("update ingest_private.job_queue set isolated = false")
                work.execute("select ingest_private.drain_pending_events()")
                work.execute("select ingest_private.rescue_jobs()")
                work.execute("select ingest_private.reconcile(null, null)")
                drain_withdrawn(work)
                for job_id in self.waiting(admin):
                    self.run_one(work, job_id)


class Held:
    """A work whose transaction stays open, in a thread of its own: it may wait for Storage."""

    def __init__(self, connection: Connection, begin: Callable[[Connection], None]) -> None:
        self._connection = connection
        connection.autocommit = False
        self._begun = Background(lambda: begin(connection))

    def has_begun(self, watcher: Connection) -> None:
        """Wait until it holds its locks, or waits for a lock itself."""
        wait_until_blocked(watcher, self._connection.info.backend_pid, or_ended=self._begun)

    def end(self, *, commits: bool) -> None:
        """Let go. What failed, because Storage came first, is tried again by docmill."""
        with self._connection:
            with suppress(*CONTENTION):
                self._begun()
            if not commits:
                self._connection.rollback()
            else:
                with suppress(*CONTENTION):
                    self._connection.commit()
        self._connection.close()


@dataclass
class Judge:
    """Compares what everybody finds with what Storage holds, by an account of its own."""

    database: Database
    #: Who ever could read each written text, at a commit.
    readers: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    clients: dict[str, Connection] = field(default_factory=dict)
    looks: int = 0
    found: int = 0
    #: The objects of all documents that there ever were.
    objects: dict[UUID, str] = field(default_factory=dict)
    #: What the caller that is asked may find now.
    readable: set[str] = field(default_factory=set)

    def stored(self) -> dict[str, Stored]:
        with self.database.connect() as admin:
            found = rows(
                admin,
                """select id::text, bucket_id as bucket, name, owner_id as owner,
                          metadata ->> 'text' as text, archived_at is not null as is_archived
                     from storage.objects""",
            )
            for row in rows(admin, "select id, object_id from ingest.documents"):
                self.objects[row["id"]] = str(row["object_id"])
        return {row.pop("id"): Stored(**row) for row in found}

    def look(self) -> None:
        """Nobody finds what is not, or no longer, for them. Call after each commit."""
        stored = self.stored()
        for each in stored.values():
            self.readers[each.text] |= each.readers()
        for caller in PEOPLE:
            self.compare(caller, stored, {i for i, o in stored.items() if caller in o.readers()})
        self.compare("service_role", stored, {i for i, o in stored.items() if o.is_watched})

    def compare(self, caller: str, stored: dict[str, Stored], readable: set[str]) -> None:
        self.looks += 1
        self.readable = readable
        for way, object_id, text in self.findings(caller):
            self.found += 1
            assert object_id in readable, (caller, way, object_id, stored.get(object_id))
            if caller != "service_role" and text is not None:
                now = stored[object_id]
                # Who reads an object of `shared` finds what it holds, whoever wrote it.
                assert now.bucket == "shared" or caller in self.readers[text], (caller, way, text)
            elif text is not None:
                now = stored[object_id]
                assert self.readers[text] & now.readers(), (caller, way, text, now)

    def findings(self, caller: str) -> Iterator[tuple[str, str, str | None]]:
        """The object and the written text of whatever the caller gets, each way."""
        near = literal(vector_of("paper"))
        by_search = {
            "match_chunks": ("match_chunks(%s, %s, 200)", [near, MODEL]),
            "by words": ("hybrid_search('paper', match_count => 200)", []),
            "by both": ("hybrid_search('paper part', %s, %s, 200)", [near, MODEL]),
            "match_documents": ("match_documents(%s, 200, '{}', %s)", [near, MODEL]),
        }
        with self.asking(caller) as client:
            for way, (call, parameters) in by_search.items():
                for row in rows(client, f"select content from ingest.{call}", *parameters):
                    yield (way, *self.tags(row["content"]))
            for document_id, object_id in list(self.objects.items())[-ASKED:]:
                for row in rows(client, "select id from ingest.similar(%s, 200)", document_id):
                    yield "similar to", object_id, None
                    yield "similar", self.objects[row["id"]], None
            counted = rows(client, "select * from ingest.search_facets('paper')")
            if counted and not self.readable:
                yield "facets", "of nothing", None
            if caller == "service_role":
                return
            client.execute("set local enable_indexscan = off")
            client.execute("set local enable_bitmapscan = off")
            for row in rows(client, "select content from ingest.chunks"):
                yield ("chunks", *self.tags(row["content"]))
            for row in rows(
                client,
                """select content from ingest.chunk_positions as position
                          join ingest.chunks as chunk on chunk.id = position.chunk_id""",
            ):
                yield ("positions", *self.tags(row["content"]))
            for row in rows(client, "select object_id from ingest.documents"):
                yield "documents", str(row["object_id"]), None

    @contextmanager
    def asking(self, caller: str) -> Iterator[Connection]:
        """A transaction of this caller, on a connection that is kept: a new one plans anew."""
        if caller not in self.clients:
            self.clients[caller] = self.database.connect("authenticator")
        is_user = caller in PEOPLE
        claims = {"sub": caller, "role": "authenticated"} if is_user else {"role": caller}
        client = self.clients[caller]
        with client.transaction():
            client.execute(
                """select set_config('role', %s, true),
                          set_config('request.jwt.claims', %s, true)""",
                [claims["role"], json.dumps(claims)],
            )
            yield client

    @staticmethod
    def tags(content: str) -> tuple[str, str]:
        _, object_id, text, *_ = content.split()
        return object_id, text

    def nothing_is_left(self) -> None:
        """Every row that names a document, a chunk or a job names one that exists."""
        with self.database.connect() as admin:
            columns = rows(
                admin,
                """select attrelid::regclass::text as relation, attname as name,
                          case attname when 'chunk_id' then 'ingest.chunks'
                               when 'job_id' then 'ingest.jobs' else 'ingest.documents' end
                               as target
                     from pg_attribute join pg_class on pg_class.oid = attrelid
                    where relnamespace in ('ingest'::regnamespace, 'ingest_private'::regnamespace)
                      and relkind in ('r', 'p') and atttypid = 'uuid'::regtype
                      and attname in ('document_id', 'former_id', 'chunk_id', 'job_id')""",
            )
            assert {"ingest.chunks", "ingest_private.staged_chunks"} <= {
                column["relation"] for column in columns
            }
            for column in columns:
                orphans = rows(
                    admin,
                    f"""select distinct {column["name"]} from {column["relation"]}
                         where {column["name"]} not in (select id from {column["target"]})""",
                )
                assert orphans == [], column
            for table in ("withdrawn", "pending_events", "job_queue", "leases"):
                assert rows(admin, f"select * from ingest_private.{table}") == [], table

    def everything_is_found(self) -> None:
        """Whoever may find a file does, except where the owner was erased."""
        stored = self.stored()
        with self.database.connect() as admin:
            erased = {
                str(row["object_id"])
                for row in rows(admin, "select object_id from ingest_private.erased_objects")
            }
        for caller in PEOPLE:
            wanted = {(i, o.text) for i, o in stored.items() if caller in o.readers()}
            found = {
                (object_id, text)
                for way, object_id, text in self.findings(caller)
                if way == "by words"
            }
            assert {one for one in wanted if one[0] not in erased} <= found, caller


@contextmanager
def storage_of(database: Database, done: Counter[str]) -> Iterator[Storage]:
    with database.connect() as connection:
        connection.execute("set statement_timeout = '1s'")
        yield Storage(connection, random.Random(f"storage {SEED}"), done)


@pytest.mark.timeout(120 + 4 * SECONDS)
def test_storage_is_never_held_up_and_nobody_finds_what_is_not_theirs(database: Database) -> None:
    watch_bucket(database)
    watch_bucket(database, "inbox", owner_from="folder:1")
    watch_bucket(database, "shared", access="inherit")
    done: Counter[str] = Counter()
    chance = random.Random(f"rounds {SEED}")
    workers = Workers(database, random.Random(f"workers {SEED}"), done)
    judge = Judge(database)
    until = time.monotonic() + SECONDS
    with ExitStack() as stack:
        admin = stack.enter_context(database.connect())
        admin.execute("insert into storage.buckets (id, name) values ('other', 'other')")
        admin.execute(POLICY)
        new_version(admin)
        storage = stack.enter_context(storage_of(database, done))
        pid = storage.connection.info.backend_pid
        waits = stack.enter_context(Waits(database, pid))
        while time.monotonic() < until or not_yet(done):
            done["round"] += 1
            held = [workers.hold(pick(chance, HOLDERS)) for _ in range(chance.randint(0, 2))]
            for each in held:
                each.has_begun(admin)
            storage.transaction(lambda: held.append(workers.hold(pick(chance, HOLDERS))))  # noqa: B023 -- called at once
            judge.look()
            for each in held:
                each.end(commits=chance.random() < 0.8)
            judge.look()
            if chance.random() < 0.1:
                workers.settle()
                judge.look()
                judge.nothing_is_left()
    workers.settle()
    judge.look()
    judge.nothing_is_left()
    judge.everything_is_found()
    print(f"\nseed {SEED}: longest wait {waits.longest:.3f} s, {waits.looks} looks,", dict(done))
    assert waits.longest < MOST_WAIT_SECONDS
    assert judge.found > judge.looks > 100

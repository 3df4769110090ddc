"""Everything at once, with crashes, stalls, lost and doubled hints; afterwards the promises hold.

DOCMILL_STRESS_SECONDS sets the time, DOCMILL_STRESS_SEED the course of events.
"""

import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import pytest
from psycopg import errors as pg

from docmill.worker.store.outage import CONTENTION
from tests.schema.actors import (
    PIPELINE,
    UNSETTLED,
    Connection,
    Run,
    claim,
    hash_of,
    heartbeat,
    publish,
    rows,
    stage_missing,
    take,
    value,
)
from tests.support.database import Database, delete_objects, watch_bucket

SECONDS = float(os.environ.get("DOCMILL_STRESS_SECONDS", "4"))
SEED = int(os.environ.get("DOCMILL_STRESS_SEED", "1"))

#: Events that must occur; otherwise the test proves nothing. On a busy machine this takes longer.
WANTED = ("run published", "storage write", "run crashes", "rescue", "drain", "read")
PATIENCE_SECONDS = 60

NAMES = [f"{owner}/{number}.txt" for owner in ("ann", "ben", "cat") for number in range(8)]
OWNERS = ("ann", "ben", "cat")
LEASE = "150 milliseconds"


def texts_of(content: str) -> list[str]:
    """The chunks of a file: its own, and some that every file has."""
    return ["letterhead", f"{content} begins", f"{content} goes on", "footer", f"{content} ends"]


class Stress:
    """Threads that each repeat their part until time is over and all needed events occurred."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.met: Counter[str] = Counter()
        self.failures: list[BaseException] = []
        self.torn: list[Any] = []
        self._until = time.monotonic() + SECONDS
        self._threads: list[threading.Thread] = []

    @property
    def goes_on(self) -> bool:
        late = time.monotonic() - self._until
        has_met_all = all(self.met[event] for event in WANTED)
        return not self.failures and (late < 0 or (not has_met_all and late < PATIENCE_SECONDS))

    def start(self, part: Callable[[Connection, random.Random], str], role: str | None) -> None:
        """Repeat a part on its own connection; the part returns what happened."""
        chance = random.Random(f"{SEED} {len(self._threads)}")

        def repeat() -> None:
            try:
                with self.database.connect(role) as connection:
                    while self.goes_on:
                        self.met[part(connection, chance)] += 1
            except BaseException as error:
                self.failures.append(error)

        thread = threading.Thread(target=repeat, name=part.__name__)
        self._threads.append(thread)
        thread.start()

    def finish(self) -> None:
        for thread in self._threads:
            thread.join(SECONDS + 2 * PATIENCE_SECONDS)
            assert not thread.is_alive(), f"{thread.name} hangs"
        if self.failures:
            raise self.failures[0]

    # -- the parts

    def storage(self, connection: Connection, chance: random.Random) -> str:
        """Storage never gets an error that it would not get without docmill."""
        action = chance.choices(
            ["write", "move", "swap", "delete", "delete many"], [10, 3, 1, 2, 1]
        )[0]
        name = chance.choice(NAMES)
        bucket = chance.choice(["docs", "docs", "docs", "inbox", "other"])
        if action == "write":
            connection.execute(
                """insert into storage.objects (bucket_id, name, version, owner_id, metadata)
                   values (%s, %s, %s, %s, jsonb_build_object('size', 10, 'content', %s::text))
                       on conflict (bucket_id, name) do update
                          set version = excluded.version, metadata = excluded.metadata,
                              owner_id = excluded.owner_id""",
                [
                    *(bucket, name, str(uuid4())),
                    chance.choice([name.split("/", maxsplit=1)[0]] * 8 + ["dan"]),
                    f"content {chance.randrange(6)}",
                ],
            )
        elif action in {"move", "swap"}:
            try:
                self._move(connection, chance, name, bucket, swap=action == "swap")
            except pg.UniqueViolation as error:
                if error.diag.table_name != "objects":
                    raise
                # Another object has the name now; Storage would say the same.
                return "storage UniqueViolation"
        else:
            names = [name] if action == "delete" else chance.sample(NAMES, 8)
            with connection.transaction():
                # In a fixed order; otherwise two of these would deadlock by themselves.
                connection.execute(
                    """select from storage.objects where bucket_id = %s and name = any(%s)
                        order by id for update""",
                    [bucket, names],
                )
                delete_objects(connection, names, bucket=bucket)
        return f"storage {action}"

    @staticmethod
    def _move(
        connection: Connection, chance: random.Random, name: str, bucket: str, *, swap: bool
    ) -> None:
        """One object per transaction, like Storage."""
        other = chance.choice(NAMES)
        found = rows(
            connection,
            "select id from storage.objects where bucket_id = %s and name = any(%s) order by id",
            *(bucket, [name, other]),
        )

        def rename(place: int, to: str, new: str) -> None:
            connection.execute(
                "update storage.objects set name = %s, bucket_id = %s, version = %s where id = %s",
                [new, to, str(uuid4()), found[place]["id"]],
            )

        if swap and len(found) == 2:
            rename(0, bucket, f"tmp {uuid4()}")
            rename(1, bucket, name)
            rename(1, bucket, other)
            rename(0, bucket, name)
        elif len(found) == 1:
            rename(0, chance.choice([bucket, "docs", "other"]), other)

    def hints(self, connection: Connection, chance: random.Random) -> str:
        """Webhooks: late, doubled, wrong."""
        object_id = chance.choice(
            [None, uuid4(), value(connection, "select id from storage.objects limit 1")]
        )
        try:
            connection.execute(
                "select ingest_private.sync_object(%s, %s, %s)",
                [object_id, "docs", chance.choice(NAMES)],
            )
        except CONTENTION as error:
            return f"hint {type(error).__name__}"
        return "hint"

    def sweeps(self, connection: Connection, chance: random.Random) -> str:
        """The tasks of beat."""
        sweep = chance.choice(
            ["drain", "drain", "remove", "rescue", "rescue", "reconcile", "prune", "age"]
        )
        statement = {
            "drain": "drain_pending_events()",
            "remove": "drain_withdrawn(7)",
            "rescue": "rescue_jobs()",
            "reconcile": "reconcile(null, null)",
            "prune": "prune('0', '0')",
            "age": "age_jobs()",
        }[sweep]
        try:
            connection.execute(f"select ingest_private.{statement}".encode())
        except CONTENTION as error:
            return f"{sweep} {type(error).__name__}"
        return sweep

    def works(self, connection: Connection, chance: random.Random) -> str:
        """A worker with a few slots, one of them for isolated jobs."""
        me = threading.current_thread().name + str(threading.get_ident())
        try:
            heartbeat(connection, me, slots=4, isolated=chance.random() < 0.3, lease=LEASE)
            jobs = take(connection, resend="100 milliseconds")
            if not jobs:
                jobs = [
                    row["id"]
                    for row in rows(
                        self._download, "select id from ingest.jobs where state = 'queued' limit 2"
                    )
                ]
            for job_id in jobs:
                if chance.random() < 0.1:
                    continue  # a lost hint
                isolated = value(
                    self._download,
                    "select isolated from ingest_private.job_queue where job_id = %s",
                    job_id,
                )
                run = claim(connection, job_id, worker=me, isolated=bool(isolated), lease=LEASE)
                if run is not None:
                    self.met[self.run(connection, run, chance)] += 1
        except CONTENTION as error:
            return f"worker {type(error).__name__}"
        return "round of a worker"

    def run(self, connection: Connection, run: Run, chance: random.Random) -> str:
        """One run of a job, with any kind of trouble."""
        found = rows(
            self._download,
            """select object.version, object.metadata ->> 'content' as content
                 from ingest.documents as document
                      join storage.objects as object on object.id = document.object_id
                where document.id = %s""",
            run.document_id,
        )
        fate = chance.choices(
            ["ends", "crashes", "stalls", "fails", "is released", "is cancelled"],
            [80, 4, 6, 3, 4, 1],
        )[0]
        if not found or found[0]["version"] != run.storage_version:
            fate = "is released"
        elif fate in {"ends", "stalls", "crashes"}:
            content = found[0]["content"]
            outcome = value(
                connection,
                "select ingest_private.publish_unchanged(%s, %s, %s, %s)",
                *(run.job_id, run.token, hash_of(content), PIPELINE),
            )
            if outcome == "changed":
                outcome = self._ingest(connection, run, content, fate)
            return f"run {outcome}"
        retry_in = chance.choice(["'0'", "'20 milliseconds'", "null"])
        statement = {
            "fails": f"fail_job(%s, %s, 'internal_error', {retry_in})",
            "is released": "release_job(%s, %s, 'object_changed', null, '0')",
            "is cancelled": "cancel_run(%s, %s)",
        }[fate]
        connection.execute(f"select ingest_private.{statement}".encode(), [run.job_id, run.token])
        return f"run {fate}"

    @staticmethod
    def _ingest(connection: Connection, run: Run, content: str, fate: str) -> str:
        texts = texts_of(content)
        connection.execute(
            "select ingest_private.report_progress(%s, %s, 'embedding', 1, 1, %s, 0, 0)",
            [run.job_id, run.token, len(texts)],
        )
        stage_missing(connection, run, texts[:3])
        if fate == "crashes":
            return fate
        if fate == "stalls":
            time.sleep(0.2)
        stage_missing(connection, run, texts)
        try:
            return publish(connection, run, texts, content=hash_of(content))
        except pg.IntegrityConstraintViolation:
            # Its lease was lost; its staged chunks were published, or removed with the document.
            return "without its chunks"

    def reads(self, connection: Connection, chance: random.Random) -> str:
        """A client: each visible document is complete, of one version, and the caller's."""
        owner = chance.choice([*OWNERS, "dan"])
        with connection.transaction():
            connection.execute(
                """select set_config('role', 'authenticated', true),
                          set_config('request.jwt.claims', %s, true)""",
                [f'{{"sub": "{owner}", "role": "authenticated"}}'],
            )
            seen = rows(
                connection,
                """select position.document_id, min(chunk.owner_id) as owner,
                          array_agg(chunk.content order by position.ordinal) as texts
                     from ingest.chunk_positions as position
                          join ingest.chunks as chunk on chunk.id = position.chunk_id
                    group by position.document_id""",
            )
        for document in seen:
            content = document["texts"][1].removesuffix(" begins")
            if document["texts"] != texts_of(content) or document["owner"] != owner:
                self.torn.append(document)
        return "read" if seen else "read of nothing"

    @contextmanager
    def downloads(self) -> Iterator[None]:
        """The answers of Storage, and the effect of hints."""
        with self.database.connect() as connection:
            self._download = connection
            yield


def settle(stress: Stress, connection: Connection) -> None:
    """Without further events, workers and sweeps finish everything."""
    deadline = time.monotonic() + 20
    while value(connection, UNSETTLED):
        assert time.monotonic() < deadline, rows(
            connection,
            """select to_jsonb(job) as job, to_jsonb(entry) as entry, to_jsonb(lease) as lease,
                      to_jsonb(document) as document, to_jsonb(object) as object,
                      (select count(*) from ingest_private.pending_events) as pending
                 from ingest.jobs as job
                      left join ingest_private.job_queue as entry on entry.job_id = job.id
                      left join ingest_private.leases as lease on lease.job_id = job.id
                      left join ingest.documents as document on document.id = job.document_id
                      left join storage.objects as object on object.id = document.object_id
                where job.finished_at is null limit 1""",
        )
        # Let time pass for leases, waiting jobs and events without an object.
        for table, column in (
            ("leases", "expires_at"),
            ("job_queue", "due_at"),
            ("pending_events", "first_tried_at"),
        ):
            earlier = f"{column} = {column} - interval '1 minute'"
            connection.execute(f"update ingest_private.{table} set {earlier}".encode())
        for statement in ("drain_pending_events()", "rescue_jobs()", "drain_withdrawn()"):
            connection.execute(f"select ingest_private.{statement}".encode())
        for row in rows(
            connection,
            "select job_id, isolated from ingest_private.job_queue where phase <> 'running'",
        ):
            run = claim(connection, row["job_id"], isolated=row["isolated"], lease="1 minute")
            if run is not None:
                stress.run(connection, run, CALM)


class Calm(random.Random):
    """A chance that lets every run end well."""

    def choices(self, population: Any, *_: Any, **__: Any) -> Any:
        return [population[0]]


CALM = Calm()


#: Promise: a query for rows that break it.
BROKEN = {
    "every watched object has its document, with its version and owner": """
        select to_jsonb(object) as object, to_jsonb(document) as document from (
               select o.*, case when bucket_id = 'docs' then owner_id
                                when name like '%/%' then split_part(name, '/', 1)
                                end as rightful
                 from storage.objects as o where bucket_id in ('docs', 'inbox')) as object
          full join ingest.documents as document on document.object_id = object.id
         where (object.bucket_id, object.name, object.version, object.rightful) is distinct from
               (document.bucket_id, document.object_name, document.storage_version,
                document.owner_id)""",
    "its newest job has ended for that version": """
        select document.id, job.state from ingest.documents as document
          left join ingest.jobs as job on job.id = document.latest_job_id
         where job.finished_at is null or job.storage_version <> document.storage_version
            or job.state = 'superseded'""",
    "the document says how": """
        select document.id, document.status, job.state from ingest.documents as document
          join ingest.jobs as job on job.id = document.latest_job_id
         where document.status <> case job.state when 'succeeded' then 'ready' else 'failed' end
           and (job.state, document.status) <> ('cancelled', 'ready')""",
    "what is ready is what was published last, of the stored version": """
        select document.id from ingest.documents as document
          left join ingest_private.published_versions as published
                 on published.document_id = document.id
         where document.status = 'ready'
           and published.storage_version is distinct from document.storage_version""",
    "what is searchable of a ready document is what Storage holds": """
        select document.id, texts from ingest.documents as document
          join storage.objects as object on object.id = document.object_id
          left join lateral (
               select array_agg(chunk.content order by ordinal) as texts
                 from ingest.chunk_positions as position
                      join ingest.chunks as chunk on chunk.id = position.chunk_id
                where position.document_id = document.id) as found on true
         where document.status = 'ready'
           and texts is distinct from
               array['letterhead', (object.metadata ->> 'content') || ' begins',
                     (object.metadata ->> 'content') || ' goes on', 'footer',
                     (object.metadata ->> 'content') || ' ends']""",
    "nothing is searchable that has no document, or another owner": """
        select chunk.id from ingest.chunks as chunk
          left join ingest.documents as document on document.id = chunk.document_id
         where (document.owner_id, document.access) is distinct from (chunk.owner_id, chunk.access)
            or not document.searchable""",
    "every chunk stands somewhere, and every position has its chunk": """
        select chunk.id, position.ordinal from ingest.chunks as chunk
          full join ingest.chunk_positions as position
                 on position.chunk_id = chunk.id and position.document_id = chunk.document_id
         where chunk.id is null or position.chunk_id is null""",
    "nothing is staged or published for what is gone": """
        select document_id from ingest_private.staged_chunks
         where document_id not in (select id from ingest.documents)
           and document_id not in (select former_id from ingest_private.former_documents)
        union all select document_id from ingest_private.published_versions
         where document_id not in (select id from ingest.documents)
        union all select document_id from ingest.jobs
         where document_id not in (select id from ingest.documents)
        union all select former_id from ingest_private.former_documents
         where document_id not in (select id from ingest.documents)""",
    "no job has more attempts or deaths than it may": """
        select id from ingest.jobs where attempt > max_attempts
        union all
        select job_id from ingest_private.attempts where isolated and outcome = 'crashed'
         group by job_id having count(*) > 2""",
    "every claim has one end": """
        select id from ingest_private.attempts where outcome is null""",
    "the queue is empty, nothing is leased": """
        select job_id from ingest_private.job_queue
        union all select job_id from ingest_private.leases""",
    "no two claims were ever open at once": """
        select one.id from ingest_private.attempts as one
          join ingest_private.attempts as other
            on other.job_id = one.job_id and other.id > one.id
         where other.started_at < one.finished_at""",
}  # fmt: skip


@pytest.mark.timeout(240 + 3 * SECONDS)
def test_under_random_load_with_faults_every_promise_holds(database: Database):
    watch_bucket(database)
    watch_bucket(database, "inbox", owner_from="folder:1", priority=1)
    with database.connect() as admin:
        admin.execute("insert into storage.buckets (id, name) values ('other', 'other')")
        # Sooner than any lock_timeout, which would end a deadlock before it is counted.
        admin.execute(f"alter database {database.name} set deadlock_timeout = '20ms'".encode())
        stress = Stress(database)
        with stress.downloads():
            for _ in range(2):
                stress.start(stress.storage, None)
                stress.start(stress.works, "docmill_worker")
            stress.start(stress.works, "docmill_worker")
            stress.start(stress.hints, None)
            stress.start(stress.sweeps, "docmill_worker")
            stress.start(stress.reads, "authenticator")
            stress.finish()
            settle(stress, admin)
        for promise, query in BROKEN.items():
            assert rows(admin, query) == [], promise
        deadlocks = value(
            admin, "select deadlocks from pg_stat_database where datname = current_database()"
        )
    print(f"\nseed {SEED}, {SECONDS} s:", dict(sorted(stress.met.items())), "deadlocks:", deadlocks)
    assert stress.torn == []
    assert deadlocks == 0
    # All needed events occurred.
    for event in WANTED:
        assert stress.met[event] > 0, event

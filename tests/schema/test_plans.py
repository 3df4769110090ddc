"""Hot queries stay fast on big tables: the test counts the rows that they read, not the time."""

import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest

from docmill.embedded.postgres import PostgresServer
from tests.schema.actors import (
    Connection,
    claimed,
    heartbeat,
    job_of,
    publish,
    rows,
    stage,
    take,
    upload,
    value,
)
from tests.support.database import (
    Database,
    delete_objects,
    make_database,
    put_object,
    watch_bucket,
)

DOCUMENTS = 20_000


@pytest.fixture(scope="module", params=(18, 16), ids=lambda major: f"pg{major}")
def big(request: pytest.FixtureRequest) -> Iterator[Database]:
    """20,000 ready documents of 200 owners, each with a chunk and a finished job.

    And 20,000 queued jobs, half of which are not due.
    """
    name = "postgres" if request.param == 18 else "postgres16"
    server: PostgresServer = request.getfixturevalue(name)
    with make_database(server) as database, database.connect() as admin:
        watch_bucket(database)
        admin.execute("set session_replication_role = replica")
        for statement in (
            """insert into storage.objects (bucket_id, name, version, owner_id, metadata)
               select 'docs', 'big/' || n, 'v', 'owner ' || n % 200, '{"size": 1}'
                 from generate_series(1, 20000) as n""",
            """insert into ingest.documents (object_id, bucket_id, object_name, owner_id, source_id,
                                             storage_version, size_bytes, status, searchable)
               select id, bucket_id, name, owner_id, 1, version, 1, 'ready', true
                 from storage.objects""",
            """insert into ingest.jobs (document_id, bucket_id, object_name, owner_id,
                                        index_version, storage_version, state, stage, finished_at)
               select id, bucket_id, object_name, owner_id, 1, storage_version, 'succeeded',
                      'finished', now() from ingest.documents""",
            """insert into ingest.chunks (index_version, document_id, object_id, owner_id, access,
                                          content, token_count, content_hash, embedding, fts)
               select 1, id, object_id, owner_id, 'owner', 'x', 1, sha256(id::text::bytea),
                      array_fill(0.5::real, array[256])::extensions.vector::extensions.halfvec, ''
                 from ingest.documents""",
            """insert into ingest.chunk_positions (index_version, document_id, ordinal, chunk_id)
               select 1, document_id, 0, id from ingest.chunks""",
            """with queued as (
                   insert into ingest.jobs (bucket_id, object_name, owner_id, index_version,
                                            storage_version)
                   select 'docs', 'q', 'owner ' || n % 200, 1, 'v'
                     from generate_series(1, 20000) as n returning id, owner_id)
               insert into ingest_private.job_queue (job_id, provider, priority, rank,
                                                     fairness_key, phase, due_at)
               select id, 'local', 5, row_number() over (), 'owner:' || owner_id,
                      case when row_number() over () % 2 = 0 then 'ready' else 'waiting' end,
                      case when row_number() over () % 2 = 1 then now() + interval '1 day' end
                 from queued""",
            "set session_replication_role = origin",
            "vacuum analyze",
        ):
            admin.execute(statement.encode())
        upload(database, "one.txt", ["one"])
        yield database


@pytest.fixture
def admin(big: Database) -> Iterator[Connection]:
    with big.connect() as connection:
        yield connection


@pytest.fixture
def worker(big: Database) -> Iterator[Connection]:
    with big.connect("docmill_worker") as connection:
        yield connection


@pytest.fixture
def watcher(big: Database) -> Iterator[Connection]:
    """Reads statistics while the others work."""
    with big.connect() as connection:
        yield connection


class Touched:
    """The reads of the big tables since the start: rows, index entries and blocks."""

    TABLES: tuple[str, ...] = (
        *("storage.objects", "ingest.documents", "ingest.jobs", "ingest_private.chunks_1"),
        *("ingest_private.chunk_positions_1", "ingest_private.job_queue"),
    )

    def __init__(self, watcher: Connection) -> None:
        self._watcher = watcher
        self._before = self._now()

    def _now(self) -> dict[str, int]:
        self._watcher.execute("select pg_stat_clear_snapshot()")
        found = rows(
            self._watcher,
            """select s.relid::regclass::text as name, s.seq_tup_read + coalesce(s.idx_tup_fetch, 0)
                      + coalesce((select sum(i.idx_tup_read) from pg_stat_all_indexes as i
                                   where i.relid = s.relid), 0)
                      + (io.heap_blks_read + io.heap_blks_hit + coalesce(io.idx_blks_read, 0)
                         + coalesce(io.idx_blks_hit, 0)) as touched
                 from pg_stat_all_tables as s join pg_statio_all_tables as io using (relid)
                where s.relid = any(%s::regclass[])""",
            list(self.TABLES),
        )
        return {row["name"]: row["touched"] for row in found}

    def since(self, *actors: Connection) -> dict[str, int]:
        """Counts for each table, after the work of these connections."""
        for actor in actors:
            actor.execute("select pg_stat_force_next_flush()")
            actor.execute("select 1")
        return {
            name: int(count - self._before[name])
            for name, count in self._now().items()
            if count > self._before[name]
        }


#: Rows, index entries and blocks together. A scan of one of the tables reads 20,000 and more.
FEW = 400


class TestTouchesFewRows:
    def test_an_upload(self, admin: Connection, worker: Connection, watcher: Connection):
        put_object(admin, "warm")
        touched = Touched(watcher)
        put_object(admin, "new", owner="owner 7")
        assert max(touched.since(admin).values()) < FEW

    def test_an_overwrite(self, admin: Connection, worker: Connection, watcher: Connection):
        put_object(admin, "big/1")
        touched = Touched(watcher)
        put_object(admin, "big/2")
        assert max(touched.since(admin).values()) < FEW

    def test_a_change_of_owner(self, admin: Connection, worker: Connection, watcher: Connection):
        put_object(admin, "big/3", owner="x")
        touched = Touched(watcher)
        put_object(admin, "big/4", owner="y")
        assert max(touched.since(admin).values()) < FEW

    def test_a_delete(self, admin: Connection, worker: Connection, watcher: Connection):
        delete_objects(admin, ["big/5"])
        touched = Touched(watcher)
        delete_objects(admin, ["big/6"])
        assert max(touched.since(admin).values()) < FEW

    def test_a_dispatch_beside_10000_jobs_that_are_not_due(
        self, admin: Connection, worker: Connection, watcher: Connection
    ):
        heartbeat(worker, slots=1)
        take(worker)
        touched = Touched(watcher)
        heartbeat(worker, slots=2)
        assert len(take(worker)) == 1
        assert max(touched.since(worker).values()) < FEW

    def test_a_claim_and_its_end(self, admin: Connection, worker: Connection, watcher: Connection):
        object_id = value(admin, "select id from storage.objects where name = 'one.txt'")
        put_object(admin, "one.txt")
        job_id = job_of(admin, object_id)
        touched = Touched(watcher)
        [run] = rows(
            worker, "select * from ingest_private.claim_job(%s, 'w', false, '1 min')", job_id
        )
        worker.execute(
            "select ingest_private.release_job(%s, %s, 'paused', null, '0')",
            [job_id, run["token"]],
        )
        assert max(touched.since(worker).values()) < FEW

    def test_a_publish_of_one_chunk(
        self, admin: Connection, worker: Connection, watcher: Connection
    ):
        run = claimed(worker, job_of(admin, put_object(admin, "small.txt")))
        stage(worker, run, ["small"])
        touched = Touched(watcher)
        assert publish(worker, run, ["small"]) == "published"
        assert max(touched.since(worker).values()) < FEW

    def test_a_prune_and_a_rescue_with_nothing_to_do(
        self, admin: Connection, worker: Connection, watcher: Connection
    ):
        touched = Touched(watcher)
        assert value(worker, "select ingest_private.prune('1 day', '1 day')") == 0
        assert value(worker, "select ingest_private.rescue_jobs()") == 0
        worker.execute("select ingest_private.age_jobs()")
        assert max(touched.since(worker).values(), default=0) < FEW


class TestPlans:
    """Look-ups by clients, under row-level security."""

    @pytest.mark.parametrize(
        "query",
        [
            "select * from ingest.documents order by created_at desc limit 20",
            "select * from ingest.jobs order by created_at desc limit 20",
            f"select * from ingest.chunks where document_id = '{UUID(int=1)}'",
            "select * from ingest.usage",
        ],
    )
    def test_of_an_owner_read_no_foreign_rows(self, admin: Connection, query: str):
        with admin.transaction(force_rollback=True):
            admin.execute("set local role authenticated")
            admin.execute("""set local request.jwt.claims = '{"sub": "owner 7"}'""")
            [[plan]] = admin.execute(f"explain (analyze, format json) {query}".encode()).fetchall()
        assert scanned(plan[0]["Plan"]) <= 500, json.dumps(plan, indent=1)


def scanned(plan: dict[str, Any]) -> int:
    """Rows that the nodes of a plan read from tables, discarded ones included."""
    here = 0
    if "Relation Name" in plan:
        rows_read = plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)
        here = int(rows_read * plan["Actual Loops"])
    return here + sum(scanned(child) for child in plan.get("Plans", []))


def stage_many(admin: Connection, document_id: UUID, numbers: range) -> None:
    """Stage a chunk for each number, like a run."""
    admin.execute(
        """insert into ingest_private.staged_chunks (document_id, index_version, content_hash,
                       content, headings, token_count, metadata, embedding)
           select %s, 1, sha256(n::text::bytea), n::text, '{}', 1, '{}',
                  array_fill(0.5::real, array[256])::extensions.vector
             from generate_series(%s::int, %s::int) as n""",
        [document_id, numbers[0], numbers[-1]],
    )


class TestPublish:
    """A large publish, with any statistics about tables that fill and empty."""

    CHUNKS = 10_000
    #: Two seconds are enough; reading all hashes again for each chunk takes minutes.
    PATIENCE = "30s"

    @pytest.mark.parametrize("analysed", ["never", "while empty"])
    def test_compares_no_chunk_with_every_other(self, postgres: PostgresServer, analysed: str):
        with (
            make_database(postgres) as database,
            database.connect() as admin,
            database.connect("docmill_worker") as worker,
        ):
            watch_bucket(database)
            if analysed == "while empty":
                # Pages without rows: the planner then expects as many rows on all later pages.
                stage_many(admin, UUID(int=1), range(self.CHUNKS))
                admin.execute(
                    """insert into ingest.chunks (index_version, document_id, object_id, access,
                           content, token_count, content_hash, embedding, fts)
                       select index_version, document_id, document_id, 'owner', content, 1,
                              content_hash, embedding, '' from ingest_private.staged_chunks"""
                )
                admin.execute("delete from ingest_private.staged_chunks")
                admin.execute("delete from ingest.chunks")
                admin.execute(
                    """analyze ingest_private.staged_chunks, ingest.chunks, ingest.documents,
                               ingest.chunk_positions, ingest_private.sketches"""
                )
            worker.execute(f"set statement_timeout = '{self.PATIENCE}'".encode())
            # The second publish removes half of the chunks, and adds as many.
            for first in (0, self.CHUNKS // 2):
                numbers = range(first, first + self.CHUNKS)
                object_id = put_object(admin, "big.csv", owner="alice")
                run = claimed(worker, job_of(admin, object_id))
                stage_many(admin, run.document_id, numbers)
                assert publish(worker, run, [str(number) for number in numbers]) == "published"
                for table in ("ingest.chunks", "ingest_private.sketches", "ingest.chunk_positions"):
                    assert value(admin, f"select count(*) from {table}") == self.CHUNKS

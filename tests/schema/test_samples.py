"""Samples on the schedule: what they find, what they name as the remedy, and when it is over."""

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from docmill.worker.admin.schedules import list_schedules
from docmill.worker.app import create_app
from docmill.worker.maintenance.samples import judged
from docmill.worker.maintenance.schedules import Schedules
from docmill.worker.queue import Dispatcher
from docmill.worker.settings.processes import WorkerSettings
from docmill.worker.store import samples
from docmill.worker.store.database import Database as Pool
from docmill.worker.store.samples import RecallOfSearch
from tests.schema.actors import Connection, rows, value
from tests.schema.conftest import KEPT
from tests.schema.corpora import write_chunks
from tests.support.database import Database

HITS = 10
LEAST = 256 * 1024
BAD = "select trouble, seen, remedy from ingest_private.troubles() where trouble = any(%s)"


@pytest.fixture
def pool(wiped: Database) -> Iterator[Pool]:
    pool = Pool(wiped.url("docmill_worker"), connections=2)
    pool.open()
    yield pool
    pool.close()


@pytest.fixture
def run(pool: Pool, admin: Connection) -> Callable[[str], dict[str, Any]]:
    """Run one schedule as a worker does when it is due; returns its row for operators."""
    schedules = Schedules(
        pool,
        Dispatcher(create_app("memory://"), pool, resend_after=timedelta(minutes=1)),
        WorkerSettings(),
    )

    def once(name: str) -> dict[str, Any]:
        schedules.run_due()
        admin.execute(
            """update ingest_private.schedules set next_due_at = now() - interval '1 minute'
                where name = %s""",
            [name],
        )
        schedules.run_due()
        (row,) = [row for row in list_schedules(admin) if row["name"] == name]
        assert row["last_outcome"] == "done"
        return row

    return once


def library(admin: Connection, chunks: int = 300) -> None:
    texts = {owner: [f"{owner} {number}" for number in range(chunks)] for owner in ("alice", "bob")}
    write_chunks(admin, texts)


def troubles(admin: Connection, *names: str) -> list[dict[str, Any]]:
    return rows(admin, BAD, list(names))


class TestRecall:
    def test_what_is_promised_is_seen_and_no_trouble(
        self, run: Callable[[str], dict[str, Any]], admin: Connection
    ):
        library(admin)
        assert "find 100.0 %" in run("sample_recall")["found"]
        assert troubles(admin, "recall_low") == []

    def test_without_chunks_nothing_is_said_of_it(
        self, run: Callable[[str], dict[str, Any]], admin: Connection
    ):
        assert run("sample_recall")["found"] == "no searches could be compared"
        assert troubles(admin, "recall_low") == []

    def test_what_searches_miss_is_a_trouble_until_a_sample_finds_it(
        self, run: Callable[[str], dict[str, Any]], admin: Connection
    ):
        library(admin)
        lost = """with lost as (delete from ingest_private.sketches where uuid_hash(id) % 2 = 0
                                returning *) select count(*) from lost"""
        admin.execute("create temporary table kept as select * from ingest_private.sketches")
        assert value(admin, lost) > 100
        found = run("sample_recall")["found"]
        (trouble,) = troubles(admin, "recall_low")
        assert found == f"{trouble['seen']}: {trouble['remedy']}"
        assert "please report it" in trouble["remedy"]
        assert "alice" not in found
        admin.execute(
            "insert into ingest_private.sketches select * from kept on conflict do nothing"
        )
        run("sample_recall")
        assert troubles(admin, "recall_low") == []

    def test_the_share_is_that_of_an_exact_comparison(self, worker: Connection, admin: Connection):
        library(admin)
        admin.execute("delete from ingest_private.sketches where uuid_hash(id) % 3 = 0")
        known = rows(
            admin,
            """select chunk.id, chunk.owner_id, chunk.embedding::text as vector,
                      sketch.id is not null as is_seen
                 from ingest.chunks as chunk
                      left join ingest_private.sketches as sketch on sketch.id = chunk.id""",
        )
        vectors = np.array([json.loads(row["vector"]) for row in known])
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        for place in range(5):
            query = known[place]
            own = [row for row, one in enumerate(known) if one["owner_id"] == "bob"]
            nearest = sorted(own, key=lambda row: -(vectors[row] @ vectors[place]))[:HITS]
            expected = sum(known[row]["is_seen"] for row in nearest) / HITS
            found = samples.recall_of(worker, "bob", query["id"], hits=HITS, most=1000)
            assert found == RecallOfSearch(expected, uses_graph=False, is_sketched=True)

    def test_an_owner_with_too_many_chunks_is_left_out(self, worker: Connection, admin: Connection):
        library(admin)
        query = value(admin, "select id from ingest.chunks limit 1")
        assert samples.recall_of(worker, "bob", query, hits=HITS, most=299) is None
        assert samples.recall_of(worker, "bob", query, hits=HITS, most=300) is not None

    def test_owners_with_more_chunks_are_drawn_more_often(
        self, worker: Connection, admin: Connection
    ):
        write_chunks(admin, {"large": [f"l{n}" for n in range(900)], "small": ["s1", "s2"]})
        drawn = samples.draw_recall(worker, owners=3, queries=5)
        assert "large" in {owner for owner, _ in drawn}
        assert 1 <= len({query for _, query in drawn}) <= 5

    @pytest.mark.parametrize(
        ("one", "named", "is_graph"),
        [
            (
                RecallOfSearch(0.9, uses_graph=True, is_sketched=True),
                "docmill index hnsw off",
                True,
            ),
            (RecallOfSearch(0.9, uses_graph=False, is_sketched=False), "still sketch", False),
            (RecallOfSearch(0.9, uses_graph=False, is_sketched=True), "report it", False),
        ],
    )
    def test_the_remedy_follows_from_how_the_search_works(
        self, one: RecallOfSearch, named: str, *, is_graph: bool
    ):
        fine = RecallOfSearch(1.0, uses_graph=False, is_sketched=True)
        seen, remedy, blames_graph = judged([[fine, fine], [one, fine]])
        assert "95.0 %" in seen
        assert remedy is not None
        assert named in remedy
        assert blames_graph is is_graph

    def test_an_index_that_is_gone_is_no_trouble_any_more(
        self, worker: Connection, admin: Connection
    ):
        name = "ingest_private.chunks_1_embedding"
        admin.execute(
            b"create index chunks_1_embedding on ingest_private.chunks_1 using hnsw"
            b" ((embedding::extensions.halfvec(256)) extensions.halfvec_cosine_ops)"
        )
        samples.note_recall(worker, "90 %", "docmill index hnsw off", is_graph=True)
        assert len(troubles(admin, "recall_low")) == 1
        admin.execute(f"drop index {name}".encode())
        assert troubles(admin, "recall_low") == []

    def test_a_comparison_that_takes_too_long_counts_as_not_measured(
        self, worker: Connection, admin: Connection
    ):
        library(admin)
        query = value(admin, "select id from ingest.chunks limit 1")
        worker.execute("set statement_timeout = '1ms'")
        assert samples.recall_of(worker, "bob", query, hits=HITS, most=1000) is None


@pytest.fixture
def never_analysed(admin: Connection) -> Iterator[None]:
    """Tables as they are created; they are analysed and vacuumed when the test says so alone."""
    tables = [
        row["name"]
        for row in rows(
            admin,
            """select oid::regclass::text as name from pg_class
                where relkind = 'r' and relname <> all(%s)
                  and relnamespace in ('ingest'::regnamespace, 'ingest_private'::regnamespace)""",
            [*KEPT, "sources"],
        )
    ]
    for table in tables:
        # It waits for an automatic one of this table, which ends for it.
        admin.execute(f"alter table {table} set (autovacuum_enabled = off)".encode())
    admin.execute(f"truncate {', '.join(tables)}".encode())
    yield
    for table in tables:
        admin.execute(f"alter table {table} reset (autovacuum_enabled)".encode())


@pytest.mark.usefixtures("never_analysed")
class TestBloat:
    def test_what_is_filled_and_analysed_wastes_no_room(self, admin: Connection):
        library(admin, 3000)
        admin.execute("vacuum analyze")
        assert rows(admin, "select * from ingest_private.bloat(%s)", LEAST) == []

    def test_each_remedy_ends_its_trouble(
        self, run: Callable[[str], dict[str, Any]], worker: Connection, admin: Connection
    ):
        library(admin, 3000)
        admin.execute("delete from ingest.chunks where uuid_hash(id) % 20 <> 0")
        admin.execute("vacuum analyze")
        before = sizes(admin)
        assert value(worker, "select ingest_private.sample_bloat(%s)", LEAST) > 3
        found = troubles(admin, "room_wasted")
        mended = [row["remedy"] for row in found]
        assert any(one.startswith("reindex index concurrently") for one in mended)
        assert any(one.startswith("vacuum full") for one in mended)
        for remedy in mended:
            admin.execute(remedy.split(",")[0].encode())
        assert troubles(admin, "room_wasted") == []
        after = sizes(admin)
        for remedy in mended:
            relation = remedy.split(",")[0].split()[-1]
            assert after[relation] < before[relation] / 2, relation
        assert rows(admin, "select * from ingest_private.bloat(%s)", LEAST) == []
        assert "twice the room" in run("sample_bloat")["found"]

    def test_rows_that_are_deleted_are_vacuumed(self, worker: Connection, admin: Connection):
        library(admin, 3000)
        admin.execute("vacuum analyze")
        for _ in range(3):
            admin.execute("update ingest.documents set updated_at = now()")
        admin.execute("select pg_stat_force_next_flush()")
        admin.execute("select 1")
        assert value(worker, "select ingest_private.sample_bloat(%s)", 8192) > 0
        found = {row["remedy"] for row in troubles(admin, "room_wasted")}
        assert "vacuum (analyze) ingest.documents" in found
        admin.execute("vacuum (analyze) ingest.documents")
        left = {row["remedy"] for row in troubles(admin, "room_wasted")}
        assert "vacuum (analyze) ingest.documents" not in left

    def test_what_grew_since_it_was_analysed_wastes_no_room(
        self, worker: Connection, admin: Connection
    ):
        write_chunks(admin, {"carol": ["a first text"]})
        admin.execute("analyze")
        library(admin, 3000)
        admin.execute("select pg_stat_force_next_flush()")
        admin.execute("select 1")
        assert rows(admin, "select * from ingest_private.bloat(%s)", LEAST) == []

    def test_what_was_never_analysed_is_not_judged(self, worker: Connection, admin: Connection):
        library(admin)
        assert value(worker, "select ingest_private.sample_bloat(%s)", LEAST) == 0


def sizes(admin: Connection) -> dict[str, int]:
    found = rows(
        admin,
        """select format('%I.%I', relnamespace::regnamespace, relname) as name,
                  pg_relation_size(oid) as bytes
             from pg_class where relnamespace in ('ingest'::regnamespace,
                                                  'ingest_private'::regnamespace)""",
    )
    return {row["name"]: row["bytes"] for row in found}

"""The HNSW index of an index version, and the measurement of recall, both as an admin."""

import threading
from collections.abc import Iterator
from dataclasses import replace

import psycopg
import pytest

from docmill.embedded.postgres import PostgresServer
from docmill.worker.admin import graph as graphs
from docmill.worker.admin import reindex
from docmill.worker.admin.graph import ENOUGH, Choice, Graph, read_graph
from docmill.worker.admin.recall import Recall, measure, share_found
from docmill.worker.errors import RefusedError
from tests.schema.actors import (
    Connection,
    drain_withdrawn,
    new_version,
    search,
    upload,
    value,
    wait_until_blocked,
)
from tests.support.database import Database, delete_objects, make_database, watch_bucket


@pytest.fixture(scope="module")
def project(postgres: PostgresServer) -> Iterator[Database]:
    """Documents of alice and bob."""
    with make_database(postgres) as made:
        watch_bucket(made)
        upload(made, "a.txt", [f"alice {number}" for number in range(40)], owner="alice")
        upload(made, "b.txt", [f"bob {number}" for number in range(5)], owner="bob")
        yield made


@pytest.fixture
def admin(project: Database) -> Iterator[Connection]:
    """As the schema's owner."""
    with project.connect("postgres") as connection:
        yield connection


def graph_of(admin: Connection) -> Graph:
    found = read_graph(admin)
    assert found is not None
    return found


class TestGraph:
    def test_is_built_and_dropped_while_searches_go_on(self, project: Database, admin: Connection):
        found = graph_of(admin)
        assert not found.has_graph
        assert found.is_sketched
        assert found.choice == "auto"
        assert found.largest == 40
        graphs.choose(admin, found, "on")
        assert graph_of(admin).advice == "on"
        graphs.build(admin, graph_of(admin))
        assert graph_of(admin).has_graph
        assert graph_of(admin).advice is None
        with project.connect() as superuser:
            assert search(superuser, "bob 3")[0]["content"] == "bob 3"
        graphs.choose(admin, found, "off")
        assert graph_of(admin).advice == "off"
        graphs.remove(admin, graph_of(admin))
        assert not graph_of(admin).has_index

    def test_that_was_not_built_to_its_end_is_built_anew(
        self, project: Database, admin: Connection
    ):
        graphs.build(admin, graph_of(admin))
        with project.connect() as superuser:
            superuser.execute(
                "update pg_index set indisvalid = false"
                " where indexrelid = 'ingest_private.chunks_1_embedding'::regclass"
            )
        broken = graph_of(admin)
        assert broken.has_index
        assert not broken.has_graph
        graphs.build(admin, broken)
        assert graph_of(admin).has_graph
        graphs.remove(admin, graph_of(admin))

    def test_of_a_version_beside_is_built_before_it_answers_and_again_after_a_crash(
        self, project: Database, admin: Connection
    ):
        beside = new_version(admin)
        reads = "select indisvalid from pg_index where indexrelid = to_regclass(%s)"
        name = f"ingest_private.chunks_{beside}_embedding"
        with (
            project.connect() as reader,
            project.connect("postgres") as first,
            project.connect("postgres") as second,
        ):
            first.execute("set statement_timeout = '2s'")  # as some projects bound the role
            died: list[BaseException] = []

            def build() -> None:
                try:
                    reindex.build(first, beside, "on", anyway=True)
                except psycopg.OperationalError as error:
                    died.append(error)

            with reader.transaction():
                # A build waits for whoever reads the table from before it.
                reader.execute("select count(*) from ingest.chunks")
                reader.execute(f"lock table ingest_private.chunks_{beside} in row exclusive mode")
                building = threading.Thread(target=build)
                building.start()
                assert wait_until_blocked(admin, first.info.backend_pid)
                with pytest.raises(RefusedError, match="another command"):
                    reindex.build(second, beside, "on", anyway=True)
                with project.connect() as superuser:
                    pid = first.info.backend_pid
                    superuser.execute("select pg_terminate_backend(%s)", [pid])
                building.join(60)
            assert len(died) == 1
            assert value(admin, reads, name) is False  # it left this
            with pytest.raises(RefusedError, match="lacks documents"):
                reindex.build(second, beside, "off")
            built = reindex.build(second, beside, "off", anyway=True)
            assert (built.version, built.has_graph) == (beside, False)
            assert value(admin, f"select to_regclass('{name}') is null")
            built = reindex.build(second, beside, "on", anyway=True)
            assert built.has_graph
            assert built.build_seconds > 0
            assert value(admin, reads, name) is True
            assert not graph_of(admin).has_graph  # the active one is as it was
            with pytest.raises(RefusedError, match="not being filled"):
                reindex.build(second, 1, "on", anyway=True)
            reindex.drop(second, beside)

    def test_a_build_is_not_ended_by_the_bound_of_the_role(
        self, project: Database, admin: Connection
    ):
        beside = new_version(admin)
        with project.connect() as reader, project.connect("postgres") as builder:
            builder.execute("set statement_timeout = '300ms'")
            with reader.transaction():
                reader.execute(f"lock table ingest_private.chunks_{beside} in row exclusive mode")
                building = threading.Thread(
                    target=reindex.build, args=(builder, beside, "on"), kwargs={"anyway": True}
                )
                building.start()
                assert wait_until_blocked(admin, builder.info.backend_pid)
                admin.execute("select pg_sleep(0.6)")  # past that bound
            building.join(60)
        found = read_graph(admin, beside)
        assert found is not None
        assert found.has_graph
        reindex.drop(admin, beside)

    @pytest.mark.parametrize(
        ("choice", "largest", "has_graph", "advice"),
        [
            ("auto", ENOUGH, False, None),
            ("auto", ENOUGH + 1, False, "on"),
            ("auto", ENOUGH, True, "off"),
            ("auto", ENOUGH + 1, True, None),
            ("on", 0, False, "on"),
            ("off", ENOUGH + 1, True, "off"),
            ("off", ENOUGH + 1, False, None),
        ],
    )
    def test_is_advised_where_it_pays(
        self,
        admin: Connection,
        choice: Choice,
        largest: int,
        advice: str | None,
        *,
        has_graph: bool,
    ):
        found = replace(graph_of(admin), choice=choice, largest=largest, has_graph=has_graph)
        assert found.advice == advice

    def test_has_the_bound_that_searches_have(self, admin: Connection):
        source = value(admin, "select prosrc from pg_proc where proname = 'nearest_allowed'")
        assert f", {ENOUGH});" in source


class TestRecall:
    def test_is_whole_where_nothing_is_lost(self, admin: Connection):
        assert [(one.owner, one.chunks, min(one.recalls)) for one in self._measured(admin)] == [
            ("alice", 40, 1),
            ("bob", 5, 1),
        ]

    def test_falls_where_chunks_cannot_be_found(self, project: Database, admin: Connection):
        with project.connect() as superuser, superuser.transaction(force_rollback=True):
            superuser.execute(
                "delete from ingest_private.sketches where owner_id = 'alice' and id in"
                " (select id from ingest.chunks where content like 'alice 1%')"
            )
            alice, bob = self._measured(superuser)
        assert sum(alice.recalls) < len(alice.recalls)
        assert min(bob.recalls) == 1

    def test_passes_over_what_was_withdrawn(self, project: Database, admin: Connection):
        upload(project, "c.txt", ["carol"], owner="carol")
        with project.connect() as superuser:
            delete_objects(superuser, ["c.txt"])
        carol = [one for one in self._measured(admin) if one.owner == "carol"]
        assert [set(one.recalls) for one in carol] == [{1.0}]
        with project.connect() as superuser:
            drain_withdrawn(superuser)

    @staticmethod
    def _measured(connection: Connection) -> list[Recall]:
        graph = read_graph(connection)
        assert graph is not None
        return list(
            measure(connection, graph, owners=5, queries=10, k=5, bucket=None, path_prefix=None)
        )

    @pytest.mark.parametrize(
        ("found", "nearest", "share"),
        [
            ([], [], 1),
            ([], [0.5], 0),
            ([0.5], [0.5, 0.5], 0.5),
            ([0.9, 0.5], [0.9, 0.8], 0.5),
            ([0.9, 0.8], [0.9, 0.8], 1),
            ([0.8, 0.8, 0.8], [0.8, 0.8], 1),
        ],
    )
    def test_counts_what_is_as_near(self, found: list[float], nearest: list[float], share: float):
        assert share_found(found, nearest) == share

"""match_documents, the function of LangChain's stores, checked against its own results."""

import random
from collections.abc import Iterator
from typing import Any

import pytest
from psycopg import errors as pg
from psycopg.types.json import Jsonb

from docmill.embedded.postgres import PostgresServer
from tests.schema.actors import DIMENSIONS, MODEL, Connection, literal, rows, upload, vector_of
from tests.schema.corpora import write_chunks
from tests.support.database import Database, as_client, make_database, watch_bucket


def matched(connection: Connection, text: str, **parameters: Any) -> list[dict[str, Any]]:
    """match_documents with the embedding of a text."""
    arguments = {"query_embedding": literal(vector_of(text)), **parameters}
    named = ", ".join(f"{name} => %s" for name in arguments)
    return rows(connection, f"select * from ingest.match_documents({named})", *arguments.values())


@pytest.fixture(scope="module")
def library(postgres: PostgresServer) -> Iterator[Database]:
    """Alice's three documents, with pages, headings, tables and metadata, and one of bob."""
    with make_database(postgres) as database, database.connect() as admin:
        watch_bucket(database)
        upload(database, "a/Über Preise.txt", ["one", "two"], user_metadata={"team": "red"})
        upload(database, "a/b.txt", ["three", "four"], user_metadata={"team": "blue", "page": 9})
        upload(
            database, "c.txt", ["five"], user_metadata={"object_name": "lie", "n": {"x": [1, 2]}}
        )
        upload(database, "a/hers.txt", ["one"], owner="bob", user_metadata={"team": "red"})
        # Chunks are never changed, so write again what a publish would have written.
        with admin.transaction():
            admin.execute("create temporary table moved on commit drop as table ingest.chunks")
            admin.execute(
                """update moved set headings = '{Fees,Hotels}', metadata = '{"category": "Table"}'
                    where content in ('two', 'three')"""
            )
            admin.execute("delete from ingest.chunks")
            admin.execute("insert into ingest.chunks select * from moved")
        admin.execute(
            """update ingest.chunk_positions set page_start = ordinal + 3, page_end = ordinal + 4"""
        )
        admin.execute("update ingest.documents set title = 'T', mime_type = 'text/plain'")
        yield database


@pytest.fixture
def client(library: Database) -> Iterator[Connection]:
    with as_client(library, {"sub": "alice"}, read_only=True) as connection:
        yield connection


class TestRows:
    def test_are_what_match_chunks_finds_in_its_order(self, client: Connection):
        found = matched(client, "one", match_count=3)
        nearest = rows(
            client,
            "select * from ingest.match_chunks(%s, %s, 3)",
            *(literal(vector_of("one")), MODEL),
        )
        assert [row["id"] for row in found] == [row["chunk_id"] for row in nearest]
        assert [row["similarity"] for row in found] == [row["score"] for row in nearest]
        assert [row["content"] for row in found] == [row["content"] for row in nearest]

    def test_say_where_the_text_is_and_the_documents_own_metadata(self, client: Connection):
        by_text = {row["content"]: row["metadata"] for row in matched(client, "one")}
        assert by_text["two"].pop("document_id")
        assert by_text["two"] == {
            "team": "red",
            "bucket_id": "docs",
            "object_name": "a/Über Preise.txt",
            "file_name": "Über Preise.txt",
            "title": "T",
            "mime_type": "text/plain",
            "url": "/storage/v1/object/authenticated/docs/a/%C3%9Cber%20Preise.txt",
            "page": 4,
            "page_end": 5,
            "headings": ["Fees", "Hotels"],
            "chunk": {"category": "Table"},
        }
        assert by_text["five"]["object_name"] == "c.txt"
        assert by_text["three"]["page"] == 3
        assert "chunk" not in by_text["one"]

    def test_have_the_embedding_as_text(self, client: Connection):
        [row] = matched(client, "one", match_count=1)
        numbers = [float(number) for number in row["embedding"].strip("[]").split(",")]
        assert numbers == pytest.approx(list(vector_of("one")), abs=1e-2)

    def test_are_as_many_as_there_are_up_to_200(self, library: Database, client: Connection):
        assert len(matched(client, "one")) == 5
        assert len(matched(client, "one", match_count=None)) == 5
        with library.connect() as admin, admin.transaction(force_rollback=True):
            write_chunks(admin, {"eve": [f"text {n}" for n in range(230)]})
            admin.execute(
                """select set_config('role', 'authenticated', true),
                          set_config('request.jwt.claims', '{"sub": "eve"}', true)"""
            )
            assert [len(matched(admin, "x", match_count=n)) for n in (None, 7, 300)] == [
                *(200, 7, 200)
            ]

    def test_are_the_callers(self, library: Database):
        for claims, count in (
            ({"sub": "bob"}, 1),
            ({"sub": "eve"}, 0),
            ({"role": "service_role"}, 6),
        ):
            with as_client(library, claims, read_only=True) as client:
                for filtered in ({}, {"filter": Jsonb({"bucket_id": "docs"})}):
                    assert len(matched(client, "one", **filtered)) == count


FILTERS: tuple[dict[str, Any], ...] = (
    *({}, {"team": "red"}, {"team": "blue"}, {"team": "green"}, {"n": {"x": [2]}}),
    *({"file_name": "b.txt"}, {"object_name": "lie"}, {"object_name": "c.txt"}, {"title": "T"}),
    *({"page": 3}, {"page": 9}, {"page_end": 5}, {"headings": ["Hotels"]}, {"headings": []}),
    *({"chunk": {"category": "Table"}}, {"chunk": {}}, {"team": "red", "page": 4}),
    *({"team": "blue", "headings": ["Fees"]}, {"url": "x"}, {"team": {"$in": ["red"]}}),
)


class TestFilter:
    @pytest.mark.parametrize("wanted", FILTERS, ids=str)
    def test_leaves_what_the_returned_metadata_contain(
        self, client: Connection, wanted: dict[str, Any]
    ):
        everything = matched(client, "one")
        expected = [
            row["id"]
            for row in everything
            if rows(client, "select %s @> %s as so", Jsonb(row["metadata"]), Jsonb(wanted))[0]["so"]
        ]
        found = matched(client, "one", filter=Jsonb(wanted))
        assert [row["id"] for row in found] == expected

    def test_decides_before_the_limit(self, client: Connection):
        [last] = matched(client, "one")[-1:]
        for name in ("object_name", "page"):
            wanted = {name: last["metadata"][name], "document_id": last["metadata"]["document_id"]}
            [found] = matched(client, "one", match_count=1, filter=Jsonb(wanted))
            assert found["id"] == last["id"]

    def test_may_be_null(self, client: Connection):
        assert len(matched(client, "one", filter=None)) == 5

    @pytest.mark.parametrize("wrong", [[], 7, "x", [{"team": "red"}]])
    def test_is_an_object(self, client: Connection, wrong: Any):
        with pytest.raises(pg.InvalidParameterValue, match="filter must be a JSON object"):
            matched(client, "one", filter=Jsonb(wrong))


class TestNobodyElses:
    @pytest.mark.parametrize("seed", range(3))
    def test_chunks_are_looked_at_for_a_filter(self, wiped: Database, seed: int):
        chance = random.Random(seed)
        with wiped.connect() as admin:
            owners = {name: [f"{name} {n}" for n in range(chance.randint(1, 50))] for name in "abc"}
            documents = write_chunks(admin, owners)
        everybodys = [document for one in documents.values() for document in one]
        for owner, texts in owners.items():
            with as_client(wiped, {"sub": owner}, read_only=True) as client:
                found = matched(client, "x", filter=Jsonb({"headings": []}))
                assert {row["content"] for row in found} == set(texts)
                direct = rows(
                    client,
                    "select * from ingest_search.chunks_with(1, %s, %s::uuid[], '{}', 1000)",
                    *(literal(vector_of("x")), everybodys),
                )
                more = rows(
                    client,
                    """select more.* from ingest_search.more_of(
                           1, array(select found.chunk_id from ingest_search.chunks_with(
                               1, %s, %s::uuid[], '{}', 1000) as found)) as more""",
                    *(literal(vector_of("x")), everybodys),
                )
            assert len(direct) == len(more) == len(texts)


class TestIndexVersions:
    def test_of_several_models_of_a_width_one_has_to_be_named(self, library: Database):
        with library.connect() as admin, admin.transaction(force_rollback=True):
            admin.execute(
                """insert into ingest.index_versions (model, dimensions, chunking, state, provider,
                                                         sends_dimensions)
                   values ('another', %s, '{}', 'retired', 'openai', false)""",
                [DIMENSIONS],
            )
            with (
                pytest.raises(pg.InvalidParameterValue, match="several models have") as raised,
                admin.transaction(),
            ):
                matched(admin, "one")
            assert "another" in str(raised.value)
            assert len(matched(admin, "one", model=MODEL)) == 6
            assert matched(admin, "one", model="another") == []

    def test_of_one_model_the_active_one_answers(self, library: Database):
        with library.connect() as admin, admin.transaction(force_rollback=True):
            admin.execute(
                """insert into ingest.index_versions (model, dimensions, chunking, state, provider,
                                                         sends_dimensions)
                   values (%s, %s, '{"more": 1}', 'retired', 'openai', false)""",
                [MODEL, DIMENSIONS],
            )
            assert len(matched(admin, "one")) == 6

    @pytest.mark.parametrize(
        "wrong",
        [
            {"query_embedding": "[1,2]"},
            {"query_embedding": None},
            {"model": "nope"},
            {"match_count": 0},
        ],
    )
    def test_what_makes_no_sense_is_refused(self, client: Connection, wrong: dict[str, Any]):
        with pytest.raises(pg.InvalidParameterValue):
            matched(client, "one", **wrong)

    def test_an_embedding_of_another_width_than_its_model_is_refused(self, client: Connection):
        with pytest.raises(pg.DataException):
            matched(client, "one", query_embedding="[1,2]", model=MODEL)

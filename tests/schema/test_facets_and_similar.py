"""Facets of the candidates of a search, and documents that are similar to one."""

from collections import Counter
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from psycopg import errors as pg

from docmill.embedded.postgres import PostgresServer
from tests.schema.actors import Connection, document_of, literal, rows, upload, value, vector_of
from tests.schema.corpora import write_chunks
from tests.support.database import (
    Database,
    as_client,
    delete_objects,
    make_database,
    watch_bucket,
)


def facets(connection: Connection, query: str | None, **parameters: Any) -> dict[str, Counter[Any]]:
    """search_facets: for each facet, how many passages have each value."""
    arguments = {"query_text": query, **parameters}
    named = ", ".join(f"{name} => %s" for name in arguments)
    made: dict[str, Counter[Any]] = {}
    for row in rows(
        connection, f"select * from ingest.search_facets({named})", *arguments.values()
    ):
        made.setdefault(row["facet"], Counter())[row["value"]] = row["chunks"]
        assert 1 <= row["documents"] <= row["chunks"]
    return made


GERMAN = "zubo und das ist nicht von der Welt, aber auch noch mit einem Haus"


@pytest.fixture(scope="module")
def shelves(postgres: PostgresServer) -> Iterator[Database]:
    """Alice's documents in two buckets and three folders, and one of bob's."""
    with make_database(postgres) as database, database.connect() as admin:
        watch_bucket(database)
        watch_bucket(database, "second")
        upload(database, "a/x.txt", ["zubo one", "zubo two", "kalo"])
        upload(database, "a/b/y.pdf", [GERMAN])
        upload(database, "z.txt", ["zubo"], bucket="second")
        upload(database, "a/hers.txt", ["zubo"], owner="bob")
        admin.execute(
            """update ingest.documents set mime_type = case when object_name ~ 'pdf'
                                                         then 'application/pdf' end"""
        )
        yield database


class TestFacets:
    def test_count_the_candidates_by_what_they_are(self, shelves: Database):
        with as_client(shelves, {"sub": "alice"}, read_only=True) as client:
            assert facets(client, "zubo") == {
                "bucket": {"docs": 3, "second": 1},
                "folder": {"a": 2, "a/b": 1, "": 1},
                "type": {"application/pdf": 1, None: 3},
                "language": {"german": 1, None: 3},
            }

    @pytest.mark.parametrize("owner", ["alice", "bob"])
    @pytest.mark.parametrize("query", ["zubo", "kalo one", "haus two", "nothing of it"])
    @pytest.mark.parametrize("by_meaning", [False, True])
    def test_are_the_account_of_what_is_found(
        self, shelves: Database, owner: str, query: str, *, by_meaning: bool
    ):
        """With fewer hits than candidates: the passages and documents that hybrid_search finds."""
        vector = literal(vector_of(query)) if by_meaning else None
        with as_client(shelves, {"sub": owner}, read_only=True) as client:
            hits = rows(
                client,
                "select * from ingest.hybrid_search(%s, %s, match_count => 200)",
                *(query, vector),
            )
            counted = rows(
                client,
                """select facet, value, chunks, documents
                     from ingest.search_facets(%s, %s) where facet in ('bucket', 'folder')""",
                *(query, vector),
            )
        account: dict[tuple[str, str], list[Any]] = {}
        for hit in hits:
            folder = hit["object_name"].rpartition("/")[0]
            for place in (("bucket", hit["bucket_id"]), ("folder", folder)):
                account.setdefault(place, []).append(hit["document_id"])
        assert {
            (row["facet"], row["value"]): (row["chunks"], row["documents"]) for row in counted
        } == {place: (len(found), len(set(found))) for place, found in account.items()}

    def test_take_what_hybrid_search_takes(self, shelves: Database):
        arguments = {
            "query_embedding": literal(vector_of("zubo")),
            "path_prefix": "a/",
            "match_count": 1,
            "with_context": 2,
            "max_per_document": 1,
        }
        with as_client(shelves, {"sub": "alice"}, read_only=True) as client:
            # The embedding is near every passage; the word is in three of them.
            assert facets(client, "zubo", **arguments)["folder"] == {"a": 3, "a/b": 1}
            assert facets(client, "zubo", candidates=1)["bucket"].total() == 1
            names = (
                "select proargnames[:pronargs] as names from pg_proc where proname = %s and "
                "pronamespace = 'ingest'::regnamespace"
            )
            assert value(client, names, "search_facets") == value(client, names, "hybrid_search")

    def test_are_of_what_the_caller_may_read(self, shelves: Database):
        for claims, count in (
            ({"sub": "bob"}, 1),
            ({"sub": "eve"}, 0),
            ({"role": "service_role"}, 5),
        ):
            with as_client(shelves, claims, read_only=True) as client:
                assert facets(client, "zubo").get("bucket", Counter()).total() == count

    @pytest.mark.parametrize("wrong", [{"candidates": 0}, {"model": "nope"}, {"text_weight": -1}])
    def test_of_what_makes_no_sense_are_refused(self, shelves: Database, wrong: dict[str, Any]):
        with (
            as_client(shelves, {"sub": "alice"}, read_only=True) as client,
            pytest.raises(pg.InvalidParameterValue),
        ):
            facets(client, "zubo", **wrong)


def similar(connection: Connection, document_id: Any, **parameters: Any) -> list[dict[str, Any]]:
    """The documents similar to one."""
    arguments = {"document_id": document_id, **parameters}
    named = ", ".join(f"{name} => %s" for name in arguments)
    return rows(connection, f"select * from ingest.similar({named})", *arguments.values())


class TestSimilar:
    def test_a_document_that_shares_a_passage_is_first(self, wiped: Database):
        with wiped.connect() as admin:
            first = document_of(admin, upload(wiped, "one.txt", ["zubo", "kalo", "mirt"]))["id"]
            upload(wiped, "two.txt", ["tonk", "glub"])
            upload(wiped, "three.txt", ["prax", "kalo", "vunt"])
            upload(wiped, "hers.txt", ["zubo", "kalo", "mirt"], owner="bob")
        with as_client(wiped, {"sub": "alice"}, read_only=True) as client:
            found = similar(client, first)
        assert [row["object_name"] for row in found] == ["three.txt", "two.txt"]
        assert 0 <= found[1]["score"] < found[0]["score"] <= 1

    @pytest.mark.parametrize("seed", range(3))
    def test_the_score_is_the_mean_of_the_nearest_passages(self, wiped: Database, seed: int):
        with wiped.connect() as admin:
            documents = write_chunks(admin, {"alice": [f"text {n}" for n in range(100)]}, seed=seed)
            embeddings: dict[Any, list[Any]] = {}
            for row in rows(
                admin,
                """select position.document_id, chunk.embedding::text as embedding
                     from ingest.chunk_positions as position
                          join ingest.chunks as chunk on chunk.id = position.chunk_id
                    order by position.document_id, position.ordinal""",
            ):
                vector = np.array(row["embedding"].strip("[]").split(","), dtype=float)
                embeddings.setdefault(row["document_id"], []).append(
                    vector / np.linalg.norm(vector)
                )
        chosen = documents["alice"][0]
        # Eight of its twenty chunks.
        passages = [embeddings[chosen][n * 20 // 8] for n in range(8)]
        expected = {
            document: np.mean([max(passage @ other for other in others) for passage in passages])
            for document, others in embeddings.items()
            if document != chosen
        }
        with as_client(wiped, {"sub": "alice"}, read_only=True) as client:
            found = similar(client, chosen, match_count=200)
        assert {row["id"]: row["score"] for row in found} == pytest.approx(expected, abs=2e-2)
        assert [row["score"] for row in found] == sorted(
            (row["score"] for row in found), reverse=True
        )

    def test_documents_are_the_callers(self, wiped: Database):
        with wiped.connect() as admin:
            documents = write_chunks(
                admin, {name: ["x", "y"] for name in "abc"} | {"a": ["z"] * 30}
            )
        for asked in (*documents["b"], *documents["a"], uuid4(), None):
            with as_client(wiped, {"sub": "a"}, read_only=True) as client:
                found = {row["id"] for row in similar(client, asked)}
            assert found == (set(documents["a"]) - {asked} if asked in documents["a"] else set())

    def test_nothing_is_to_a_withdrawn_document(self, wiped: Database):
        with wiped.connect() as admin:
            gone, _ = (upload(wiped, name, ["zubo", "kalo"]) for name in ("a.txt", "b.txt"))
            document = document_of(admin, gone)["id"]
            delete_objects(admin, ["a.txt"])
        for claims in ({"sub": "alice"}, {"role": "service_role"}):
            with as_client(wiped, claims, read_only=True) as client:
                assert similar(client, document) == []

    def test_as_many_as_were_asked_for(self, wiped: Database):
        with wiped.connect() as admin:
            documents = write_chunks(admin, {"a": [f"text {n}" for n in range(100)]})["a"]
        with as_client(wiped, {"sub": "a"}, read_only=True) as client:
            assert len(similar(client, documents[0])) == 4
            assert len(similar(client, documents[0], match_count=2)) == 2
            with pytest.raises(pg.InvalidParameterValue):
                similar(client, documents[0], match_count=0)


def test_nothing_is_similar_to_what_was_deleted_for_a_role_without_policies_either(
    wiped: Database,
) -> None:
    """Its chunks are still there: they wait for the drain."""
    kept, gone = (upload(wiped, name, ["zubo one"]) for name in ("kept", "gone"))
    with wiped.connect() as admin:
        asked = [document_of(admin, each)["id"] for each in (kept, gone)]
        for deleted, found in (("nothing", [1, 1]), ("gone", [0, 0])):
            delete_objects(admin, [deleted])
            assert value(admin, "select count(*) from ingest.chunks") == 2
            for claims in ({"role": "service_role"}, {"sub": "alice"}):
                with as_client(wiped, claims, read_only=True) as client:
                    assert [len(similar(client, each)) for each in asked] == found

"""Search finds only the caller's chunks, and nearly all of the nearest, for any query."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import pytest
from psycopg import errors as pg
from psycopg.types.json import Jsonb

from docmill.embedded.postgres import PostgresServer
from tests.schema.actors import (
    DIMENSIONS,
    MODEL,
    Connection,
    document_of,
    hash_of,
    literal,
    rows,
    search,
    upload,
    value,
    vector_of,
)
from tests.support.database import Database, as_client, make_database, watch_bucket

Vectors = "np.ndarray[Any, np.dtype[np.float32]]"

#: Chunks of each owner among 20,000: a half, a tenth, a hundredth, a thousandth.
SHARES = {"half": 10_000, "tenth": 2_000, "hundredth": 200, "thousandth": 20}
ALL = 20_000
CHUNKS_PER_DOCUMENT = 20
SYNTHETIC = "synthetic"
WIDTH = 32


@dataclass(frozen=True)
class Corpus:
    """Synthetic chunks in a database, and their vectors."""

    database: Database
    vectors: Any
    owners: Any
    queries: Any

    def recall(
        self, hits: Sequence[Mapping[str, Any]], query: Any, owner: str | None, count: int
    ) -> float:
        """The share of the truly nearest (by brute force) that the hits are as near as."""
        similarity = self.vectors @ query / np.linalg.norm(self.vectors, axis=1)
        mine = similarity if owner is None else similarity[self.owners == owner]
        worst = np.sort(mine)[::-1][:count][-1]
        rounding = 0.002 * np.linalg.norm(query)  # halfvec has three digits
        near = [
            similarity[int(hit["content"].split()[1])] >= worst - rounding
            and owner in {None, self.owners[int(hit["content"].split()[1])]}
            for hit in hits
        ]
        return float(sum(near) / min(count, len(mine)))


@pytest.fixture(scope="module")
def corpus(postgres: PostgresServer) -> Iterator[Corpus]:
    """20,000 chunks in clusters, like text; the rest belongs to 78 small owners."""
    generator = np.random.default_rng(7)
    centres = generator.standard_normal((100, WIDTH))
    vectors = centres[generator.integers(100, size=ALL)] + generator.standard_normal((ALL, WIDTH))
    vectors = vectors.astype(np.float16).astype(np.float32)
    owners = np.concatenate(
        [
            *(np.full(count, owner) for owner, count in SHARES.items()),
            [f"small {n // 100}" for n in range(ALL - sum(SHARES.values()))],
        ]
    )
    queries = centres[generator.integers(100, size=20)] + generator.standard_normal((20, WIDTH))
    with make_database(postgres) as database, database.connect() as admin:
        watch_bucket(database)
        admin.execute(
            "select ingest_private.create_index_version(%s, %s, '{}')", [SYNTHETIC, WIDTH]
        )
        admin.execute(
            "update ingest.index_versions set state = 'retired' where model = %s", [SYNTHETIC]
        )
        documents = {}
        with admin.cursor().copy(
            """copy ingest.documents (id, object_id, bucket_id, object_name, owner_id,
                                      storage_version, status, searchable) from stdin"""
        ) as copy:
            for number in range(0, ALL, CHUNKS_PER_DOCUMENT):
                documents[number] = uuid4()
                copy.write_row(
                    (
                        *(documents[number], uuid4(), "docs", f"{number}.txt"),
                        *(owners[number], "v", "ready", True),
                    )
                )
        with admin.cursor().copy(
            """copy ingest.chunks (index_version, document_id, object_id, owner_id, access, content,
                                   token_count, content_hash, embedding, fts) from stdin"""
        ) as copy:
            for number in range(ALL):
                document = documents[number - number % CHUNKS_PER_DOCUMENT]
                text = f"chunk {number}"
                copy.write_row(
                    (
                        *(2, document, uuid4(), owners[number], "owner", text, 2),
                        *(hash_of(text), literal(vectors[number]), ""),
                    )
                )
        admin.execute(
            """insert into ingest.chunk_positions (index_version, document_id, ordinal, chunk_id)
               select 2, document_id, row_number() over (partition by document_id) - 1, id
                 from ingest.chunks"""
        )
        admin.execute("analyze")
        yield Corpus(database, vectors, owners, queries.astype(np.float32))


def nearest(client: Connection, query: Any, count: int = 10, **more: Any) -> list[dict[str, Any]]:
    arguments = {
        "query_embedding": literal(query),
        "model": SYNTHETIC,
        "match_count": count,
        **more,
    }
    named = ", ".join(f"{name} => %s" for name in arguments)
    return rows(client, f"select * from ingest.match_chunks({named})", *arguments.values())


class TestRecall:
    @pytest.mark.parametrize("owner", [*SHARES, None])
    def test_is_at_least_95_percent_whatever_the_share_of_the_caller(
        self, corpus: Corpus, owner: str | None
    ):
        claims = {"sub": owner} if owner else {"role": "service_role"}
        recalls = []
        with as_client(corpus.database, claims, read_only=True) as client:
            for query in corpus.queries:
                hits = nearest(client, query)
                assert len(hits) == 10
                scores = [hit["score"] for hit in hits]
                assert scores == sorted(scores, reverse=True)
                recalls.append(corpus.recall(hits, query, owner, 10))
        assert np.mean(recalls) >= 0.95

    def test_of_a_small_owner_is_exact(self, corpus: Corpus):
        with as_client(corpus.database, {"sub": "thousandth"}, read_only=True) as client:
            for query in corpus.queries:
                assert corpus.recall(nearest(client, query, 5), query, "thousandth", 5) == 1

    def test_of_an_owner_with_fewer_chunks_than_asked_for_is_all_of_them(self, corpus: Corpus):
        with as_client(corpus.database, {"sub": "thousandth"}, read_only=True) as client:
            assert len(nearest(client, corpus.queries[0], 200)) == 20

    def test_of_200_is_200(self, corpus: Corpus):
        with as_client(corpus.database, {"sub": "half"}, read_only=True) as client:
            hits = nearest(client, corpus.queries[0], 200)
        assert len(hits) == 200
        assert corpus.recall(hits, corpus.queries[0], "half", 200) >= 0.95

    def test_with_a_filter_on_few_documents_is_exact(self, corpus: Corpus):
        with as_client(corpus.database, {"sub": "half"}, read_only=True) as client:
            documents = rows(
                client, "select id, object_name from ingest.documents order by object_name limit 3"
            )
            hits = nearest(client, corpus.queries[0], document_ids=[row["id"] for row in documents])
        numbers = [int(row["object_name"].split(".")[0]) for row in documents]
        chunks = [n + offset for n in numbers for offset in range(CHUNKS_PER_DOCUMENT)]
        similarity = (
            corpus.vectors[chunks]
            @ corpus.queries[0]
            / np.linalg.norm(corpus.vectors[chunks], axis=1)
        )
        truth = [f"chunk {chunks[place]}" for place in np.argsort(-similarity)[:10]]
        assert {hit["content"] for hit in hits} == set(truth)

    def test_score_is_cosine_similarity(self, corpus: Corpus):
        query = corpus.queries[0]
        with as_client(corpus.database, {"sub": "half"}, read_only=True) as client:
            [hit] = nearest(client, query, 1)
        vector = corpus.vectors[int(hit["content"].split()[1])]
        cosine = vector @ query / np.linalg.norm(vector) / np.linalg.norm(query)
        assert abs(hit["score"] - cosine) < 0.01


@pytest.fixture
def database(wiped: Database) -> Database:
    return wiped


class TestErrors:
    @pytest.fixture
    def client(self, database: Database) -> Iterator[Connection]:
        upload(database, "a.txt", ["one", "two"])
        with as_client(database, {"sub": "alice"}, read_only=True) as client:
            yield client

    @pytest.mark.parametrize("width", [1, 255, 257, 1024])
    def test_an_embedding_of_another_width_is_named(self, client: Connection, width: int):
        with pytest.raises(pg.DataException, match=f"has {width} dimensions, model .* has 256"):
            search(client, "one", query_embedding=str([0.5] * width))

    def test_no_embedding_is_an_error_and_not_any_chunks(self, client: Connection):
        with pytest.raises(pg.DataException, match="the query embedding has <NULL> dimensions"):
            search(client, "one", query_embedding=None)

    @pytest.mark.parametrize("model", ["nope", None, "' or true --", MODEL.upper()])
    def test_an_unknown_model_is_named(self, client: Connection, model: str | None):
        with pytest.raises(pg.InvalidParameterValue, match="no searchable index") as raised:
            search(client, "one", model=model)
        assert raised.value.diag.message_hint
        assert (model or "(null)") in str(raised.value)

    def test_a_model_that_is_being_built_is_not_searched(
        self, database: Database, admin: Connection
    ):
        with admin.transaction(force_rollback=True):
            admin.execute("select ingest_private.create_index_version('new', 8, '{}')")
            with pytest.raises(pg.InvalidParameterValue):
                search(admin, "one", model="new")

    def test_a_retired_model_still_answers_and_the_active_one_first(
        self, database: Database, admin: Connection
    ):
        object_id = upload(database, "a.txt", ["one"])
        with admin.transaction(force_rollback=True):
            admin.execute("update ingest.index_versions set state = 'retired'")
            assert [hit["content"] for hit in search(admin, "one")] == ["one"]
            admin.execute("select ingest_private.create_index_version(%s, 256, '{}')", [MODEL])
            assert search(admin, "one") == []
            assert document_of(admin, object_id)["searchable"]

    @pytest.mark.parametrize(("asked", "given"), [(None, 10), (1, 1), (3, 3), (2**31 - 1, 12)])
    def test_any_number_of_hits_may_be_asked_for(
        self, database: Database, asked: int | None, given: int
    ):
        upload(database, "a.txt", [f"chunk {number}" for number in range(12)])
        with as_client(database, {"sub": "alice"}, read_only=True) as client:
            assert len(search(client, "chunk 1", match_count=asked)) == given

    @pytest.mark.parametrize("asked", [0, -5])
    def test_no_hits_cannot_be_asked_for(self, client: Connection, asked: int):
        with pytest.raises(pg.InvalidParameterValue, match="must be at least 1"):
            search(client, "one", match_count=asked)

    def test_a_vector_of_zeros_is_refused_because_it_has_no_direction(self, client: Connection):
        with pytest.raises(pg.DataException, match="is zero"):
            search(client, "one", query_embedding=str([0.0] * DIMENSIONS))


@pytest.fixture(scope="module")
def labelled(postgres: PostgresServer) -> Iterator[Database]:
    """Documents of alice that each differ in one way, and one of bob."""
    with make_database(postgres) as database, database.connect() as admin:
        watch_bucket(database)
        watch_bucket(database, "second")
        upload(database, "a/x.txt", ["one"], user_metadata={"team": "red", "year": 2025})
        upload(database, "a/y.txt", ["one"], user_metadata={"team": "blue", "tags": ["p", "q"]})
        upload(database, "b/z.txt", ["one"], bucket="second")
        upload(database, "a/hers.txt", ["one"], owner="bob", user_metadata={"team": "red"})
        for name, day in (("a/x", "2025-01-01Z"), ("a/y", "2026-01-01Z"), ("b/z", "2027-01-01Z")):
            admin.execute(
                "update ingest.documents set created_at = %s where object_name = %s",
                [day, f"{name}.txt"],
            )
        yield database


class TestFilters:
    @pytest.fixture
    def client(self, labelled: Database) -> Iterator[Connection]:
        with as_client(labelled, {"sub": "alice"}, read_only=True) as client:
            yield client

    @pytest.mark.parametrize(
        ("filters", "names"),
        [
            ({}, {"a/x.txt", "a/y.txt", "b/z.txt"}),
            ({"bucket": "docs"}, {"a/x.txt", "a/y.txt"}),
            ({"bucket": "nope"}, set()),
            ({"path_prefix": "a/"}, {"a/x.txt", "a/y.txt"}),
            ({"path_prefix": ""}, {"a/x.txt", "a/y.txt", "b/z.txt"}),
            ({"path_prefix": "%"}, set()),
            ({"path_prefix": "_/x"}, set()),
            ({"metadata_filter": Jsonb({"team": "red"})}, {"a/x.txt"}),
            ({"metadata_filter": Jsonb({"tags": ["q"]})}, {"a/y.txt"}),
            ({"metadata_filter": Jsonb({})}, {"a/x.txt", "a/y.txt", "b/z.txt"}),
            ({"metadata_filter": Jsonb(None)}, set()),
            ({"created_since": "2026-01-01Z"}, {"a/y.txt", "b/z.txt"}),
            ({"created_until": "2026-01-01Z"}, {"a/x.txt"}),
            ({"created_since": "2026-01-01Z", "bucket": "docs"}, {"a/y.txt"}),
            ({"document_ids": []}, set()),
            ({"document_ids": [None]}, set()),
            ({"document_ids": [uuid4()]}, set()),
            ({"min_score": 0.99}, {"a/x.txt", "a/y.txt", "b/z.txt"}),
            ({"min_score": 1.01}, set()),
        ],
    )
    def test_leave_what_fits(self, client: Connection, filters: dict[str, Any], names: set[str]):
        assert {hit["object_name"] for hit in search(client, "one", **filters)} == names

    def test_by_the_ids_of_somebody_elses_documents_find_nothing(
        self, labelled: Database, client: Connection
    ):
        with labelled.connect() as admin:
            hers = value(admin, "select id from ingest.documents where owner_id = 'bob'")
        assert search(client, "one", document_ids=[hers]) == []

    def test_of_the_service_role_go_over_everybodys(self, labelled: Database):
        with as_client(labelled, {"role": "service_role"}, read_only=True) as service:
            hits = search(service, "one", metadata_filter=Jsonb({"team": "red"}))
        assert {hit["object_name"] for hit in hits} == {"a/x.txt", "a/hers.txt"}

    def test_a_hit_carries_what_a_citation_needs(self, client: Connection):
        [hit] = search(client, "one", path_prefix="a/x")
        assert isinstance(hit.pop("chunk_id"), UUID)
        assert isinstance(hit.pop("document_id"), UUID)
        assert abs(hit.pop("score") - 1) < 0.001
        assert hit == {
            "bucket_id": "docs",
            "object_name": "a/x.txt",
            "title": "title",
            "headings": [],
            "page_start": 1,
            "page_end": 1,
            "content": "one",
            "metadata": {},
        }


HOSTILE = (
    "' or true --",
    "all' or 'a' = 'a",
    "owner'; select pg_sleep(10); --",
    "$1",
    "%s",
    "all or true",
    "",
    None,
)


class TestHostileCallers:
    @pytest.fixture
    def stranger(self, database: Database) -> Iterator[Connection]:
        upload(database, "a.txt", ["one", "two"])
        with as_client(database, {"sub": "mallory"}) as client:
            client.execute("set local statement_timeout = '2s'")
            yield client

    @pytest.mark.parametrize("text", HOSTILE)
    @pytest.mark.parametrize("parameter", ["bucket", "path_prefix"])
    def test_find_nothing_by_a_filter(self, stranger: Connection, parameter: str, text: str | None):
        assert search(stranger, "one", **{parameter: text}) == []

    @pytest.mark.parametrize("version", [1, 0, -1, 2**31 - 1, None])
    def test_find_nothing_by_a_direct_call(self, stranger: Connection, version: int | None):
        [found] = rows(
            stranger,
            "select * from ingest_search.nearest_chunks(%s, %s, 10, null)",
            *(version, literal(vector_of("one"))),
        )
        assert not found["ids"]

    def test_find_nothing_by_naming_somebody_elses_documents(
        self, stranger: Connection, database: Database
    ):
        with database.connect() as admin:
            theirs = [row["id"] for row in rows(admin, "select id from ingest.documents")]
        [found] = rows(
            stranger,
            "select * from ingest_search.nearest_chunks(1, %s, 10, %s)",
            *(literal(vector_of("one")), theirs),
        )
        assert not found["ids"]

    def test_cannot_say_themselves_what_they_may_read(self, stranger: Connection):
        with pytest.raises(pg.InsufficientPrivilege, match="schema ingest_private"):
            stranger.execute(
                "select * from ingest_private.nearest_allowed(1, %s, 10, true, null, null)",
                [literal(vector_of("one"))],
            )

    @pytest.mark.parametrize("claims", [{}, {"sub": None}, {"sub": ""}, {"sub": ["alice"]}])
    def test_without_a_subject_find_nothing(self, database: Database, claims: dict[str, Any]):
        upload(database, "a.txt", ["one"])
        upload(database, "nobodys.txt", ["one"], owner=None)
        with as_client(database, {"role": "authenticated", **claims}, read_only=True) as client:
            assert search(client, "one") == []

    def test_cannot_change_what_the_function_sees(self, stranger: Connection):
        """Names are looked up in fixed schemas, not in the caller's."""
        stranger.execute("create temp table documents as select 1 as id")
        stranger.execute("create temp table chunks as select 1 as id")
        stranger.execute("set local search_path = pg_temp, ingest, extensions")
        assert search(stranger, "one") == []

    def test_of_a_direct_call_get_no_more_than_their_own_however_many_they_ask_for(
        self, database: Database
    ):
        upload(database, "a.txt", ["one"], owner="bob")
        upload(database, "b.txt", [f"{number}" for number in range(5)])
        with as_client(database, {"sub": "alice"}) as client:
            for count in (None, 5, 2**31 - 1):
                [found] = rows(
                    client,
                    "select * from ingest_search.nearest_chunks(1, %s, %s, null)",
                    *(literal(vector_of("one")), count),
                )
                assert len(found["ids"]) == 5

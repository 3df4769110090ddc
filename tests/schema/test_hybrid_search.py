"""Search by words, and by words and embedding, compared with an oracle that reads every chunk."""

import random
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from psycopg import errors as pg
from psycopg.types.json import Jsonb

from docmill.embedded.postgres import PostgresServer
from tests.schema.actors import (
    MODEL,
    Background,
    Connection,
    chunks_of,
    document_of,
    drain_withdrawn,
    ingest,
    literal,
    rows,
    search,
    upload,
    value,
    vector_of,
    wait_until_blocked,
)
from tests.schema.corpora import write_chunks
from tests.support import words
from tests.support.database import (
    Database,
    as_client,
    delete_objects,
    make_database,
    put_object,
    watch_bucket,
)

READERS = (
    "create policy readers on storage.objects for select to authenticated"
    " using (bucket_id = 'docs' and (select auth.jwt()) ->> 'sub' = 'reader')"
)


@pytest.fixture
def database(wiped: Database) -> Database:
    return wiped


def found(connection: Connection, query: str | None, **parameters: Any) -> list[dict[str, Any]]:
    """All hits of hybrid_search."""
    arguments = {"query_text": query, "match_count": 200, **parameters}
    named = ", ".join(f"{name} => %s" for name in arguments)
    return rows(connection, f"select * from ingest.hybrid_search({named})", *arguments.values())


def contents(connection: Connection, query: str | None, **parameters: Any) -> list[str]:
    """The passages of hybrid_search, best first."""
    return [hit["content"] for hit in found(connection, query, **parameters)]


def finds(database: Database, owner: str, query: str | None, **parameters: Any) -> list[str]:
    """The passages that this user finds."""
    with as_client(database, {"sub": owner}, read_only=True) as client:
        return contents(client, query, **parameters)


#: No stop words, and no words that a stemmer changes: each word is found as written.
VOCABULARY = (
    *("zubo", "kalo", "mirt", "tonk", "glub", "prax", "vunt", "dorg", "ab-12", "17,5", "x9"),
    *("東京都", "価格", "猫", "ราคา", "โรงแรม", "müfz", "straßo", "a.b@c.de", "호텔"),
)


def some_texts(chance: random.Random, count: int) -> list[str]:
    """Different texts of five words each, without repeated words."""
    texts = {" ".join(chance.sample(VOCABULARY, 5)) for _ in range(count)}
    return sorted(texts)


class TestAgainstTheOracle:
    @pytest.mark.parametrize("seed", range(6))
    def test_what_each_owner_finds_is_what_holds_a_word_in_order_of_rarity(
        self, database: Database, admin: Connection, seed: int
    ):
        chance = random.Random(seed)
        owners = {
            name: some_texts(chance, chance.randint(1, 60)) for name in ("alice", "bob", "eve")
        }
        write_chunks(admin, owners)
        for _ in range(20):
            owner = chance.choice([*owners])
            query = " ".join(chance.sample(VOCABULARY, chance.randint(1, 3)))
            expected = words.scores(query, owners[owner])
            assert set(finds(database, owner, query)) == set(expected), (owner, query)

    @pytest.mark.parametrize("seed", range(4))
    def test_and_the_order_is_that_of_bm25(self, database: Database, admin: Connection, seed: int):
        """Only plain words: parts of codes and pairs would make texts of different lengths."""
        chance = random.Random(seed)
        plain = [word for word in VOCABULARY if words.words(word) == [word]]
        texts = sorted({" ".join(chance.sample(plain, 5)) for _ in range(80)})
        write_chunks(admin, {"alice": texts, "bob": some_texts(chance, 50)})
        for _ in range(20):
            query = " ".join(chance.sample(plain, 3))
            expected = words.classes(words.scores(query, texts))
            assert words.is_in_order(finds(database, "alice", query), expected), query

    def test_the_service_role_finds_everybodys(self, database: Database, admin: Connection):
        write_chunks(admin, {"alice": ["zubo a"], "bob": ["zubo b"], None: ["zubo c"]})
        with as_client(database, {"role": "service_role"}, read_only=True) as service:
            assert set(contents(service, "zubo")) == {"zubo a", "zubo b", "zubo c"}
        assert finds(database, "", "zubo") == []

    @pytest.mark.parametrize("seed", range(3))
    def test_what_others_share_is_found_with_ones_own_and_by_nobody_else(
        self, database: Database, admin: Connection, seed: int
    ):
        chance = random.Random(seed)
        shared, own, foreign = (some_texts(chance, 30) for _ in range(3))
        write_chunks(admin, {"alice": shared}, access="inherit")
        write_chunks(admin, {"reader": own, "bob": foreign})
        admin.execute(READERS)
        try:
            for _ in range(10):
                query = " ".join(chance.sample(VOCABULARY, 2))
                for name, texts in (
                    ("reader", shared + own),
                    ("alice", shared),
                    ("bob", foreign),
                    ("mallory", []),
                ):
                    expected = words.scores(query, texts)
                    assert set(finds(database, name, query)) == set(expected), (name, query)
        finally:
            admin.execute("drop policy readers on storage.objects")


@pytest.fixture(scope="module")
def large(postgres: PostgresServer) -> Iterator[Database]:
    """3,000 chunks of alice that are nearly equal, and one that differs."""
    with make_database(postgres) as made, made.connect() as admin:
        watch_bucket(made)
        texts = [f"sensor value is {number} at the station" for number in range(3000)]
        texts.insert(1500, "how much may a hotel cost a night: at most 120 euros")
        write_chunks(admin, {"alice": texts, "bob": ["hotel of bob", "sensor of bob"]})
        yield made


class TestAmongManyChunks:
    def test_a_rare_word_finds_its_chunk_whatever_else_is_asked(self, large: Database):
        for query in (
            "hotel",
            "sensor hotel",
            "the sensor value at the station in the hotel",
            "How much may a HOTEL cost a night?",
        ):
            assert finds(large, "alice", query, match_count=10)[0].startswith("how much"), query

    def test_a_number_finds_its_chunk(self, large: Database):
        assert finds(large, "alice", "sensor value 2718", match_count=1) == [
            "sensor value is 2718 at the station"
        ]

    def test_words_that_all_chunks_hold_find_as_many_as_are_asked_for(self, large: Database):
        assert len(finds(large, "alice", "sensor", match_count=50)) == 50

    def test_a_filter_is_not_starved_by_what_it_leaves_out(self, large: Database):
        with large.connect() as admin:
            last = value(
                admin,
                """select document_id from ingest.chunks
                    where content like %s""",
                "% 2999 %",
            )
        hits = finds(large, "alice", "sensor value", document_ids=[last])
        assert "sensor value is 2999 at the station" in hits

    def test_what_is_left_out_or_required_is(self, large: Database):
        assert finds(large, "alice", 'hotel "value is 7"') == ["sensor value is 7 at the station"]
        assert not [hit for hit in finds(large, "alice", "sensor -station") if "station" in hit]
        assert len(finds(large, "alice", '270* -"2700"')) == 10


class TestOtherTenants:
    QUERIES = ("zubo", "kalo mirt", "the tonk", "東京都", "ab-12 glub")

    def answers(self, database: Database, owner: str) -> list[Any]:
        """All answers to an owner, complete."""
        said: list[Any] = []
        with as_client(database, {"sub": owner}, read_only=True) as client:
            for query in self.QUERIES:
                for more in ({}, {"query_embedding": literal(vector_of("zubo"))}):
                    said += [
                        (hit["chunk_id"], hit["score"].hex(), hit["text_score"].hex())
                        for hit in found(client, query, **more)
                    ]
                said.append(
                    rows(
                        client,
                        """select counted.*, ingest_search.own_stemmers(1)
                             from ingest_search.own_term_counts(
                                 1, (ingest_search.text_query(%s, '{}')).terms) as counted""",
                        query,
                    )
                )
        return said

    @pytest.mark.parametrize("own", [40, 700])
    def test_change_no_byte_of_an_answer_by_10000_chunks(
        self, database: Database, admin: Connection, own: int
    ):
        chance = random.Random(own)
        write_chunks(admin, {"alice": [" ".join(chance.sample(VOCABULARY, 5)) for _ in range(own)]})
        before = self.answers(database, "alice")
        write_chunks(
            admin,
            {
                "mallory": [
                    f"zubo kalo der und das ist nicht {number} tonk" for number in range(10_000)
                ]
            },
        )
        assert self.answers(database, "alice") == before
        assert any(before)


class TestWithdrawn:
    @pytest.mark.parametrize("access", ["owner", "inherit"])
    def test_documents_are_found_by_nobody(
        self, database: Database, admin: Connection, access: str
    ):
        admin.execute("update ingest_private.sources set access = %s", [access])
        admin.execute(READERS)
        try:
            upload(database, "a.txt", ["zubo one"])
            upload(database, "b.txt", ["zubo two"])
            delete_objects(admin, ["a.txt"])
            callers = [{"sub": "alice"}, {"sub": "reader"}, {"role": "service_role"}]
            for claims in callers:
                with as_client(database, claims, read_only=True) as client:
                    may = access == "inherit" or claims != {"sub": "reader"}
                    assert contents(client, "zubo") == ["zubo two"] * may, claims
                    for seen in direct_calls(client, "zubo"):
                        assert len(seen) <= may, claims
            # They were stored all the time.
            assert value(admin, "select count(*) from ingest.chunk_lexemes") == 2
            drain_withdrawn(admin)
            assert value(admin, "select count(*) from ingest.chunk_lexemes") == 1
        finally:
            admin.execute("drop policy readers on storage.objects")

    def test_passages_are_not_counted(self, database: Database, admin: Connection):
        for name in ("a.txt", "b.txt"):
            upload(database, name, ["zubo"])
        delete_objects(admin, ["a.txt"])
        for claims in ({"sub": "alice"}, {"role": "service_role"}):
            owner = claims.get("sub")
            with as_client(database, claims, read_only=True) as client:
                [counted] = rows(
                    client,
                    "select * from ingest_search.term_counts(1, %s, array['zubo'::tsquery])",
                    owner,
                )
                assert (counted["row_count"], counted["counts"]) == (1, [1])
                if owner is not None:
                    own = "select * from ingest_search.own_term_counts(1, array['zubo'::tsquery])"
                    assert rows(client, own) == [counted]


def direct_calls(client: Connection, query: str) -> Iterator[set[Any]]:
    """Ids of chunks that each function returns to a direct caller, with anybody's ids."""
    terms = "(ingest_search.text_query(%s, '{}')).terms"
    asked = "(ingest_search.text_query(%s, '{}')).terms[1]"
    for call, parameters in (
        (f"ingest_search.rank_own(1, {terms}, '{{1,1,1}}', {asked}, 1000)", (query, query)),
        (
            f"ingest_search.rank_words(1, null, null, {terms}, '{{1,1,1}}', {asked}, 1000)",
            (query, query),
        ),
        ("ingest_search.text_candidates(1, %s, null, 1000)", (query,)),
        ("ingest.hybrid_search(%s, match_count => 200)", (query,)),
    ):
        yield {row["chunk_id"] for row in rows(client, f"select * from {call}", *parameters)}


class TestNobodyElsesRows:
    @pytest.fixture
    def documents(self, database: Database, admin: Connection) -> dict[str, Any]:
        chance = random.Random(3)
        owners: dict[str | None, list[str]] = {
            f"owner {number}": some_texts(chance, 30) for number in range(8)
        }
        owners[None] = some_texts(chance, 30)
        return write_chunks(admin, owners)

    def own_chunks(self, admin: Connection, owner: str) -> set[Any]:
        return {
            row["id"]
            for row in rows(admin, "select id from ingest.chunks where owner_id = %s", owner)
        }

    @pytest.mark.parametrize("owner", ["owner 1", "owner 5", "nobody", ""])
    def test_are_returned_by_no_function(
        self, database: Database, admin: Connection, documents: dict[str, Any], owner: str
    ):
        mine = self.own_chunks(admin, owner)
        everybodys = [document for one in documents.values() for document in one]
        with as_client(database, {"sub": owner}) as client:
            for query in VOCABULARY:
                for seen in direct_calls(client, query):
                    assert seen <= mine
                terms = "(ingest_search.text_query(%s, '{}')).terms"
                asked = f"{terms}[1]"
                for whose, which in (("owner 2", None), (owner, everybodys), (None, everybodys)):
                    seen = {
                        row["chunk_id"]
                        for row in rows(
                            client,
                            f"""select * from ingest_search.rank_words(
                                    1, %s, %s::uuid[], {terms}, '{{1,1,1}}', {asked}, 1000)""",
                            *(whose, which, query, query),
                        )
                    }
                    assert seen <= mine
                ids = rows(admin, "select id from ingest.chunks")
                cited = rows(
                    client,
                    "select chunk_id from ingest_search.cited_chunks(1, %s)",
                    [row["id"] for row in ids],
                )
                assert {row["chunk_id"] for row in cited} == mine

    @pytest.mark.parametrize("scope", ["owner 2", "=", "%", ""])
    def test_are_not_found_by_the_lexeme_that_says_whose_they_are(
        self, database: Database, admin: Connection, documents: dict[str, Any], scope: str
    ):
        mine = self.own_chunks(admin, "owner 1")
        with as_client(database, {"sub": "owner 1"}) as client:
            lexeme = value(client, "select ingest_search.scope_of(1, %s)", scope)
            seen = rows(
                client,
                """select * from ingest_search.rank_own(
                       1, array[%s::tsquery], '{1}', %s::tsquery, 1000)""",
                *(f"'{lexeme}'", f"'{lexeme}' | !'{lexeme}'"),
            )
            assert {row["chunk_id"] for row in seen} <= mine
            [counted] = rows(
                client,
                "select * from ingest_search.own_term_counts(1, array[%s::tsquery])",
                f"'{lexeme}'",
            )
            assert counted["row_count"] == len(mine)
            assert counted["counts"] == [0]
            assert contents(client, lexeme) == []

    def test_are_not_counted(self, database: Database, admin: Connection):
        write_chunks(admin, {"alice": ["zubo one"], "bob": ["zubo kalo"] * 400})
        with as_client(database, {"sub": "alice"}) as client:
            for function in (
                "own_term_counts(1, ",
                "term_counts(1, 'bob', ",
                "term_counts(1, null, ",
            ):
                [counted] = rows(
                    client,
                    f"select * from ingest_search.{function}array['zubo', 'kalo']::tsquery[])",
                )
                assert sum(counted["counts"]) <= 1, function
                assert counted["row_count"] <= 1, function
            assert value(client, "select ingest_search.own_stemmers(1)") == []

    def test_tell_nothing_to_whom_has_no_subject(
        self, database: Database, admin: Connection, documents: dict[str, Any]
    ):
        with as_client(database, {"role": "authenticated"}) as client:
            for seen in direct_calls(client, "zubo"):
                assert seen == set()
            assert value(client, "select ingest_search.own_stemmers(1)") is None
            assert (
                value(client, "select counts from ingest_search.own_term_counts(1, '{zubo}')")
                is None
            )

    def test_are_closed_to_anon(self, database: Database):
        for call in (
            "ingest.hybrid_search('x')",
            "ingest_search.own_stemmers(1)",
            "ingest_search.words_of('x')",
        ):
            with as_client(database, None) as anon, pytest.raises(pg.InsufficientPrivilege):
                anon.execute(f"select {call}".encode())


class TestLexemes:
    """They are written and removed with the chunks, by whatever code."""

    def both(self, admin: Connection) -> tuple[Any, Any]:
        return tuple(
            value(
                admin,
                f"""select array_agg(({key}, document_id, object_id, owner_id, access)::text
                                     order by {key}) from ingest.{table}""",
            )
            for key, table in (("id", "chunks"), ("chunk_id", "chunk_lexemes"))
        )

    def test_follow_publishes_deletes_and_changes_of_owner(
        self, database: Database, admin: Connection, worker: Connection
    ):
        object_id = upload(database, "a.txt", ["one", "two"])
        chunks, lexemes = self.both(admin)
        assert chunks == lexemes
        assert len(chunks) == 2
        put_object(admin, "a.txt")
        ingest(worker, object_id, ["two", "three"])
        chunks, lexemes = self.both(admin)
        assert chunks == lexemes
        assert len(chunks) == 2
        put_object(admin, "a.txt", owner="bob")
        ingest(worker, object_id, ["two", "three"])
        drain_withdrawn(admin)
        chunks, lexemes = self.both(admin)
        assert chunks == lexemes
        assert "bob" in chunks[0]
        assert finds(database, "bob", "three") == ["three"]
        assert finds(database, "alice", "three") == []
        delete_objects(admin, ["a.txt"])
        drain_withdrawn(admin)
        assert self.both(admin) == (None, None)

    def test_of_a_publish_that_is_refused_are_taken_back(
        self, database: Database, admin: Connection
    ):
        upload(database, "a.txt", ["one"])
        with admin.transaction(force_rollback=True):
            admin.execute("delete from ingest.chunks")
            assert self.both(admin) == (None, None)
        assert self.both(admin)[1] is not None


class TestOlderChunks:
    """An older installation: chunks without a row of words."""

    @pytest.fixture
    def older(self, database: Database, admin: Connection) -> Iterator[Database]:
        texts = [f"zubo number {number} of the house" for number in range(25)]
        write_chunks(admin, {"alice": texts, "bob": ["zubo of bob"]})
        admin.execute("update ingest.chunks set fts = to_tsvector('simple', content)")
        admin.execute("delete from ingest.chunk_lexemes")
        fill = "update ingest_private.chunk_fills set filled_to = null, completed_at = %s"
        admin.execute(f"{fill} where copy = 'lexemes'".encode(), [None])
        yield database
        admin.execute(fill.encode(), [datetime.now(UTC)])

    def test_are_found_before_during_and_after_the_fill(self, older: Database, worker: Connection):
        every = {f"zubo number {number} of the house" for number in range(25)}
        steps = 0
        while True:
            assert set(finds(older, "alice", "zubo")) == every
            assert finds(older, "alice", "17") == ["zubo number 17 of the house"]
            assert finds(older, "bob", "zubo") == ["zubo of bob"]
            with as_client(older, {"role": "service_role"}, read_only=True) as service:
                assert set(contents(service, "zubo")) == {*every, "zubo of bob"}
            if not value(worker, "select ingest_private.fill_chunks('lexemes', 10)"):
                break
            steps += 1
        assert steps == 3
        assert set(finds(older, "alice", "houses")) == every

    def test_are_filled_once(self, older: Database, admin: Connection, worker: Connection):
        while value(worker, "select ingest_private.fill_chunks('lexemes', 7)"):
            pass
        assert value(admin, "select ingest_search.is_filled('lexemes', 1)")
        assert value(admin, "select count(*) from ingest.chunk_lexemes") == 26
        assert value(worker, "select ingest_private.fill_chunks('lexemes', 7)") == 0
        assert value(
            admin,
            """select bool_and(held.lexemes = made.lexemes)
                 from ingest.chunks as chunk
                      join ingest.chunk_lexemes as held on held.chunk_id = chunk.id
                      cross join ingest_private.lexemes_of(
                          1, chunk.owner_id, chunk.content, chunk.headings) as made""",
        )

    def test_that_are_deleted_meanwhile_leave_nothing(self, older: Database, admin: Connection):
        """The fill has read a chunk that another transaction deletes before the fill commits."""
        with older.connect() as filler, older.connect() as deleter:
            pid = value(deleter, "select pg_backend_pid()")
            with filler.transaction():
                assert value(filler, "select ingest_private.fill_chunks('lexemes', 500)") == 26
                deleting = Background(lambda: deleter.execute("delete from ingest.chunks"))
                assert wait_until_blocked(admin, pid, or_ended=deleting)
            deleting()
        assert value(admin, "select count(*) from ingest.chunk_lexemes") == 0

    def test_that_somebody_deletes_are_not_waited_for(
        self, older: Database, admin: Connection, worker: Connection
    ):
        with older.connect() as deleter, deleter.transaction(force_rollback=True):
            deleter.execute("delete from ingest.chunks")
            assert value(worker, "select ingest_private.fill_chunks('lexemes', 500)") == 0
        assert value(worker, "select ingest_private.fill_chunks('lexemes', 500)") == 26


class TestFusion:
    @pytest.fixture
    def client(self, database: Database) -> Iterator[Connection]:
        upload(database, "a.txt", ["zubo kalo", "zubo mirt", "tonk glub", "prax vunt"])
        with as_client(database, {"sub": "alice"}, read_only=True) as client:
            yield client

    def test_a_chunk_of_both_lists_is_before_those_of_one(self, client: Connection):
        hits = found(client, "zubo", query_embedding=literal(vector_of("zubo mirt")))
        assert hits[0]["content"] == "zubo mirt"
        assert hits[0]["vector_score"] == 1

    @pytest.mark.parametrize(
        ("weights", "first"),
        [
            ((1, 2), "zubo kalo"),
            ((2, 1), "prax vunt"),
            ((1, 0), "prax vunt"),
            ((0, 1), "zubo kalo"),
        ],
    )
    def test_the_weights_decide(self, client: Connection, weights: tuple[float, float], first: str):
        hits = found(
            client,
            "kalo",
            query_embedding=literal(vector_of("prax vunt")),
            vector_weight=weights[0],
            text_weight=weights[1],
        )
        assert hits[0]["content"] == first
        assert hits == sorted(hits, key=lambda hit: -hit["score"])
        for hit in hits:
            mean = (weights[0] * hit["vector_score"] + weights[1] * hit["text_score"]) / sum(
                weights
            )
            assert hit["score"] == pytest.approx(mean)

    def test_without_an_embedding_the_words_decide_and_without_words_the_embedding(
        self, client: Connection
    ):
        assert set(contents(client, "zubo")) == {"zubo kalo", "zubo mirt"}
        for nothing in (None, "", "  "):
            hits = contents(client, nothing, query_embedding=literal(vector_of("tonk glub")))
            assert hits[0] == "tonk glub"
            assert len(hits) == 4

    def test_a_query_that_no_word_is_of_is_left_to_the_embedding(self, client: Connection):
        assert contents(client, "???") == []
        assert len(contents(client, "???", query_embedding=literal(vector_of("x")))) == 4

    @pytest.mark.parametrize(
        "wrong",
        [
            {"query": None},
            {"query": "x", "model": "nope"},
            {"query": "x", "match_count": 0},
            {"query": "x", "candidates": 0},
            {"query": "x", "max_per_document": 0},
            {"query": "x", "with_context": -1},
            {"query": "x", "vector_weight": -1},
            {"query": "x", "text_weight": "NaN"},
            {"query": "x", "text_weight": 0},
            {"query": "x", "text_weight": "infinity"},
            {"query": "x", "text_weight": None},
            {"query": "x", "vector_weight": 1e308, "text_weight": 1e308},
        ],
    )
    def test_what_makes_no_sense_is_refused(self, client: Connection, wrong: dict[str, Any]):
        with pytest.raises(pg.InvalidParameterValue):
            found(client, **wrong)

    def test_of_an_embedding_of_another_width_is_refused(self, client: Connection):
        with pytest.raises(pg.DataException):
            found(client, "zubo", query_embedding="[1,2]")

    def test_a_hit_is_what_match_chunks_returns_with_two_scores_and_its_context(
        self, client: Connection
    ):
        [hit, *_] = found(client, "tonk", model=MODEL)
        [other, *_] = rows(
            client,
            "select * from ingest.match_chunks(%s, %s)",
            *(literal(vector_of("tonk glub")), MODEL),
        )
        assert {*hit} == {*other, "vector_score", "text_score", "context"}
        assert {name: hit[name] for name in other if name != "score"} == {
            name: other[name] for name in other if name != "score"
        }


class TestWhatIsRequired:
    """What is in quotes or after a minus holds for the list by the embedding too."""

    TEXTS = ("hotel draft", "hotel final", "two weeks off", "weeks two", "東京都 ab-12/3")

    @pytest.fixture
    def client(self, database: Database) -> Iterator[Connection]:
        upload(database, "a.txt", list(self.TEXTS))
        with as_client(database, {"sub": "alice"}, read_only=True) as client:
            yield client

    @pytest.mark.parametrize("near", TEXTS)
    @pytest.mark.parametrize(
        ("query", "fits"),
        [
            ("hotel -draft", lambda text: "draft" not in text),
            ("-hotel", lambda text: "hotel" not in text),
            ("-HOTEL -weeks", lambda text: "hotel" not in text and "weeks" not in text),
            ('"two weeks"', lambda text: "two weeks" in text),
            ("hotel „two weeks“", lambda text: "two weeks" in text),
            ('-"two weeks"', lambda text: "two weeks" not in text),
            ("x -ab-12/3", lambda text: "ab-12/3" not in text),
            ('"京都"', lambda text: "京都" in text),
            ('"nowhere"', lambda text: False),
            ("hotel-draft", lambda text: True),
            ("hotel -", lambda text: True),
        ],
    )
    def test_no_passage_breaks_it_however_near_it_is(
        self, client: Connection, near: str, query: str, fits: Callable[[str], bool]
    ):
        hits = contents(client, query, query_embedding=literal(vector_of(near)))
        assert set(hits) == {text for text in self.TEXTS if fits(text)}
        counted = rows(
            client,
            "select sum(chunks) as chunks from ingest.search_facets(%s, %s) where facet = 'bucket'",
            *(query, literal(vector_of(near))),
        )
        assert (counted[0]["chunks"] or 0) == len(hits)

    def test_nearer_passages_that_break_it_take_no_place(
        self, database: Database, admin: Connection
    ):
        near = vector_of("near")
        write_chunks(admin, {"alice": ["zubo"] * 120 + ["kalo"] * 60})
        admin.execute(
            "update ingest.chunks set embedding = %s where content = 'zubo'", [literal(near)]
        )
        with as_client(database, {"sub": "alice"}, read_only=True) as client:
            hits = found(client, "-zubo", query_embedding=literal(near), match_count=50)
        assert [hit["content"] for hit in hits] == ["kalo"] * 50

    def test_holds_for_passages_whose_words_are_not_stored_yet(
        self, database: Database, admin: Connection
    ):
        upload(database, "a.txt", ["hotel draft", "hotel final"])
        admin.execute("delete from ingest.chunk_lexemes")
        admin.execute("update ingest.chunks set fts = to_tsvector('simple', content)")
        near = literal(vector_of("hotel draft"))
        assert finds(database, "alice", "-draft", query_embedding=near) == ["hotel final"]

    def test_the_first_forty_count(self, client: Connection):
        left_out = " ".join(f"-word{number}" for number in range(39))
        assert "hotel draft" not in contents(client, f"{left_out} -draft hotel")
        assert "hotel draft" not in contents(client, f"hotel {left_out[:-8]} -draft")
        terms = value(
            client,
            "select (ingest_search.text_query(%s, '{}')).left_out::text",
            " ".join(f"-word{number}" for number in range(1500)),
        )
        assert terms.count("word") == 40


class TestContext:
    @pytest.mark.parametrize(
        ("neighbours", "context"),
        [
            (0, None),
            (None, None),
            (1, "two\n\nthree zubo\n\nfour"),
            (2, "one\n\ntwo\n\nthree zubo\n\nfour\n\nfive"),
            (10, "one\n\ntwo\n\nthree zubo\n\nfour\n\nfive\n\nsix"),
            (99, "one\n\ntwo\n\nthree zubo\n\nfour\n\nfive\n\nsix"),
        ],
    )
    def test_is_the_text_around_a_hit(
        self, database: Database, neighbours: int | None, context: str | None
    ):
        upload(database, "a.txt", ["one", "two", "three zubo", "four", "five", "six"])
        upload(database, "b.txt", ["seven", "eight"])
        with as_client(database, {"sub": "alice"}, read_only=True) as client:
            [hit] = found(client, "zubo", with_context=neighbours)
        assert hit["content"] == "three zubo"
        assert hit["context"] == context

    def test_of_others_documents_is_told_to_nobody(self, database: Database, admin: Connection):
        upload(database, "a.txt", ["one", "two"], owner="bob")
        [chunk] = rows(admin, "select id, document_id from ingest.chunks where content = 'one'")
        call = "select ingest_search.context_of(1, %s, %s, 5)"
        for owner, context in (("bob", "one\n\ntwo"), ("alice", None)):
            with as_client(database, {"sub": owner}, read_only=True) as client:
                assert value(client, call, chunk["document_id"], chunk["id"]) == context


class TestPerDocument:
    def test_no_more_than_asked_for_and_the_best(self, database: Database):
        upload(database, "a.txt", ["zubo", "zubo kalo", "zubo kalo mirt"])
        upload(database, "b.txt", ["zubo tonk glub prax", "zubo tonk"])
        with as_client(database, {"sub": "alice"}, read_only=True) as client:
            everything = found(client, "zubo")
            for most in (1, 2, 3):
                seen: dict[Any, int] = {}
                expected = []
                for hit in everything:
                    seen[hit["document_id"]] = seen.get(hit["document_id"], 0) + 1
                    if seen[hit["document_id"]] <= most:
                        expected.append(hit)
                assert found(client, "zubo", max_per_document=most) == expected
                assert found(client, "zubo", max_per_document=most, match_count=2) == expected[:2]


class TestFilters:
    @pytest.mark.parametrize(
        ("filters", "names"),
        [
            ({}, {"a/x.txt", "a/y.txt", "b/z.txt"}),
            ({"bucket": "docs"}, {"a/x.txt", "a/y.txt"}),
            ({"bucket": "nope"}, set()),
            ({"path_prefix": "a/"}, {"a/x.txt", "a/y.txt"}),
            ({"path_prefix": "%"}, set()),
            ({"metadata_filter": Jsonb({"team": "red"})}, {"a/x.txt"}),
            ({"created_since": "2026-01-01Z"}, {"a/y.txt", "b/z.txt"}),
            ({"created_until": "2026-01-01Z"}, {"a/x.txt"}),
            ({"document_ids": []}, set()),
            ({"document_ids": [None]}, set()),
            ({"document_ids": [uuid4()]}, set()),
        ],
    )
    @pytest.mark.parametrize("embedding", [None, literal(vector_of("zubo"))])
    def test_leave_what_fits(
        self,
        labelled: Database,
        filters: dict[str, Any],
        names: set[str],
        embedding: str | None,
    ):
        with as_client(labelled, {"sub": "alice"}, read_only=True) as client:
            hits = found(client, "zubo", query_embedding=embedding, **filters)
        assert {hit["object_name"] for hit in hits} == names

    def test_leave_what_others_share(self, database: Database, admin: Connection):
        admin.execute("update ingest_private.sources set access = 'inherit'")
        admin.execute(READERS)
        try:
            upload(database, "a.txt", ["zubo"])
            near = {"query_embedding": literal(vector_of("zubo")), "bucket": "docs"}
            for owner, hits in (("reader", ["zubo"]), ("alice", ["zubo"]), ("bob", [])):
                assert finds(database, owner, "kalo", **near) == hits
                assert finds(database, owner, "zubo", bucket="docs") == hits
                with as_client(database, {"sub": owner}, read_only=True) as client:
                    nearest = search(client, "zubo", bucket="docs")
                assert [hit["content"] for hit in nearest] == hits
        finally:
            admin.execute("drop policy readers on storage.objects")


@pytest.fixture(scope="module")
def labelled(postgres: PostgresServer) -> Iterator[Database]:
    """Documents of alice that each differ in one way, and one of bob."""
    with make_database(postgres) as database, database.connect() as admin:
        watch_bucket(database)
        watch_bucket(database, "second")
        upload(database, "a/x.txt", ["zubo"], user_metadata={"team": "red"})
        upload(database, "a/y.txt", ["zubo"], user_metadata={"team": "blue"})
        upload(database, "b/z.txt", ["zubo"], bucket="second")
        upload(database, "a/hers.txt", ["zubo"], owner="bob", user_metadata={"team": "red"})
        for name, day in (("a/x", "2025-01-01Z"), ("a/y", "2026-01-01Z"), ("b/z", "2027-01-01Z")):
            admin.execute(
                "update ingest.documents set created_at = %s where object_name = %s",
                [day, f"{name}.txt"],
            )
        yield database


#: Small, made by hand: a passage in each language, and a question that only one answers.
PASSAGES: Sequence[tuple[str, str]] = (
    (
        "Was kostet das Zimmer pro Nacht?",
        "Das Doppelzimmer kostet in der Nebensaison 95 Euro für eine Nacht.",
    ),
    (
        "Wann wurde die Brücke gebaut?",
        "Die Brücken über den Fluss wurden im Jahr 1893 von den Bürgern der Stadt gebaut.",
    ),
    (
        "Welche Behörde prüft die Anträge?",
        "Anträge werden vom Bauamt geprüft und innerhalb von vier Wochen beantwortet.",
    ),
    (
        "Quelle est la durée de la garantie?",
        "La garantie dure deux ans à compter de la date de livraison.",
    ),
    ("保証期間はどのくらいですか", "この製品の保証期間は購入日から二年間です。"),
    ("公司的年度收入是多少", "根据报告,公司去年的年度收入达到三亿元。"),
    ("ราคาห้องพักเท่าไร", "ห้องพักมีราคาคืนละ 1,200 บาท รวมอาหารเช้า"),
    ("Where do I send order AB-123/45?", "Order AB-123/45 goes to the depot in Leeds."),
    ("Where do I send order AB-123/46?", "Order AB-123/46 goes to the shop in York."),
    ("Who answers at help@example.org?", "Write to help@example.org: Ms Jones replies."),
)


def test_questions_in_many_languages_find_their_passage_first(
    database: Database, admin: Connection
):
    write_chunks(admin, {"alice": [passage for _, passage in PASSAGES]})
    for question, passage in PASSAGES:
        assert finds(database, "alice", question)[0] == passage, question


def test_headings_are_found_with_their_chunk(database: Database, admin: Connection):
    object_id = upload(database, "a.txt", ["one kalo", "two mirt"])
    chunk = chunks_of(admin, document_of(admin, object_id)["id"])["two mirt"]
    with admin.transaction():
        admin.execute("create temporary table moved on commit drop as select * from ingest.chunks")
        admin.execute("update moved set headings = '{Zubo, Tonk}' where id = %s", [chunk])
        admin.execute("delete from ingest.chunks")
        admin.execute("insert into ingest.chunks select * from moved")
    assert finds(database, "alice", "tonk") == ["two mirt"]

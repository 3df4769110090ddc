"""The rows that a text search reads depend on the caller's rows, not on statistics."""

import json
import random
from collections.abc import Iterator

import pytest

from docmill.embedded.postgres import PostgresServer
from tests.schema.actors import Connection, literal, rows, vector_of
from tests.schema.corpora import write_chunks
from tests.schema.test_plans import Touched
from tests.support.database import Database, as_client, make_database, watch_bucket

OWNERS = 3000
STATES = ("never analysed", "analysed while empty", "analysed")


class Searched(Touched):
    TABLES = (
        *("ingest.chunk_lexemes", "ingest.documents", "ingest_private.chunks_1"),
        "ingest_private.chunk_positions_1",
    )


@pytest.fixture(
    scope="module",
    params=[(18, state) for state in STATES] + [(16, "never analysed")],
    ids=lambda param: f"pg{param[0]}-{param[1]}",
)
def crowded(request: pytest.FixtureRequest) -> Iterator[Database]:
    """18,000 chunks: a third of one owner, the rest of 3,000 others; half contain `the`."""
    major, state = request.param
    name = "postgres" if major == 18 else "postgres16"
    server: PostgresServer = request.getfixturevalue(name)
    chance = random.Random(5)
    words = [f"{letter}{number}o" for letter in "bdfgk" for number in range(400)]
    with make_database(server) as database, database.connect() as admin:
        watch_bucket(database)
        if state == "analysed while empty":
            admin.execute("analyze")

        def texts(count: int) -> list[str]:
            return [
                " ".join([*chance.choices(words, k=12), chance.choice(["the", "a"])])
                for _ in range(count)
            ]

        write_chunks(
            admin,
            {"half": texts(6000), **{f"owner {n}": texts(4) for n in range(OWNERS)}},
        )
        if state == "analysed":
            admin.execute("vacuum analyze")
        else:
            # Every search reads the pending list of the GIN index.
            admin.execute("select gin_clean_pending_list('ingest.chunk_lexemes_words')")
        yield database


@pytest.fixture
def watcher(crowded: Database) -> Iterator[Connection]:
    with crowded.connect() as connection:
        yield connection


@pytest.fixture
def actor(crowded: Database) -> Iterator[Connection]:
    with crowded.connect() as connection:
        yield connection


SEARCH = "select * from ingest.hybrid_search(%s)"


def search(
    actor: Connection, claims: dict[str, str], query: str, *parameters: str, sql: str = SEARCH
) -> int:
    """One search, by default by words; return the number of hits."""
    with actor.transaction():
        actor.execute(
            "select set_config('request.jwt.claims', %s, true), set_config('role', %s, true)",
            [json.dumps(claims), claims.get("role", "authenticated")],
        )
        return len(rows(actor, sql, query, *parameters))


def searched(actor: Connection, watcher: Connection, claims: dict[str, str], query: str) -> int:
    """Rows, index entries and blocks of one table that a search by words reads."""
    search(actor, claims, query)
    Searched(watcher).since(actor)
    before = Searched(watcher)
    search(actor, claims, query)
    touched = before.since(actor)
    assert touched["ingest.chunk_lexemes"] > 0
    return max(touched.values())


def test_an_owner_of_few_chunks_touches_few_rows(actor: Connection, watcher: Connection):
    for query in ("b1o d2o the", "the", "unheard of"):
        assert searched(actor, watcher, {"sub": "owner 7"}, query) < 300, query


def test_an_owner_of_many_touches_those_that_hold_a_rare_word(
    actor: Connection, watcher: Connection
):
    # 6000 * 12 / 2000 = 36 chunks hold each word; the sample is 300.
    assert searched(actor, watcher, {"sub": "half"}, "b1o d2o the") < 3500


def test_so_does_the_service_role(actor: Connection, watcher: Connection):
    assert searched(actor, watcher, {"role": "service_role"}, "b1o d2o the") < 4500


def test_the_index_of_words_serves_who_has_many(actor: Connection, watcher: Connection):
    def scans() -> int:
        actor.execute("select pg_stat_force_next_flush()")
        actor.execute("select 1")
        watcher.execute("select pg_stat_clear_snapshot()")
        [row] = rows(
            watcher,
            """select idx_scan from pg_stat_all_indexes
                where indexrelname = 'chunk_lexemes_words'""",
        )
        return int(row["idx_scan"])

    for claims in ({"sub": "half"}, {"role": "service_role"}):
        before = scans()
        searched(actor, watcher, claims, "b1o d2o")
        assert scans() > before, claims


EMBEDDING = literal(vector_of("x"))
#: Other searches of an owner with four chunks, and the limit for rows of one table.
OTHERS = (
    ("select * from ingest.hybrid_search(%s, with_context => 3, max_per_document => 2)", ("the",)),
    ("""select * from ingest.hybrid_search('"the" b1o -d2o', %s)""", (EMBEDDING,)),
    ("""select * from ingest.hybrid_search('"the" -d2o', %s, bucket => 'docs')""", (EMBEDDING,)),
    ("select * from ingest.search_facets(%s)", ("the",)),
    ("select * from ingest.match_documents(%s)", (EMBEDDING,)),
    ("""select * from ingest.match_documents(%s, 10, '{"bucket_id": "docs"}')""", (EMBEDDING,)),
    ("""select * from ingest.match_documents(%s, 10, '{"headings": []}')""", (EMBEDDING,)),
)


@pytest.mark.parametrize(("sql", "parameters"), OTHERS, ids=[sql[21:70] for sql, _ in OTHERS])
def test_so_do_other_searches_of_an_owner_of_few(
    actor: Connection, watcher: Connection, sql: str, parameters: tuple[str]
):
    claims = {"sub": "owner 7"}
    search(actor, claims, *parameters, sql=sql)
    Searched(watcher).since(actor)
    before = Searched(watcher)
    search(actor, claims, *parameters, sql=sql)
    # A filter by documents' metadata reads all documents of the caller, through the policy.
    chunks = {name: n for name, n in before.since(actor).items() if name != "ingest.documents"}
    assert max(chunks.values()) < 300


def test_so_does_a_search_for_similar_documents(actor: Connection, watcher: Connection):
    with actor.transaction():
        [row] = rows(actor, "select id from ingest.documents where owner_id = 'owner 7'")
    claims, sql = {"sub": "owner 7"}, "select * from ingest.similar(%s)"
    search(actor, claims, str(row["id"]), sql=sql)
    before = Searched(watcher)
    search(actor, claims, str(row["id"]), sql=sql)
    chunks = {name: n for name, n in before.since(actor).items() if name != "ingest.documents"}
    assert max(chunks.values(), default=0) < 300


def test_a_search_by_both_finds_both(crowded: Database):
    with as_client(crowded, {"sub": "owner 7"}, read_only=True) as client:
        hits = rows(
            client,
            "select * from ingest.hybrid_search('the', %s)",
            literal(vector_of("x")),
        )
    assert len(hits) == 4


#: Words that another transaction has written and not committed.
UNCOMMITTED = """
    insert into ingest.chunk_lexemes (chunk_id, index_version, document_id, object_id, owner_id,
                                      access, stemmer, lexemes)
    select gen_random_uuid(), %s, gen_random_uuid(), gen_random_uuid(), %s, 'owner', %s, ''
      from generate_series(1, 5000)
"""


@pytest.mark.parametrize(
    "claims", [{"sub": "owner 7"}, {"role": "service_role"}], ids=["owner", "service role"]
)
def test_what_others_are_publishing_costs_nothing(
    crowded: Database, actor: Connection, watcher: Connection, claims: dict[str, str]
):
    """Rows of other owners, languages and index versions, before and behind the caller's own.

    The last test here: what is rolled back stays in the index, and planning looks at its ends.
    """
    query = "b1o d2o the"
    before = searched(actor, watcher, claims, query)
    with crowded.connect() as publisher, publisher.transaction(force_rollback=True):
        others = [(2, "a", ""), (2, "zz", "english")]
        if "sub" in claims:  # the service role may read all owners' rows of its index version
            others += [(1, "a", ""), (1, "zz", ""), (1, "a", "german"), (1, "zz", "swedish")]
        for version, owner, stemmer in others:
            publisher.execute(UNCOMMITTED, [version, owner, stemmer])
        assert searched(actor, watcher, claims, query) < before + 300

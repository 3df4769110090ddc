"""Which of several index versions answers a search, and what clients learn about it."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from psycopg import errors as pg

from docmill.embedded.postgres import PostgresServer
from tests.schema.actors import (
    MODEL,
    Connection,
    claimed,
    literal,
    publish,
    rows,
    stage,
    upload,
    value,
    vector_of,
)
from tests.support.database import Database, as_client, make_database, watch_bucket

#: One model, requested with 1536 dimensions and later with 512.
ONE_MODEL = "text-embedding-3-small"
WIDE, NARROW = 1536, 512
TEXT = "Slates are replaced every forty years."


def new_version(admin: Connection, model: str, dimensions: int, **how: Any) -> int:
    """Make a version, and fill it with the one document."""
    named = {"p_model": model, "p_dimensions": dimensions, "p_chunking": '{"max_tokens": 400}'}
    named |= how
    arguments = ", ".join(f"{name} => %s" for name in named)
    statement = f"select ingest_private.create_index_version({arguments})"
    version = int(value(admin, statement, *named.values()))
    value(admin, "select ingest_private.fill_index_versions(10)")
    for job in rows(admin, "select id from ingest.jobs where index_version = %s", version):
        run = claimed(admin, job["id"])
        assert stage(admin, run, [TEXT], vector=partial(vector_of, dimensions=dimensions))
        assert publish(admin, run, [TEXT]) == "published"
    return version


def activate(admin: Connection, version: int) -> None:
    assert value(admin, "select ingest_private.activate_index_version(%s, false)", version)


@pytest.fixture
def library(postgres: PostgresServer) -> Iterator[Database]:
    """Alice's document in version 1 and in version 2, which has ONE_MODEL and is active."""
    with make_database(postgres) as database, database.connect() as admin:
        watch_bucket(database)
        upload(database, "a.txt", [TEXT])
        activate(admin, new_version(admin, ONE_MODEL, WIDE))
        yield database


@pytest.fixture
def admin(library: Database) -> Iterator[Connection]:
    with library.connect() as connection:
        yield connection


def version_of(admin: Connection, hit: dict[str, Any]) -> int:
    key = hit.get("chunk_id") or hit["id"]
    return int(value(admin, "select index_version from ingest.chunks where id = %s", key))


def found_in(admin: Connection, library: Database, function: str, **arguments: Any) -> set[int]:
    """The versions of the hits when Alice searches."""
    named = ", ".join(f"{name} => %s" for name in arguments)
    with as_client(library, {"sub": "alice"}, read_only=True) as client:
        hits = rows(client, f"select * from ingest.{function}({named})", *arguments.values())
    assert hits
    return {version_of(admin, hit) for hit in hits}


def of_width(dimensions: int) -> dict[str, Any]:
    return {"query_embedding": literal(vector_of(TEXT, dimensions)), "model": ONE_MODEL}


@pytest.mark.parametrize(
    ("function", "more"),
    [
        ("match_chunks", {}),
        ("hybrid_search", {"query_text": None}),
        ("hybrid_search", {"query_text": "slates"}),
        ("match_documents", {}),
    ],
)
def test_an_app_that_sends_the_former_dimensions_of_a_model_goes_on(
    library: Database, admin: Connection, function: str, more: dict[str, Any]
):
    before = found_in(admin, library, function, **of_width(WIDE), **more)
    assert before == {2}
    narrow = new_version(admin, ONE_MODEL, NARROW)
    assert found_in(admin, library, function, **of_width(WIDE), **more) == before
    activate(admin, narrow)
    assert found_in(admin, library, function, **of_width(WIDE), **more) == before
    assert found_in(admin, library, function, **of_width(NARROW), **more) == {narrow}


def test_facets_are_counted_in_the_version_that_hits_are_of(library: Database, admin: Connection):
    activate(admin, new_version(admin, ONE_MODEL, NARROW))
    for width in (WIDE, NARROW):
        with as_client(library, {"sub": "alice"}, read_only=True) as client:
            counted = rows(
                client,
                """select chunks from ingest.search_facets(null, query_embedding => %s, model => %s)
                    where facet = 'bucket'""",
                *of_width(width).values(),
            )
        assert counted == [{"chunks": 1}]


def test_a_version_may_be_named(library: Database, admin: Connection):
    former = {"query_embedding": literal(vector_of(TEXT)), "model": MODEL, "index_version": 1}
    for function, arguments in (
        ("match_chunks", former),
        ("match_documents", {**former, "model": None}),
        ("hybrid_search", {**former, "query_text": "slates", "model": None}),
        ("hybrid_search", {"query_text": "slates", "index_version": 1}),
    ):
        assert found_in(admin, library, function, **arguments) == {1}
    assert found_in(admin, library, "hybrid_search", query_text="slates") == {2}


def test_of_two_that_differ_in_what_is_put_before_a_query_the_active_one_answers(
    library: Database, admin: Connection
):
    with_prefix = new_version(
        *(admin, ONE_MODEL, WIDE), p_query_prefix="query: ", p_chunking='{"max_tokens": 200}'
    )
    assert found_in(admin, library, "match_chunks", **of_width(WIDE)) == {2}
    activate(admin, with_prefix)
    assert found_in(admin, library, "match_chunks", **of_width(WIDE)) == {with_prefix}
    named = {**of_width(WIDE), "index_version": 2}
    assert found_in(admin, library, "match_chunks", **named) == {2}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("update ingest.index_versions set state = 'building' where id = 1", "1 is building"),
        ("update ingest.index_versions set state = 'dropped' where id = 1", "1 is dropped"),
        ("update ingest.index_versions set model = 'other' where id = 1", "of model other, not"),
    ],
)
def test_a_version_that_cannot_answer_is_refused_by_name(
    library: Database, admin: Connection, change: str, message: str
):
    admin.execute(change.encode())
    named = {"query_embedding": literal(vector_of(TEXT)), "model": MODEL, "index_version": 1}
    for function, more in (
        *(("match_chunks", {}), ("match_documents", {})),
        *(("hybrid_search", {"query_text": "slates"}), ("search_facets", {"query_text": "slates"})),
    ):
        with pytest.raises(pg.InvalidParameterValue, match=message) as refused:
            found_in(admin, library, function, **named, **more)
        assert refused.value.diag.message_hint


def test_a_version_that_is_not_there_is_refused(library: Database, admin: Connection):
    with pytest.raises(pg.InvalidParameterValue, match="99 is not there"):
        found_in(admin, library, "hybrid_search", query_text="slates", index_version=99)


def test_each_function_has_one_form(admin: Connection):
    """The Data API cannot choose between two functions with the same parameter names."""
    doubled = rows(
        admin,
        """select proname from pg_proc where pronamespace in ('ingest'::regnamespace,
                  'ingest_search'::regnamespace) group by proname having count(*) > 1""",
    )
    assert doubled == []


@pytest.mark.parametrize("claims", [{"sub": "alice"}, {"role": "service_role"}])
def test_clients_are_told_how_to_embed_a_query_before_and_after_a_flip(
    library: Database, admin: Connection, claims: dict[str, str]
):
    def told() -> list[dict[str, Any]]:
        with as_client(library, claims, read_only=True) as client:
            return rows(client, "select * from ingest.active_index()")

    wide = {"id": 2, "model": ONE_MODEL, "dimensions": WIDE, "sends_dimensions": True}
    assert told() == [{**wide, "query_prefix": "", "document_prefix": "", "provider": "openai"}]
    prefixes = {"query_prefix": "query: ", "document_prefix": "passage: "}
    how: dict[str, Any] = {f"p_{name}": prefix for name, prefix in prefixes.items()}
    version = new_version(admin, "e5", 384, p_provider="own", **how)
    assert told()[0]["id"] == 2
    activate(admin, version)
    e5 = {"id": version, "model": "e5", "dimensions": 384, "sends_dimensions": False}
    assert told() == [{**e5, **prefixes, "provider": "own"}]


def test_without_an_active_version_there_is_nothing_to_tell(library: Database, admin: Connection):
    admin.execute("update ingest.index_versions set state = 'retired'")
    with as_client(library, {"sub": "alice"}, read_only=True) as client:
        assert rows(client, "select * from ingest.active_index()") == []


def test_strangers_are_not_told(library: Database):
    with as_client(library, None) as client, pytest.raises(pg.InsufficientPrivilege):
        client.execute("select * from ingest.active_index()")

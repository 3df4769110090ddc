"""Metadata belong to the place of a chunk: readers get new links, and no chunk is rewritten."""

import json
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import pytest
from psycopg.types.json import Jsonb

from docmill.worker.admin import dump
from tests.schema.actors import (
    MODEL,
    Connection,
    Run,
    claimed,
    drain_withdrawn,
    job_of,
    literal,
    publish,
    rows,
    search,
    stage_missing,
    upload,
    vector_of,
)
from tests.support.database import Database, as_client, put_object

OLD = {"links": ["https://old.example/"], "category": None}
NEW = {"links": ["https://new.example/", "https://second.example/"], "category": None}
NONE = {"links": None, "category": None}
TABLE = {"links": None, "category": "Table"}


@pytest.fixture
def database(wiped: Database) -> Database:
    return wiped


@pytest.fixture
def object_id(database: Database, admin: Connection) -> UUID:
    """An object of alice, `one` and `two`, written with the links OLD at `one`."""
    made = upload(database, "a.txt", ["one", "two"])
    # As a run stages it: the chunk keeps what was found when it was written.
    admin.execute(
        "update ingest.chunks set metadata = %s where content = 'one'",
        [Jsonb({"links": OLD["links"]})],
    )
    return made


def read_again(
    admin: Connection, worker: Connection, texts: list[str], places: list[dict[str, Any]]
) -> Run:
    run = claimed(worker, job_of(admin, put_object(admin, "a.txt", owner="alice")))
    stage_missing(worker, run, texts)
    assert publish(worker, run, texts, locators=places) == "published"
    return run


def stored(admin: Connection) -> list[dict[str, Any]]:
    return rows(admin, "select id, ctid::text, xmin::text, metadata from ingest.chunks order by id")


def found(database: Database, text: str) -> Any:
    """The metadata that a client gets with a text, by each function that returns them."""
    with as_client(database, {"sub": "alice"}, read_only=True) as client:
        [matched] = [hit["metadata"] for hit in search(client, text) if hit["content"] == text]
        [mixed] = [
            hit["metadata"]
            for hit in rows(
                client,
                "select * from ingest.hybrid_search(%s, %s, model => %s)",
                *(text, literal(vector_of(text)), MODEL),
            )
            if hit["content"] == text
        ]
        [chained] = [
            hit["metadata"].get("chunk", {})
            for hit in rows(
                client, "select * from ingest.match_documents(%s)", literal(vector_of(text))
            )
            if hit["content"] == text
        ]
    assert matched == mixed == chained
    return matched


def chained(database: Database, wanted: Mapping[str, Any]) -> list[str]:
    """The texts that match_documents finds with a filter on the chunk."""
    with as_client(database, {"sub": "alice"}, read_only=True) as client:
        hits = rows(
            client,
            "select content from ingest.match_documents(%s, 10, %s)",
            *(literal(vector_of("one")), json.dumps({"chunk": wanted})),
        )
    return [hit["content"] for hit in hits]


def exported(admin: Connection) -> list[tuple[str, Any]]:
    # As the command does it: a transaction of its own.
    with dump.passages(admin, owner="alice", bucket=None) as passages:
        return [(row["content"], row["metadata"]) for row in passages]


def embedded_anew(admin: Connection, run: Run) -> list[Any]:
    """The metadata that another index version gets with the chunks of this one."""
    return [
        row["metadata"]
        for row in rows(
            admin,
            "select * from ingest_private.reindex_chunks(%s, %s, 0, 100)",
            *(run.document_id, run.index_version),
        )
    ]


@pytest.mark.parametrize(
    ("place", "metadata"),
    [
        (NEW, {"links": NEW["links"]}),
        (OLD, {"links": OLD["links"]}),
        (NONE, {}),
        (TABLE, {"category": "Table"}),
        ({**NEW, "category": "Table"}, {"links": NEW["links"], "category": "Table"}),
        ({"links": [], "category": None}, {"links": []}),
        # A worker of a former release says nothing of metadata.
        ({}, {"links": OLD["links"]}),
    ],
)
def test_all_readers_get_what_the_last_reading_found_and_the_chunk_stays_as_it_was(
    database: Database,
    admin: Connection,
    worker: Connection,
    object_id: UUID,
    place: dict[str, Any],
    metadata: dict[str, Any],
) -> None:
    before = stored(admin)
    run = read_again(admin, worker, ["one", "two"], [place, NONE])
    assert found(database, "one") == metadata
    assert found(database, "two") == {}
    assert exported(admin) == [("one", metadata), ("two", {})]
    assert embedded_anew(admin, run) == [metadata, {}]
    assert stored(admin) == before


def test_a_filter_on_the_chunk_looks_at_what_is_returned(
    database: Database, admin: Connection, worker: Connection, object_id: UUID
) -> None:
    assert chained(database, {"links": OLD["links"]}) == ["one"]
    read_again(admin, worker, ["one", "two"], [NEW, TABLE])
    assert chained(database, {"links": OLD["links"]}) == []
    assert chained(database, {"links": ["https://new.example/"]}) == ["one"]
    assert chained(database, {"category": "Table"}) == ["two"]
    read_again(admin, worker, ["one", "two"], [OLD, NONE])
    assert chained(database, {"links": OLD["links"]}) == ["one"]
    assert chained(database, {"category": "Table"}) == []


def test_a_text_in_several_places_has_metadata_for_each_and_is_cited_with_the_first(
    database: Database, admin: Connection, worker: Connection, object_id: UUID
) -> None:
    run = read_again(admin, worker, ["one", "two", "one", "one"], [NEW, NONE, OLD, NONE])
    assert found(database, "one") == {"links": NEW["links"]}
    wanted = [{"links": NEW["links"]}, {}, {"links": OLD["links"]}, {}]
    assert [metadata for _text, metadata in exported(admin)] == wanted
    assert embedded_anew(admin, run) == wanted


def test_a_place_stores_a_difference_only(
    admin: Connection, worker: Connection, object_id: UUID
) -> None:
    read_again(admin, worker, ["one", "two", "one"], [OLD, NONE, NEW])
    places = rows(admin, "select locator from ingest.chunk_positions order by ordinal")
    assert [row["locator"] for row in places] == [{}, {}, NEW]


@pytest.mark.parametrize("is_drained", [True, False])
def test_a_new_owner_of_the_same_bytes_gets_the_links_that_were_found_for_him(
    database: Database, admin: Connection, worker: Connection, object_id: UUID, is_drained: bool
) -> None:
    """The chunks of the former document are taken over, with the metadata that they had."""
    run = claimed(worker, job_of(admin, put_object(admin, "a.txt", owner="bob")))
    if is_drained:
        drain_withdrawn(worker)
    assert stage_missing(worker, run, ["one", "two"]) == []
    assert publish(worker, run, ["one", "two"], locators=[NEW, NONE]) == "published"
    with as_client(database, {"sub": "bob"}, read_only=True) as client:
        hits = {hit["content"]: hit["metadata"] for hit in search(client, "one")}
    assert hits == {"one": {"links": NEW["links"]}, "two": {}}

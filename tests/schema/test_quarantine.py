"""Chunks that the provider refused: each publish lists them, and a retry tries them again."""

from uuid import UUID

import pytest
from psycopg.errors import DatabaseError

from tests.schema.actors import (
    PIPELINE,
    Connection,
    claimed,
    document_of,
    drain_withdrawn,
    hash_of,
    job_of,
    publish,
    refused,
    rows,
    stage_missing,
    value,
)
from tests.support.database import Database, as_client, delete_objects, put_object

TEXTS = ["one", "two"]


@pytest.fixture
def database(wiped: Database) -> Database:
    return wiped


def publish_without(worker: Connection, job_id: UUID, *bad: str) -> None:
    run = claimed(worker, job_id)
    stage_missing(worker, run, TEXTS)
    quarantine = [refused(text, ordinal) for ordinal, text in enumerate(bad)]
    assert publish(worker, run, TEXTS, quarantine=quarantine) == "published"


def quarantined(admin: Connection) -> list[tuple[bytes, int, int, int, str]]:
    found = rows(admin, "select * from ingest_private.quarantine order by ordinal")
    return [
        (
            row["content_hash"],
            *(row["ordinal"], row["page_start"], row["page_end"]),
            row["error_code"],
        )
        for row in found
    ]


def test_each_publish_says_what_it_goes_without(admin: Connection, worker: Connection) -> None:
    object_id = put_object(admin, "a.txt", owner="alice")
    publish_without(worker, job_of(admin, object_id), "bad", "worse")
    assert quarantined(admin) == [
        (hash_of("bad"), 0, 1, 2, "embedding_rejected"),
        (hash_of("worse"), 1, 1, 2, "embedding_rejected"),
    ]
    assert document_of(admin, object_id)["quarantined_chunks"] == 2
    put_object(admin, "a.txt", owner="alice")
    publish_without(worker, job_of(admin, object_id), "worse")
    assert [row[0] for row in quarantined(admin)] == [hash_of("worse")]
    put_object(admin, "a.txt", owner="alice")
    publish_without(worker, job_of(admin, object_id))
    drain_withdrawn(admin)
    assert quarantined(admin) == []
    assert document_of(admin, object_id)["quarantined_chunks"] == 0


def test_its_owner_may_have_it_tried_again_and_then_it_is_read_anew(
    database: Database, admin: Connection, worker: Connection
) -> None:
    object_id = put_object(admin, "a.txt", owner="alice")
    job_id = job_of(admin, object_id)
    publish_without(worker, job_id, "bad")
    with as_client(database, {"sub": "alice"}) as alice:
        new_id = value(alice, "select ingest.retry_job(%s)", job_id)
    run = claimed(worker, new_id)
    unchanged = "select ingest_private.publish_unchanged(%s, %s, %s, %s)"
    content = hash_of("\n".join(TEXTS))
    assert value(worker, unchanged, run.job_id, run.token, content, PIPELINE) == "changed"
    assert stage_missing(worker, run, TEXTS) == []
    assert publish(worker, run, TEXTS) == "published"
    drain_withdrawn(admin)
    assert quarantined(admin) == []
    with (
        as_client(database, {"sub": "alice"}) as alice,
        pytest.raises(DatabaseError, match="nothing to retry"),
    ):
        value(alice, "select ingest.retry_job(%s)", new_id)


def test_a_deleted_document_leaves_nothing_in_quarantine(
    admin: Connection, worker: Connection
) -> None:
    object_id = put_object(admin, "a.txt", owner="alice")
    publish_without(worker, job_of(admin, object_id), "bad")
    delete_objects(admin, ["a.txt"])
    drain_withdrawn(admin)
    assert quarantined(admin) == []

"""Reading documents again: which documents, by which worker, and what stays unchanged."""

from collections.abc import Iterator, Sequence
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg.types.json import Jsonb

from docmill.worker.extraction.shared import media_types
from tests.schema.actors import (
    Connection,
    Row,
    Run,
    claim,
    claimed,
    document_of,
    hash_of,
    job_of,
    locked_document,
    rows,
    stage_missing,
    take,
    text_of,
    upload,
    value,
)
from tests.support.database import Database, put_object, watch_bucket

OUTDATED = {"outdated": True}


@pytest.fixture
def admin(database: Database) -> Iterator[Connection]:
    watch_bucket(database)
    with database.connect() as connection:
        yield connection


def live(
    connection: Connection,
    worker: str,
    rules: int | None,
    *extras: str,
    draining: bool = False,
    chunk_rules: int | None = 2,
) -> None:
    """A heartbeat of a worker with these rules; without rules it is of a former release."""
    connection.execute(
        """select ingest_private.renew_leases(%s, 4, false, %s, 'test', '1 minute', '{}', '{}',
               '{local,openai}', %s, %s, %s)""",
        [worker, draining, rules, rules and chunk_rules, rules and list(extras)],
    )


def published(
    connection: Connection,
    run: Run,
    texts: Sequence[str],
    pipeline: str,
    *,
    unread_pages: int = 0,
) -> str:
    """publish_document for a document that this pipeline read."""
    stage_missing(connection, run, texts)
    return str(
        value(
            connection,
            """select ingest_private.publish_document(
                   %s, %s, %s, %s, 'title', 'text/plain', 1, %s, %s::bytea[], %s::int[],
                   %s::int[], %s::jsonb[])""",
            *(run.job_id, run.token, hash_of("bytes"), pipeline, unread_pages),
            [hash_of(text) for text in texts],
            *([1] * len(texts), [1] * len(texts), ["{}"] * len(texts)),
        )
    )


def ingested(
    admin: Connection, name: str, pipeline: str, texts: Sequence[str] = ("one", "two"), **had: Any
) -> UUID:
    """Ingest a document with this pipeline; return the id of its object."""
    owner = had.pop("owner", "alice")
    object_id = put_object(admin, name, owner=owner)
    run = claimed(admin, job_of(admin, object_id))
    assert published(admin, run, texts, pipeline, **had) == "published"
    return object_id


def read_again(connection: Connection, choice: Row, limit: int = 100, **others: Any) -> list[UUID]:
    """The jobs that read_again makes."""
    named = "".join(f", {name} => %s" for name in others)
    found = rows(
        connection,
        f"select * from ingest_private.read_again(%s, %s{named})",
        *(Jsonb(choice), limit, *others.values()),
    )
    return list(found[0]["job_ids"])


def chunk_rows(connection: Connection, object_id: UUID) -> list[Row]:
    """The rows of a document's chunks, each with the transaction that wrote it."""
    return rows(
        connection,
        """select chunk.tableoid, chunk.ctid::text, chunk.xmin::text, chunk.id
             from ingest.chunks as chunk where object_id = %s order by chunk.id""",
        object_id,
    )


def visible(connection: Connection, object_id: UUID) -> Row:
    """What clients see of a document, without times."""
    return {
        name: column
        for name, column in document_of(connection, object_id).items()
        if name not in ("updated_at", "ready_at")
    }


@pytest.mark.parametrize(
    ("pipeline", "reading"),
    [
        ("5+ocr+pandoc+text/csv.2.400.local", (5, 2, ["ocr", "pandoc"], "text/csv")),
        ("12+office.3.400", (12, 3, ["office"], "")),
        ("5+text/tab-separated-values.2.400", (5, 2, [], "text/tab-separated-values")),
        ("5.2.400", (5, 2, [], "")),
        ("1", (1, 0, [], "")),
    ],
)
def test_how_a_document_was_read_stands_in_columns(
    admin: Connection, pipeline: str, reading: tuple[Any, ...]
):
    ingested(admin, "a", pipeline)
    (row,) = rows(
        admin,
        """select reader_rules, chunk_rules, extras, named_type
             from ingest_private.published_versions""",
    )
    assert tuple(row.values()) == reading


def test_names_stand_for_the_types_that_workers_take_them_for(admin: Connection):
    known = vars(media_types)
    names = [
        *(f"a/b.c/name.{ending}" for ending in ("csv", "MD", "py", "xyz", "c", "mk", "", "h.hpp")),
        *(f"name.{ending}" for ending in (*known["_TEXT_NAMES"], *known["_SOURCE_NAMES"])),
        *("Dockerfile", "a/Makefile", "gnumakefile", "md", ".md", "a/.py", "a.md/b", "ä.Htm"),
    ]
    found = {name: value(admin, "select ingest_private.named_type(%s)", name) for name in names}
    assert found == {name: media_types.name_hint(name) for name in names}


def test_what_a_live_worker_reads_better_is_outdated_and_nothing_else(admin: Connection):
    old = ingested(admin, "old.txt", "4.2.400")
    ingested(admin, "new.txt", "5.2.400")
    ingested(admin, "richer.txt", "5+ocr.2.400")
    cut = ingested(admin, "cut.txt", "5.1.400")
    assert read_again(admin, OUTDATED) == []  # no worker is alive
    live(admin, "former", None)
    live(admin, "leaving", 9, "ocr", draining=True)
    assert read_again(admin, OUTDATED) == []
    live(admin, "w1", 5)
    made = read_again(admin, OUTDATED)
    assert {row["object_id"] for row in documents_of(admin, made)} == {old, cut}
    assert read_again(admin, OUTDATED) == []


def documents_of(admin: Connection, jobs: Sequence[UUID]) -> list[Row]:
    return rows(
        admin,
        """select document.* from ingest.jobs as job
                  join ingest.documents as document on document.id = job.document_id
            where job.id = any(%s)""",
        list(jobs),
    )


def test_a_name_that_stands_for_another_type_is_outdated(admin: Connection):
    object_id = ingested(admin, "table.txt", "5.2.400")
    live(admin, "w1", 5)
    admin.execute("update storage.objects set name = 'table.csv' where id = %s", [object_id])
    (job,) = read_again(admin, OUTDATED)
    run = claimed(admin, job)
    assert published(admin, run, ["one", "two"], "5+text/csv.2.400") == "published"
    assert read_again(admin, OUTDATED) == []


def test_reading_again_what_did_not_change_embeds_nothing_and_writes_no_chunk(admin: Connection):
    object_id = ingested(admin, "a.txt", "4.2.400")
    before, seen = chunk_rows(admin, object_id), visible(admin, object_id)
    live(admin, "w1", 5)
    (job,) = read_again(admin, OUTDATED)
    run = claimed(admin, job)
    assert stage_missing(admin, run, ["one", "two"]) == []
    assert published(admin, run, ["one", "two"], "5.2.400") == "published"
    assert chunk_rows(admin, object_id) == before
    assert visible(admin, object_id) == seen
    assert read_again(admin, OUTDATED) == []


def test_only_the_chunks_that_changed_are_embedded(admin: Connection):
    object_id = ingested(admin, "a.txt", "4.2.400", ["one", "two", "three"])
    before = chunk_rows(admin, object_id)
    live(admin, "w1", 5)
    (job,) = read_again(admin, OUTDATED)
    run = claimed(admin, job)
    assert stage_missing(admin, run, ["one", "2", "three"]) == ["2"]
    assert published(admin, run, ["one", "2", "three"], "5.2.400") == "published"
    assert text_of(admin, run.document_id) == ["one", "2", "three"]
    kept = [row for row in before if row in chunk_rows(admin, object_id)]
    assert len(kept) == 2


def test_a_document_that_cannot_be_read_again_stays_as_it_was_and_is_not_tried_for_ever(
    admin: Connection,
):
    object_id = ingested(admin, "a.txt", "4.2.400")
    seen = visible(admin, object_id)
    live(admin, "w1", 5)
    (job,) = read_again(admin, OUTDATED)
    assert visible(admin, object_id) == seen
    run = claimed(admin, job)
    assert visible(admin, object_id) == seen
    admin.execute("select ingest_private.fail_job(%s, %s, 'corrupt', null)", [job, run.token])
    assert visible(admin, object_id) == seen
    assert value(admin, "select error_code from ingest.jobs where id = %s", job) is not None
    assert read_again(admin, OUTDATED) == []
    live(admin, "w2", 4, "ocr")  # rules other than those that failed
    assert len(read_again(admin, OUTDATED)) == 1


def test_rules_that_rise_once_more_are_tried_after_a_failure(admin: Connection):
    ingested(admin, "a.txt", "4.2.400")
    live(admin, "w1", 5)
    (job,) = read_again(admin, OUTDATED)
    run = claimed(admin, job)
    admin.execute("select ingest_private.fail_job(%s, %s, 'corrupt', null)", [job, run.token])
    live(admin, "w1", 6)
    assert len(read_again(admin, OUTDATED)) == 1


@pytest.mark.parametrize("end", ["cancel_run", "release_job"])
def test_no_end_of_such_a_run_is_seen_on_the_document(admin: Connection, end: str):
    object_id = ingested(admin, "a.txt", "4.2.400")
    seen = visible(admin, object_id)
    live(admin, "w1", 5)
    (job,) = read_again(admin, OUTDATED)
    run = claimed(admin, job)
    others = ", null, null, interval '1 minute'" if end == "release_job" else ""
    admin.execute(f"select ingest_private.{end}(%s, %s{others})".encode(), [job, run.token])
    assert visible(admin, object_id) == seen


def test_a_new_upload_takes_the_place_of_a_reading(admin: Connection):
    object_id = ingested(admin, "a.txt", "4.2.400")
    live(admin, "w1", 5)
    (job,) = read_again(admin, OUTDATED)
    put_object(admin, "a.txt", owner="alice")
    assert value(admin, "select state from ingest.jobs where id = %s", job) == "superseded"
    assert document_of(admin, object_id)["status"] == "pending"


def test_a_poorer_worker_leaves_the_job_to_a_richer_one(admin: Connection):
    ingested(admin, "a.txt", "5+ocr.2.400")
    live(admin, "poor", 5)
    live(admin, "rich", 5, "ocr", "pandoc")
    (job,) = read_again(admin, OUTDATED)
    assert take(admin) == [job]
    assert claim(admin, job, worker="poor") is None
    assert take(admin) == []
    assert claim(admin, job, worker="unknown") is None
    admin.execute("update ingest_private.job_queue set due_at = now() where job_id = %s", [job])
    assert take(admin) == [job]
    assert claim(admin, job, worker="rich") is not None


def test_a_worker_leaves_a_job_to_one_that_reads_better_while_that_one_lives(admin: Connection):
    ingested(admin, "a.txt", "4.2.400")
    live(admin, "good", 5)
    live(admin, "better", 5, "ocr")
    (job,) = read_again(admin, OUTDATED)
    assert claim(admin, job, worker="good") is None
    admin.execute("select ingest_private.forget_worker('better')")
    admin.execute("update ingest_private.job_queue set due_at = now() where job_id = %s", [job])
    assert claim(admin, job, worker="good") is not None


def test_a_reading_is_never_replaced_by_a_poorer_one_and_says_what_it_waits_for(admin: Connection):
    ingested(admin, "a.txt", "5+ocr.2.400")
    live(admin, "poor", 6)
    assert read_again(admin, OUTDATED) == []
    (job,) = read_again(admin, {"bucket": "docs"})
    assert claim(admin, job, worker="poor") is None
    (row,) = rows(admin, "select * from ingest_private.explain_job(%s)", job)
    assert row["situation"] == "waiting"
    assert "as well as it was read, with ocr" in row["explanation"]


def test_a_poor_worker_takes_other_jobs_of_such_a_document_when_there_is_no_richer_one(
    admin: Connection,
):
    object_id = ingested(admin, "a.txt", "5+ocr.2.400")
    live(admin, "poor", 5)
    put_object(admin, "a.txt", owner="alice")
    assert claim(admin, job_of(admin, object_id), worker="poor") is not None


def test_documents_are_chosen_by_what_is_known_of_them(admin: Connection):
    unread = ingested(admin, "scan/a.pdf", "5.2.400", unread_pages=2)
    aged = ingested(admin, "b.txt", "5.2.400")
    bobs = ingested(admin, "scan/c.txt", "5.2.400", owner="bob")
    admin.execute(
        """update ingest_private.published_versions set published_at = now() - interval '40 days'
            where document_id = (select id from ingest.documents where object_id = %s)""",
        [aged],
    )
    for choice, wanted in (
        ({"unread_pages": True}, {unread}),
        ({"older_than": "30d"}, {aged}),
        ({"bucket": "docs", "prefix": "scan/"}, {unread, bobs}),
        ({"owner": "bob"}, {bobs}),
        ({"owner": "bob", "unread_pages": True}, set()),
        ({"bucket": "other"}, set()),
    ):
        with admin.transaction(force_rollback=True):
            made = read_again(admin, choice)
            assert {row["object_id"] for row in documents_of(admin, made)} == wanted, choice


@pytest.mark.parametrize("choice", [{}, {"colour": "red"}, {"outdated": True, "failed": "x"}])
def test_a_choice_that_says_nothing_is_refused(admin: Connection, choice: Row):
    with pytest.raises(psycopg.errors.InvalidParameterValue):
        read_again(admin, choice)


def test_what_was_asked_for_is_read_in_full_and_what_is_outdated_is_not(admin: Connection):
    ingested(admin, "a.txt", "4.2.400")
    live(admin, "w1", 5)
    claims = {}
    for name, choice in (("asked", {"owner": "alice"}), ("outdated", OUTDATED)):
        with admin.transaction(force_rollback=True):
            (job,) = read_again(admin, choice)
            claims[name] = value(
                admin,
                """select published_sha256 from ingest_private.claim_job(
                       %s, 'w1', false, '1 minute')""",
                job,
            )
    assert claims["asked"] is None
    assert claims["outdated"] is not None


def test_what_failed_is_tried_again_by_its_code(admin: Connection):
    object_id = put_object(admin, "a.txt", owner="alice")
    run = claimed(admin, job_of(admin, object_id))
    admin.execute(
        "select ingest_private.fail_job(%s, %s, 'corrupt', null)", [run.job_id, run.token]
    )
    code = document_of(admin, object_id)["error_code"]
    assert read_again(admin, {"failed": "encrypted"}) == []
    (job,) = read_again(admin, {"failed": code})
    document = document_of(admin, object_id)
    assert (document["status"], document["latest_job_id"]) == ("pending", job)
    assert claim(admin, job) is not None


def test_jobs_are_made_within_bounds_and_none_twice(admin: Connection):
    for number in range(5):
        ingested(admin, f"{number}.txt", "4.2.400")
    live(admin, "w1", 5)
    assert len(read_again(admin, OUTDATED, 2)) == 2
    big = ingested(admin, "big.txt", "4.2.400", [" ".join(["many"] * 50)])
    # The other documents have two chunks of one word each.
    assert len(read_again(admin, OUTDATED, p_max_tokens=5)) == 2
    assert len(read_again(admin, OUTDATED, p_max_tokens=5)) == 1
    (job,) = read_again(admin, OUTDATED)
    assert [row["object_id"] for row in documents_of(admin, [job])] == [big]
    assert read_again(admin, OUTDATED) == []
    assert {
        row["priority"] for row in rows(admin, "select priority from ingest_private.job_queue")
    } == {9}


def test_a_document_that_is_locked_is_passed_over(admin: Connection, database: Database):
    held = ingested(admin, "a.txt", "4.2.400")
    free = ingested(admin, "b.txt", "4.2.400")
    live(admin, "w1", 5)
    with locked_document(database, held):
        made = read_again(admin, OUTDATED)
    assert [row["object_id"] for row in documents_of(admin, made)] == [free]
    assert len(read_again(admin, OUTDATED)) == 1


def test_a_worker_may_ask_for_it(admin: Connection, database: Database):
    ingested(admin, "a.txt", "4.2.400")
    live(admin, "w1", 5)
    with database.connect("docmill_worker") as worker:
        assert len(read_again(worker, OUTDATED)) == 1


def test_what_is_read_again_goes_to_the_versions_beside(admin: Connection, database: Database):
    building = value(
        admin,
        """select ingest_private.create_index_version('m2', 256, '{"max_tokens": 400}', 'local')""",
    )
    upload(database, "a.txt", ["one"])
    (filling,) = rows(admin, "select id from ingest.jobs where index_version = %s", building)
    run = claimed(admin, filling["id"])
    assert published(admin, run, ["one"], "1") == "published"
    live(admin, "w1", 5)
    (job,) = read_again(admin, OUTDATED)
    run = claimed(admin, job)
    assert published(admin, run, ["1"], "5.2.400") == "published"
    again = rows(
        admin,
        "select id from ingest.jobs where index_version = %s and state = 'queued'",
        building,
    )
    assert len(again) == 1


def test_an_owner_who_asks_for_a_retry_is_not_misled_by_a_reading_that_failed(admin: Connection):
    object_id = ingested(admin, "a.txt", "4.2.400")
    live(admin, "w1", 5)
    (job,) = read_again(admin, OUTDATED)
    run = claimed(admin, job)
    admin.execute("select ingest_private.fail_job(%s, %s, 'corrupt', null)", [job, run.token])
    with pytest.raises(psycopg.errors.DatabaseError, match="nothing to retry"):
        value(admin, "select ingest_private.retry_job(%s)", job_of(admin, object_id))

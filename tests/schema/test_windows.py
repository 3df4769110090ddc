"""Windows that a run has read are kept for later runs, as long as one is possible."""

from collections.abc import Iterator

import pytest

from tests.schema import actors
from tests.schema.actors import Connection, Run, claimed, hash_of, heartbeat, job_of, rows, value
from tests.support.database import Database, as_client, delete_objects, put_object, watch_bucket

SHA256 = hash_of("the bytes")


@pytest.fixture
def worker(database: Database) -> Iterator[Connection]:
    watch_bucket(database)
    with database.connect("docmill_worker") as connection:
        heartbeat(connection)
        yield connection


def start(database: Database, worker: Connection, name: str = "alice/a.pdf") -> Run:
    """A run of a new document."""
    with database.connect() as admin:
        object_id = put_object(admin, name, owner="alice")
        return claimed(worker, job_of(admin, object_id))


def keep(worker: Connection, run: Run, number: int = 1, *, token: int | None = None) -> bool:
    return bool(
        value(
            worker,
            "select ingest_private.keep_window(%s, %s, %s, '4', %s, %s)",
            *(run.job_id, token or run.token, SHA256, number, f"window {number}".encode()),
        )
    )


def kept(worker: Connection, run: Run, *, version: str = "4") -> list[int]:
    query = "select number from ingest_private.kept_windows(%s, %s, %s) order by number"
    return [row["number"] for row in rows(worker, query, run.document_id, SHA256, version)]


def test_a_window_is_kept_once_and_found_by_bytes_and_rules(
    database: Database, worker: Connection
) -> None:
    run = start(database, worker)
    assert [keep(worker, run, number) for number in (2, 1, 2)] == [True] * 3
    assert kept(worker, run) == [1, 2]
    assert kept(worker, run, version="5") == []
    query = "select ingest_private.kept_window(%s, %s, '4', %s)"
    assert value(worker, query, run.document_id, SHA256, 2) == b"window 2"
    assert value(worker, query, run.document_id, hash_of("other bytes"), 2) is None


def test_who_has_lost_the_lease_keeps_nothing(database: Database, worker: Connection) -> None:
    run = start(database, worker)
    assert keep(worker, run, token=run.token + 1) is False
    assert kept(worker, run) == []


def test_what_is_published_needs_no_windows(database: Database, worker: Connection) -> None:
    run = start(database, worker)
    keep(worker, run)
    actors.stage(worker, run, ["one"])
    assert actors.publish(worker, run, ["one"]) == "published"
    assert kept(worker, run) == []


def test_windows_stay_while_another_job_may_read_them(
    database: Database, worker: Connection
) -> None:
    run = start(database, worker)
    keep(worker, run)
    with database.connect() as admin:
        admin.execute("select ingest_private.create_index_version('other', 256, '{}')")
        admin.execute(
            "select ingest_private.enqueue_job(%s, 2, 'reindex', 9::smallint, 1)",
            [run.document_id],
        )
    actors.stage(worker, run, ["one"])
    assert actors.publish(worker, run, ["one"]) == "published"
    assert kept(worker, run) == [1]


def test_windows_go_with_their_document(database: Database, worker: Connection) -> None:
    run = start(database, worker)
    keep(worker, run)
    with database.connect() as admin:
        delete_objects(admin, ["alice/a.pdf"])
        actors.drain_withdrawn(admin)
    assert kept(worker, run) == []


def test_old_windows_that_no_job_waits_for_are_pruned(
    database: Database, worker: Connection
) -> None:
    waiting, failed = start(database, worker), start(database, worker, "alice/b.pdf")
    for run in (waiting, failed):
        keep(worker, run)
    value(
        worker,
        "select ingest_private.fail_job(%s, %s, 'corrupt', null)",
        *(failed.job_id, failed.token),
    )
    prune = "select ingest_private.prune('30 days', %s::interval)"
    assert value(worker, prune, "1 hour") == 0
    assert value(worker, prune, "0 s") == 1
    assert (kept(worker, waiting), kept(worker, failed)) == ([1], [])


def test_owners_see_what_is_hidden_in_their_documents_and_what_is_not_read(
    database: Database, worker: Connection
) -> None:
    run = start(database, worker)
    actors.stage(worker, run, ["one"])
    result = actors.publish(
        *(worker, run, ["one"]),
        hidden_characters=7,
        unread_page_numbers=[3, 9],
        uncomputed_formulas=5,
    )
    assert result == "published"
    with as_client(database, {"sub": "alice"}, read_only=True) as client:
        (document,) = rows(client, "select * from ingest.documents")
    assert document["hidden_characters"] == 7
    assert document["uncomputed_formulas"] == 5
    assert document["unread_page_numbers"] == [3, 9]

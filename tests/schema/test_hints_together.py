"""Hints that are settled together have the same result as one by one."""

import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import errors as pg

from tests.schema.actors import Connection, locked_document, rows, value
from tests.support.database import Database, delete_objects, put_object, watch_bucket

Hint = tuple[UUID | None, str, str]
TOGETHER = "select ingest_private.sync_hints(%s::uuid[], %s, %s)"
ALONE = "select ingest_private.sync_object(%s, %s, %s)"


@pytest.fixture
def database(wiped: Database) -> Database:
    return wiped


@pytest.fixture
def hints(database: Database, admin: Connection) -> Iterator[list[Hint]]:
    """Changed objects without triggers, and good and bad hints for them."""
    watch_bucket(database, "other")
    known = {name: put_object(admin, name, owner="alice") for name in ("kept", "moved", "new name")}
    gone = put_object(admin, "gone", owner="alice")
    admin.execute("alter table storage.objects disable trigger user")
    fresh = put_object(admin, "fresh", owner="bob")
    named = put_object(admin, "by name only", owner="bob", bucket="other")
    admin.execute("update storage.objects set name = 'elsewhere' where id = %s", [known["moved"]])
    admin.execute(
        "update storage.objects set name = 'moved', version = 'v9' where id = %s",
        [known["new name"]],
    )
    delete_objects(admin, ["gone"])
    admin.execute("insert into storage.buckets (id, name) values ('unwatched', 'unwatched')")
    unwatched = put_object(admin, "x", owner="bob", bucket="unwatched")
    yield [
        (known["kept"], "docs", "kept"),
        (known["moved"], "docs", "moved"),
        (known["new name"], "docs", "new name"),
        (gone, "docs", "gone"),
        (fresh, "docs", "fresh"),
        (fresh, "docs", "fresh"),
        (None, "other", "by name only"),
        (uuid4(), "nowhere", "nothing"),
        (unwatched, "unwatched", "x"),
        (None, "docs", "kept"),
        (named, "docs", "a wrong name"),
    ]
    admin.execute("alter table storage.objects enable trigger user")


def together(worker: Connection, hints: Sequence[Hint]) -> list[UUID | None]:
    found: list[UUID | None] = value(worker, TOGETHER, *map(list, zip(*hints, strict=True)))
    return found


def alone(worker: Connection, hints: Sequence[Hint]) -> list[UUID | None]:
    return [value(worker, ALONE, *hint) for hint in hints]


def outcome(
    database: Database,
    hints: Sequence[Hint],
    sync: Callable[[Connection, Sequence[Hint]], list[UUID | None]],
) -> tuple[list[Any], list[Any]]:
    """The result of each hint, and the documents afterwards; rolled back."""
    with database.connect() as admin, admin.transaction(force_rollback=True):
        jobs = sync(admin, hints)
        names = {
            row["id"]: (row["object_name"], row["storage_version"], row["state"])
            for row in rows(admin, "select * from ingest.jobs")
        }
        documents = rows(
            admin,
            "select object_id, bucket_id, object_name, owner_id, storage_version, status"
            "  from ingest.documents order by object_id",
        )
        return [names.get(job_id) for job_id in jobs], documents


def test_each_has_the_job_that_it_would_have_alone(database: Database, hints: list[Hint]) -> None:
    jobs, documents = outcome(database, hints, together)
    assert (jobs, documents) == outcome(database, hints, alone)
    assert [job is not None for job in jobs] == [True] * 3 + [False] + [True] * 3 + [False] * 2 + [
        True
    ] * 2
    assert {row["object_name"] for row in documents} == {
        *("kept", "elsewhere", "moved", "fresh", "by name only"),
    }


def test_the_order_of_the_hints_does_not_matter(database: Database, hints: list[Hint]) -> None:
    jobs, documents = outcome(database, hints, together)
    assert outcome(database, hints[::-1], together) == (jobs[::-1], documents)


@pytest.mark.parametrize("seed", range(12))
def test_any_of_them_in_any_order_end_as_they_would_alone(
    database: Database, hints: list[Hint], seed: int
) -> None:
    chance = random.Random(seed)
    chosen = chance.choices(hints, k=chance.randint(2, 20))
    assert outcome(database, chosen, together) == outcome(database, chosen, alone)


def test_none_is_none(worker: Connection) -> None:
    assert value(worker, TOGETHER, [], [], []) is None


def test_a_document_in_use_holds_up_no_batch_for_long(
    database: Database, worker: Connection, hints: list[Hint]
) -> None:
    kept = hints[0][0]
    assert kept is not None
    with locked_document(database, kept), pytest.raises(pg.LockNotAvailable):
        together(worker, hints)
    assert len(together(worker, hints)) == len(hints)


def test_a_broken_batch_changes_nothing(database: Database, worker: Connection) -> None:
    with pytest.raises(psycopg.Error):
        worker.execute(TOGETHER, [[str(uuid4()), "no uuid"], ["docs"] * 2, ["a"] * 2])

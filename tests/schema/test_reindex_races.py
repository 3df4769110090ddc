"""Jobs and documents while another index version becomes active, or one is dropped."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from uuid import UUID

import psycopg
import pytest

from docmill.worker.admin import reindex
from docmill.worker.errors import RefusedError
from tests.schema.actors import (
    Background,
    Connection,
    Run,
    claim,
    claimed,
    document_of,
    ingest,
    job_of,
    jobs_for,
    locked_document,
    new_version,
    publish,
    rows,
    stage,
    upload,
    value,
    wait_until_blocked,
)
from tests.schema.test_reindex import FILL, OTHER, fill, found_by, queued_for
from tests.schema.test_state_machine import fail
from tests.support.database import Database, put_object, watch_bucket

RETRY = "select ingest_private.retry_job(%s)"
CANCEL = "select ingest_private.request_cancel(%s)"


@pytest.fixture
def admin(database: Database) -> Iterator[Connection]:
    watch_bucket(database)
    with database.connect() as connection:
        yield connection


@contextmanager
def flipped_meanwhile(admin: Connection, database: Database) -> Iterator[tuple[int, UUID]]:
    """An upload that began before another version became active, and committed after it."""
    building = new_version(admin)
    with database.connect() as uploader, uploader.transaction():
        object_id = put_object(uploader, "late.txt", owner="alice")
        flip = Background(lambda: reindex.activate(admin, building, anyway=True))
        assert flip()
    yield building, object_id


class TestActivation:
    def test_of_uploads_meanwhile_none_waits(self, admin: Connection, database: Database):
        building = new_version(admin)
        put_object(admin, "a.txt", owner="alice")
        with database.connect() as flipper, flipper.transaction():
            assert reindex.activate(flipper, building, anyway=True)
            object_id = put_object(admin, "b.txt", owner="alice")
            assert rows(admin, "select * from ingest_private.pending_events") == []
        value(admin, FILL, 9)
        assert queued_for(admin, 1) == []
        assert job_of(admin, object_id) in queued_for(admin, building)

    def test_sends_on_what_was_uploaded_meanwhile_when_it_is_claimed(
        self, admin: Connection, database: Database
    ):
        with flipped_meanwhile(admin, database) as (building, object_id):
            (late,) = queued_for(admin, 1)
            assert claim(admin, late) is None
            assert queued_for(admin, building) == [job_of(admin, object_id)]
            ingest(admin, object_id, ["one"])
            assert document_of(admin, object_id)["status"] == "ready"
            assert found_by(database, "one", OTHER) == ["one"]

    def test_sends_on_what_was_uploaded_meanwhile_though_nobody_claims_it(
        self, admin: Connection, database: Database
    ):
        with flipped_meanwhile(admin, database) as (building, object_id):
            value(admin, FILL, 9)
            assert queued_for(admin, 1) == []
            assert queued_for(admin, building) == [job_of(admin, object_id)]

    def test_does_not_wait_for_documents_in_use(self, admin: Connection, database: Database):
        building = new_version(admin)
        object_id = put_object(admin, "a.txt", owner="alice")
        run = claimed(admin, job_of(admin, object_id))
        stage(admin, run, ["one"])
        with locked_document(database, object_id):
            assert reindex.activate(admin, building, anyway=True)
        # The unseen run ends in its own version; the document continues in the right one.
        assert publish(admin, run, ["one"]) == "published"
        assert queued_for(admin, building) == [job_of(admin, object_id)]
        assert document_of(admin, object_id)["status"] == "pending"
        ingest(admin, object_id, ["one"])
        assert document_of(admin, object_id)["status"] == "ready"
        assert fill(admin, 1) == 0

    def test_a_job_that_was_asked_to_stop_stops(self, admin: Connection, database: Database):
        building = new_version(admin)
        object_id = put_object(admin, "a.txt", owner="alice")
        run = claimed(admin, job_of(admin, object_id))
        assert value(admin, CANCEL, run.job_id) == "running"
        assert reindex.activate(admin, building, anyway=True)
        assert queued_for(admin, building) == []
        document = document_of(admin, object_id)
        assert (document["status"], document["error_code"]) == ("failed", "cancelled")

    def test_fills_what_an_older_version_alone_has(self, admin: Connection, database: Database):
        object_id = upload(database, "a.txt", ["one"])
        for version in (new_version(admin, p_model="m3"), new_version(admin)):
            assert reindex.activate(admin, version, anyway=True)
        assert fill_all(admin) == 2
        assert found_by(database, "one", OTHER) == ["one"]
        assert document_of(admin, object_id)["status"] == "ready"

    def test_fills_what_no_version_has_any_more(self, admin: Connection, database: Database):
        upload(database, "a.txt", ["one"])
        building = new_version(admin)
        assert reindex.activate(admin, building, anyway=True)
        reindex.drop(admin, 1)
        assert value(admin, FILL, 9) == 1
        assert len(queued_for(admin, building)) == 1

    def test_the_former_version_keeps_what_it_has(self, admin: Connection, database: Database):
        upload(database, "a.txt", ["one"])
        building = new_version(admin)
        assert reindex.activate(admin, building, anyway=True)
        assert fill_all(admin) == 1
        assert [job["kind"] for job in jobs_for(admin, 1)] == ["ingest"]

    def test_two_at_once_leave_one_active(self, admin: Connection, database: Database):
        versions = [new_version(admin), new_version(admin, p_model="m3")]
        upload(database, "a.txt", ["one"])
        waits = put_object(admin, "waits.txt", owner="alice")

        def flip(version: int) -> bool:
            with database.connect() as own:
                return reindex.activate(own, version, anyway=True)

        flips = [Background(partial(flip, version)) for version in versions]
        assert [flip() for flip in flips] == [True, True]
        states = rows(admin, "select id, state from ingest.index_versions order by id")
        assert sorted(row["state"] for row in states) == ["active", "retired", "retired"]
        (active,) = [row["id"] for row in states if row["state"] == "active"]
        job = rows(admin, "select * from ingest.jobs where id = %s", job_of(admin, waits))[0]
        assert (job["index_version"], job["state"]) == (active, "queued")


def fill_all(admin: Connection) -> int:
    """Run all jobs until no version lacks anything; return their number. Each has one text."""
    done = 0
    while True:
        value(admin, FILL, 100)
        waiting = rows(admin, "select id from ingest.jobs where state = 'queued'")
        if not waiting:
            return done
        for row in waiting:
            run = claimed(admin, row["id"])
            stage(admin, run, ["one"])
            assert publish(admin, run, ["one"]) == "published"
            done += 1


class TestRetry:
    def failed(self, admin: Connection) -> Run:
        run = claimed(admin, job_of(admin, put_object(admin, "a.txt", owner="alice")))
        assert fail(admin, run, "corrupt", None)
        return run

    @pytest.mark.parametrize("is_dropped", [False, True])
    def test_of_what_failed_in_the_former_version_is_ingested_in_the_active_one(
        self, admin: Connection, database: Database, is_dropped: bool
    ):
        run = self.failed(admin)
        building = new_version(admin)
        assert reindex.activate(admin, building, anyway=False)
        if is_dropped:
            reindex.drop(admin, 1)
        again = value(admin, RETRY, run.job_id)
        assert queued_for(admin, building) == [again]
        assert value(admin, RETRY, run.job_id) == again
        (document,) = rows(admin, "select * from ingest.documents")
        assert (document["status"], document["latest_job_id"]) == ("pending", again)

    def test_of_a_job_of_a_dropped_version_is_refused(self, admin: Connection, database: Database):
        upload(database, "a.txt", ["one"])
        building = new_version(admin)
        value(admin, FILL, 9)
        run = claimed(admin, queued_for(admin, building)[0])
        assert fail(admin, run, "corrupt", None)
        reindex.drop(admin, building)
        with pytest.raises(psycopg.Error, match="index version of this job was dropped"):
            value(admin, RETRY, run.job_id)

    def test_of_what_succeeded_in_the_former_version_is_refused(
        self, admin: Connection, database: Database
    ):
        object_id = upload(database, "a.txt", ["one"])
        building = new_version(admin)
        fill(admin, building)
        assert reindex.activate(admin, building, anyway=False)
        with pytest.raises(psycopg.Error, match="nothing to retry"):
            value(admin, RETRY, job_of(admin, object_id))


class TestDropping:
    def test_ends_jobs_that_were_being_made(self, admin: Connection, database: Database):
        building = new_version(admin)
        run = claimed(admin, job_of(admin, put_object(admin, "a.txt", owner="alice")))
        stage(admin, run, ["one"])
        with database.connect() as publisher, database.connect() as dropper:
            with publisher.transaction():
                assert publish(publisher, run, ["one"]) == "published"
                drop = Background(lambda: reindex.drop(dropper, building))
                assert wait_until_blocked(admin, dropper.info.backend_pid, or_ended=drop)
            drop()
        assert [job["state"] for job in jobs_for(admin, building)] == ["superseded"]

    def test_a_job_of_a_dropped_version_is_ended_when_it_is_claimed(
        self, admin: Connection, database: Database
    ):
        upload(database, "a.txt", ["one"])
        building = new_version(admin)
        value(admin, FILL, 9)
        admin.execute("update ingest.index_versions set state = 'dropped' where id <> 1")
        (job_id,) = queued_for(admin, building)
        assert claim(admin, job_id) is None
        assert [job["state"] for job in jobs_for(admin, building)] == ["superseded"]

    def test_sends_on_what_was_to_be_ingested_there(self, admin: Connection, database: Database):
        with flipped_meanwhile(admin, database) as (building, object_id):
            reindex.drop(admin, 1)
            assert queued_for(admin, building) == [job_of(admin, object_id)]

    def test_of_another_version_finishes_what_a_crash_has_left(
        self, admin: Connection, database: Database
    ):
        broken, other = new_version(admin), new_version(admin, p_model="m3")
        interrupt_drop(admin, database, broken)
        third = new_version(admin, p_model="m4")
        reindex.drop(admin, other)
        reindex.drop(admin, broken)
        reindex.drop(admin, third)
        partitions = rows(
            admin,
            r"""select relname from pg_class
                 where relkind = 'r' and relname ~ '^(chunks|chunk_positions|sketches)_\d+$'
                 order by relname""",
        )
        assert [row["relname"] for row in partitions] == [
            "chunk_positions_1",
            "chunks_1",
            "sketches_1",
        ]

    def test_is_refused_while_a_document_is_in_use(self, admin: Connection, database: Database):
        object_id = upload(database, "a.txt", ["one"])
        building = new_version(admin)
        value(admin, FILL, 9)
        admin.execute("alter function ingest_private.retire_for_good set lock_timeout = '50ms'")
        with locked_document(database, object_id), pytest.raises(RefusedError, match="in use"):
            reindex.drop(admin, building)
        reindex.drop(admin, building)


def interrupt_drop(admin: Connection, database: Database, version: int) -> None:
    """End a drop's connection while an earlier search blocks the detaching."""
    with database.connect() as reader, database.connect() as dropper, reader.transaction():
        reader.execute("select from ingest.chunks")

        def attempt() -> None:
            with pytest.raises(psycopg.OperationalError):
                reindex.drop(dropper, version)

        drop = Background(attempt)
        pid = dropper.info.backend_pid
        assert wait_until_blocked(admin, pid, or_ended=drop)
        admin.execute("select pg_terminate_backend(%s)", [pid])
        drop()

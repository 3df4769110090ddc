"""Jobs and documents while another index version becomes active, or one is dropped."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
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
    heartbeat,
    ingest,
    job_of,
    jobs_for,
    locked_document,
    new_version,
    publish,
    rows,
    stage,
    stage_missing,
    take,
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


#: Flips in a row, and the threads that upload and publish meanwhile.
FLIPS = 12
PUBLISHERS = 3
READY_ELSEWHERE = """
    select count(*) from ingest.documents as document
     where document.status = 'ready' and ingest_private.lacks(
               (select id from ingest.index_versions where state = 'active'), document)
"""


class TestFlipsInARow:
    """While somebody uploads all the time: publishes are held until the rest is filled."""

    def test_lose_no_upload_and_leave_none_in_one_version_alone(
        self, admin: Connection, database: Database
    ):
        other = new_version(admin)
        heartbeat(admin, "w1", slots=PUBLISHERS)
        over = threading.Event()
        publishers = [
            Background(partial(keep_publishing, database, number, over))
            for number in range(PUBLISHERS)
        ]
        reader = Background(partial(keep_reading, database, over))
        flips = []
        for number in range(FLIPS):
            wait_for_documents(admin, more=PUBLISHERS)
            flips.append(reindex.activate_soon(admin, (other, 1)[number % 2], anyway=False))
        over.set()
        uploaded = [name for publisher in publishers for name in publisher()]
        elsewhere, looks = reader()
        assert elsewhere == 0
        assert looks > FLIPS
        assert len(uploaded) > FLIPS
        assert flips == [True] * FLIPS
        while work_once(admin):
            value(admin, FILL, 100)
        for version in (1, other):
            found = rows(
                admin,
                """select document.object_name as name, document.status,
                          array_agg(chunk.content) as texts
                     from ingest.documents as document
                          left join ingest.chunks as chunk
                            on chunk.document_id = document.id and chunk.index_version = %s
                    group by document.id""",
                version,
            )
            assert {row["name"]: row["texts"] for row in found} == {
                name: [name] for name in uploaded
            }
            assert {row["status"] for row in found} == {"ready"}
        assert rows(admin, "select * from ingest_private.version_failures") == []

    def test_what_is_held_is_told_and_goes_on(self, admin: Connection, database: Database):
        upload(database, "a.txt", ["one"])
        object_id = put_object(admin, "b.txt", owner="alice")
        job_id = job_of(admin, object_id)
        run = claimed(admin, job_id)
        stage(admin, run, ["two"])
        later = put_object(admin, "c.txt", owner="alice")
        admin.execute("select ingest_private.begin_activating('1 hour')")
        assert publish(admin, run, ["two"]) == "lost"
        assert claim(admin, job_of(admin, later)) is None
        for held in (job_id, job_of(admin, later)):
            (job,) = rows(admin, "select * from ingest.jobs where id = %s", held)
            assert (job["state"], job["hold_reason"]) == ("queued", "activating")
            (said,) = rows(admin, "select * from ingest_private.explain_job(%s)", held)
            assert (said["situation"], said["hold_reason"]) == ("held", "activating")
        until = value(admin, "select ingest_private.activating_until(1) - clock_timestamp()")
        assert until <= timedelta(seconds=30)
        assert value(admin, "select failures from ingest_private.job_queue limit 1") == 0
        # What fills the other version is not held.
        building = new_version(admin)
        assert fill(admin, building) == 1
        # Nor is a file that is read again: the new version lacks nothing for it.
        again = job_of(admin, put_object(admin, "d.txt", owner="alice"))
        admin.execute("update ingest.jobs set kind = 'reindex' where id = %s", [again])
        assert claim(admin, again) is not None
        admin.execute("select ingest_private.end_activating()")
        run = claimed(admin, job_id)
        assert publish(admin, run, ["two"]) == "published"
        ingest(admin, later, ["three"])

    def test_a_hold_whose_command_died_ends_by_itself(self, admin: Connection, database: Database):
        object_id = put_object(admin, "b.txt", owner="alice")
        admin.execute("select ingest_private.begin_activating('1 hour')")
        assert claim(admin, job_of(admin, object_id)) is None
        # Half a minute later.
        admin.execute(
            """update ingest_private.settings
                  set value = jsonb_set(value, '{until}', to_jsonb(clock_timestamp()))
                where name = 'activating'"""
        )
        admin.execute("update ingest_private.job_queue set due_at = due_at - interval '30 s'")
        heartbeat(admin, "w1", slots=1)
        assert take(admin) == [job_of(admin, object_id)]
        ingest(admin, object_id, ["one"])
        assert document_of(admin, object_id)["status"] == "ready"

    @pytest.mark.parametrize("reason", ["no worker", "failed", "paused", "too many"])
    def test_nobody_is_held_where_waiting_would_not_help(
        self, admin: Connection, database: Database, reason: str, monkeypatch: pytest.MonkeyPatch
    ):
        upload(database, "a.txt", ["one"])
        building = new_version(admin)
        if reason != "no worker":
            heartbeat(admin, "w1", slots=1)
        if reason == "failed":
            value(admin, FILL, 9)
            fail(admin, claimed(admin, queued_for(admin, building)[0]), "corrupt", retry_in=None)
        if reason == "paused":
            reindex.pause(admin, building, is_paused=True)
        if reason == "too many":
            monkeypatch.setattr(reindex, "HOLD_FOR_DOCUMENTS", 0)
        monkeypatch.setattr(reindex, "BEGIN_HOLD", "select 1 / 0")
        assert not reindex.activate_soon(admin, building, anyway=False)


def keep_publishing(database: Database, number: int, over: threading.Event) -> list[str]:
    """Upload a file when the last one is ready, and do any job; returns the names of the files."""
    names: list[str] = []
    is_ready = "select status = 'ready' from ingest.documents where object_name = %s"
    with database.connect() as connection:
        while not over.is_set():
            names.append(f"{number}-{len(names)}.txt")
            put_object(connection, names[-1], owner="alice")
            while not over.is_set() and not value(connection, is_ready, names[-1]):
                value(connection, FILL, 10)
                work_once(connection)
    return names


def wait_for_documents(admin: Connection, *, more: int) -> None:
    """Return as soon as there are so many more."""
    count = "select count(*) from ingest.documents"
    wanted = value(admin, count) + more
    while value(admin, count) < wanted:
        admin.execute("select pg_sleep(0.01)")


def work_once(connection: Connection) -> int:
    """Run the jobs that are queued now; returns how many there were. Each file holds its name."""
    waiting = rows(
        connection,
        """select id, object_name from ingest.jobs where state = 'queued' and hold_reason is null
            order by created_at limit 10""",
    )
    for job in waiting:
        run = claim(connection, job["id"])
        if run is not None:
            stage_missing(connection, run, [job["object_name"]])
            assert publish(connection, run, [job["object_name"]]) in {"published", "lost"}
    return len(waiting)


def keep_reading(database: Database, over: threading.Event) -> tuple[int, int]:
    """How many ready documents the active version lacked, of all looks; and how many looks."""
    elsewhere = looks = 0
    with database.connect() as connection:
        while not over.is_set():
            elsewhere += int(value(connection, READY_ELSEWHERE))
            looks += 1
    return elsewhere, looks


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

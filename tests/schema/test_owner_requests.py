"""Requests of owners: cancel, retry, explain."""

from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest
from psycopg import errors as pg
from psycopg.errors import DatabaseError

from tests.schema.actors import (
    Background,
    Connection,
    Row,
    claim,
    claimed,
    document_of,
    heartbeat,
    ingest,
    job_of,
    publish,
    rows,
    stage,
    take,
    value,
    wait_until_blocked,
)
from tests.support.database import Database, as_client, delete_objects, put_object


@pytest.fixture
def object_id(admin: Connection) -> UUID:
    return put_object(admin, "a.txt", owner="alice")


@pytest.fixture
def job_id(admin: Connection, object_id: UUID) -> UUID:
    return job_of(admin, object_id)


def job(connection: Connection, job_id: UUID) -> Row:
    return rows(connection, "select * from ingest.jobs where id = %s", job_id)[0]


def call(wiped: Database, function: str, job_id: UUID, sub: str = "alice") -> Any:
    """A request by its owner through the Data API."""
    with as_client(wiped, {"sub": sub}) as client:
        return value(client, f"select ingest.{function}(%s)", job_id)


def cancel(wiped: Database, job_id: UUID, sub: str = "alice") -> str:
    return str(call(wiped, "cancel_job", job_id, sub))


def retry(wiped: Database, job_id: UUID, sub: str = "alice") -> UUID:
    return UUID(str(call(wiped, "retry_job", job_id, sub)))


def explain(wiped: Database, job_id: UUID, sub: str = "alice") -> Row:
    with as_client(wiped, {"sub": sub}, read_only=True) as client:
        found = rows(client, "select * from ingest.explain_job(%s)", job_id)
    assert len(found) == 1
    return found[0]


def fail(
    worker: Connection, job_id: UUID, code: str = "corrupt", retry_in: str | None = None
) -> None:
    run = claimed(worker, job_id)
    assert value(
        worker,
        "select ingest_private.fail_job(%s, %s, %s, %s)",
        *(run.job_id, run.token, code, retry_in),
    )


def release(worker: Connection, job_id: UUID, code: str, hold: str | None, retry_in: str) -> None:
    run = claimed(worker, job_id)
    assert value(
        worker,
        "select ingest_private.release_job(%s, %s, %s, %s, %s)",
        *(run.job_id, run.token, code, hold, retry_in),
    )


class TestWhose:
    @pytest.mark.parametrize("function", ["cancel_job", "retry_job", "explain_job"])
    def test_a_strangers_job_and_one_that_is_not_there_look_the_same(
        self, wiped: Database, job_id: UUID, function: str
    ):
        said = []
        for wanted, sub in ((job_id, "mallory"), (uuid4(), "alice")):
            with pytest.raises(DatabaseError) as raised:
                call(wiped, function, wanted, sub)
            said.append((raised.value.sqlstate, raised.value.diag.message_primary))
        assert said == [("PT404", "there is no such job")] * 2

    @pytest.mark.parametrize("function", ["cancel_job", "retry_job", "explain_job"])
    def test_a_request_without_a_token_is_refused(
        self, wiped: Database, job_id: UUID, function: str
    ):
        with as_client(wiped, None) as client, pytest.raises(pg.InsufficientPrivilege):
            client.execute(f"select ingest.{function}(%s)".encode(), [job_id])

    def test_the_projects_secret_key_may_ask_for_any(self, wiped: Database, job_id: UUID):
        with as_client(wiped, {"role": "service_role"}) as client:
            assert value(client, "select ingest.cancel_job(%s)", job_id) == "cancelled"

    @pytest.mark.parametrize("sub", [None, "", "null"])
    def test_a_job_without_owner_is_nobodys(
        self, wiped: Database, admin: Connection, sub: str | None
    ):
        job_id = job_of(admin, put_object(admin, "b.txt", owner=None))
        with (
            as_client(wiped, {"sub": sub, "role": "authenticated"}) as client,
            pytest.raises(DatabaseError, match="no such job"),
        ):
            client.execute("select ingest.cancel_job(%s)", [job_id])


class TestCancel:
    def test_a_queued_job_is_cancelled_at_once_and_never_claimed(
        self, wiped: Database, admin: Connection, worker: Connection, job_id: UUID, object_id: UUID
    ):
        assert cancel(wiped, job_id) == "cancelled"
        assert claim(worker, job_id) is None
        heartbeat(worker)
        assert take(worker) == []
        document = document_of(admin, object_id)
        assert (document["status"], document["error_code"], document["searchable"]) == (
            *("failed", "cancelled"),
            False,
        )

    def test_a_running_job_is_marked_and_its_worker_ends_it(
        self, wiped: Database, admin: Connection, worker: Connection, job_id: UUID, object_id: UUID
    ):
        run = claimed(worker, job_id)
        assert cancel(wiped, job_id) == "running"
        flags = rows(
            worker, "select * from ingest_private.stop_flags(%s, %s)", [job_id], [run.token]
        )
        assert [flag["reason"] for flag in flags] == ["cancelled"]
        assert value(worker, "select ingest_private.cancel_run(%s, %s)", job_id, run.token)
        assert job(admin, job_id)["state"] == "cancelled"
        assert document_of(admin, object_id)["error_code"] == "cancelled"

    @pytest.mark.parametrize(
        "statement",
        [
            "select ingest_private.release_job(%s, %s, 'rate_limited', 'rate_limited', '1 min')",
            "select ingest_private.fail_job(%s, %s, 'internal_error', '1 min')",
        ],
        ids=["released", "retried"],
    )
    def test_a_run_that_gives_its_job_back_meanwhile_ends_it_as_well(
        self, wiped: Database, admin: Connection, worker: Connection, job_id: UUID, statement: str
    ):
        run = claimed(worker, job_id)
        cancel(wiped, job_id)
        assert value(worker, statement, job_id, run.token)
        assert job(admin, job_id)["state"] == "cancelled"

    def test_a_worker_that_died_meanwhile_ends_it_as_well(
        self, wiped: Database, admin: Connection, worker: Connection, job_id: UUID
    ):
        claimed(worker, job_id)
        cancel(wiped, job_id)
        admin.execute("update ingest_private.leases set expires_at = clock_timestamp()")
        assert value(worker, "select ingest_private.rescue_jobs()") == 1
        assert job(admin, job_id)["state"] == "cancelled"

    def test_a_publish_that_comes_after_it_changes_nothing(
        self, wiped: Database, admin: Connection, worker: Connection, job_id: UUID, object_id: UUID
    ):
        run = claimed(worker, job_id)
        stage(worker, run, ["one", "two"])
        cancel(wiped, job_id)
        assert publish(worker, run, ["one", "two"]) == "cancelled"
        assert not document_of(admin, object_id)["searchable"]
        assert value(admin, "select count(*) from ingest.chunks") == 0
        # Paid embeddings are kept for a retry.
        assert value(admin, "select count(*) from ingest_private.staged_chunks") == 2

    def test_an_older_version_stays_searchable(
        self, wiped: Database, admin: Connection, worker: Connection, object_id: UUID
    ):
        ingest(worker, object_id, ["one"])
        put_object(admin, "a.txt", owner="alice")
        assert cancel(wiped, job_of(admin, object_id)) == "cancelled"
        document = document_of(admin, object_id)
        assert (document["status"], document["searchable"]) == ("failed", True)

    def test_a_finished_job_stays_as_it_is(
        self, wiped: Database, admin: Connection, worker: Connection, object_id: UUID
    ):
        job_id = job_of(admin, object_id)
        ingest(worker, object_id, ["one"])
        assert cancel(wiped, job_id) == "succeeded"
        assert document_of(admin, object_id)["status"] == "ready"

    def test_a_claim_that_holds_the_job_is_waited_for_and_then_marked(
        self, wiped: Database, admin: Connection, worker: Connection, job_id: UUID
    ):
        with wiped.connect() as client:
            with worker.transaction():
                claimed(worker, job_id)
                asking = Background(
                    lambda: value(client, "select ingest_private.request_cancel(%s)", job_id)
                )
                assert wait_until_blocked(admin, client.info.backend_pid)
            assert asking() == "running"
        assert job(admin, job_id)["cancel_requested"]


class TestRetry:
    def test_a_failed_job_gets_a_new_row_and_stays_as_it_is(
        self, wiped: Database, admin: Connection, worker: Connection, job_id: UUID, object_id: UUID
    ):
        fail(worker, job_id, "unsupported_type")
        new_id = retry(wiped, job_id)
        assert new_id != job_id
        assert job(admin, job_id)["state"] == "failed"
        assert job(admin, new_id)["state"] == "queued"
        document = document_of(admin, object_id)
        assert (document["latest_job_id"], document["status"], document["error_code"]) == (
            *(new_id, "pending"),
            None,
        )
        ingest(worker, object_id, ["one"])
        assert document_of(admin, object_id)["status"] == "ready"

    def test_a_cancelled_job_continues_from_what_was_staged(
        self, wiped: Database, worker: Connection, job_id: UUID, object_id: UUID
    ):
        run = claimed(worker, job_id)
        stage(worker, run, ["one"])
        cancel(wiped, job_id)
        value(worker, "select ingest_private.cancel_run(%s, %s)", job_id, run.token)
        again = claimed(worker, retry(wiped, job_id))
        known = rows(
            worker,
            "select * from ingest_private.known_hashes(%s, %s)",
            *(again.document_id, again.index_version),
        )
        assert len(known) == 1

    def test_asked_twice_it_is_one_new_job(
        self, wiped: Database, admin: Connection, worker: Connection, job_id: UUID
    ):
        fail(worker, job_id)
        assert retry(wiped, job_id) == retry(wiped, job_id)
        assert value(admin, "select count(*) from ingest.jobs") == 2

    def test_a_job_that_is_under_way_is_its_own_answer(self, wiped: Database, job_id: UUID):
        assert retry(wiped, job_id) == job_id

    def test_an_old_job_brings_the_version_that_storage_holds_now(
        self, wiped: Database, admin: Connection, worker: Connection, job_id: UUID, object_id: UUID
    ):
        fail(worker, job_id)
        put_object(admin, "a.txt", owner="alice")
        fail(worker, job_of(admin, object_id))
        new = job(admin, retry(wiped, job_id))
        assert new["storage_version"] == document_of(admin, object_id)["storage_version"]

    def test_a_former_owner_starts_nothing_any_more(
        self, wiped: Database, admin: Connection, worker: Connection, job_id: UUID, object_id: UUID
    ):
        fail(worker, job_id)
        put_object(admin, "a.txt", owner="bob")
        new_id = job_of(admin, object_id)
        cancel(wiped, new_id, "bob")
        with pytest.raises(DatabaseError, match="is gone") as raised:
            retry(wiped, job_id)
        assert raised.value.sqlstate == "PT409"
        assert document_of(admin, object_id)["error_code"] == "cancelled"
        assert retry(wiped, new_id, "bob") != new_id

    @pytest.mark.parametrize(
        ("prepare", "says"),
        [
            (lambda admin, worker, object_id: ingest(worker, object_id, ["one"]), "nothing to"),
            (lambda admin, worker, object_id: delete_objects(admin, ["a.txt"]), "is gone"),
        ],
        ids=["searchable", "deleted"],
    )
    def test_where_there_is_nothing_to_retry_the_reason_is_said(
        self,
        wiped: Database,
        admin: Connection,
        worker: Connection,
        job_id: UUID,
        object_id: UUID,
        prepare: Callable[[Connection, Connection, UUID], Any],
        says: str,
    ):
        prepare(admin, worker, object_id)
        with pytest.raises(DatabaseError, match=says) as raised:
            retry(wiped, job_id)
        assert raised.value.sqlstate == "PT409"
        assert raised.value.diag.message_hint

    def test_of_a_version_that_is_being_filled_leaves_the_documents_status_alone(
        self, wiped: Database, admin: Connection, worker: Connection, object_id: UUID
    ):
        with wiped.connect("postgres") as owner, owner.transaction(force_rollback=True):
            owner.execute("select ingest_private.create_index_version('m2', 256, '{}')")
            ingest(owner, put_object(owner, "b.txt", owner="alice"), ["one"])
            [other] = rows(
                owner, "select * from ingest.jobs where index_version > 1 and object_name = 'b.txt'"
            )
            fail(owner, other["id"])
            before = rows(owner, "select * from ingest.documents where object_name = 'b.txt'")
            value(owner, "select ingest_private.retry_job(%s)", other["id"])
            after = rows(owner, "select * from ingest.documents where object_name = 'b.txt'")
        assert before == after


class TestExplain:
    def test_waiting_without_a_worker(self, wiped: Database, job_id: UUID):
        found = explain(wiped, job_id)
        assert (found["situation"], found["live_workers"], found["jobs_before"]) == (
            *("waiting", 0),
            0,
        )
        assert found["explanation"] == "No worker is running."

    def test_waiting_behind_others(self, wiped: Database, admin: Connection, worker: Connection):
        heartbeat(worker, slots=1)
        heartbeat(worker, "w2", draining=True)
        heartbeat(worker, "w3", isolated=True)
        names = [f"{number}.txt" for number in range(4)]
        last = [job_of(admin, put_object(admin, name, owner="alice")) for name in names][-1]
        found = explain(wiped, last)
        assert (found["situation"], found["jobs_before"], found["live_workers"]) == (
            *("waiting", 3),
            1,
        )
        assert found["explanation"] == "3 job(s) are before it."
        take(worker)
        assert explain(wiped, last)["jobs_before"] == 2

    def test_about_to_begin(self, wiped: Database, worker: Connection, job_id: UUID):
        heartbeat(worker)
        assert take(worker) == [job_id]
        assert explain(wiped, job_id)["explanation"] == "It is about to begin."

    def test_a_worker_whose_lease_ran_out_is_not_counted(
        self, wiped: Database, admin: Connection, worker: Connection, job_id: UUID
    ):
        heartbeat(worker)
        admin.execute("update ingest_private.workers set expires_at = now() - interval '1 s'")
        assert explain(wiped, job_id)["live_workers"] == 0

    def test_waiting_to_run_alone(
        self, wiped: Database, admin: Connection, worker: Connection, job_id: UUID
    ):
        heartbeat(worker)
        claimed(worker, job_id)
        admin.execute("update ingest_private.leases set expires_at = clock_timestamp()")
        value(worker, "select ingest_private.rescue_jobs()")
        assert "runs alone" in explain(wiped, job_id)["explanation"]

    def test_held(self, wiped: Database, worker: Connection, job_id: UUID):
        release(worker, job_id, "rate_limited", "rate_limited", "10 minutes")
        found = explain(wiped, job_id)
        assert (found["situation"], found["hold_reason"]) == ("held", "rate_limited")
        assert found["next_attempt_at"] is not None
        assert found["explanation"].startswith("It is held (rate_limited) until ")
        assert found["remedy"] in found["explanation"]

    def test_retrying(self, wiped: Database, worker: Connection, job_id: UUID):
        fail(worker, job_id, "internal_error", "1 minute")
        found = explain(wiped, job_id)
        assert (found["situation"], found["error_code"]) == ("retrying", "internal_error")
        assert found["next_attempt_at"] is not None
        assert "attempt 2 of 5" in found["explanation"]

    def test_a_report_does_not_wait_for_the_disk(self, worker: Connection, job_id: UUID):
        run = claimed(worker, job_id)
        report = "select ingest_private.report_progress(%s, %s, %s, %s, %s, %s, %s, %s)"
        with worker.transaction():
            worker.execute("set local synchronous_commit = on")
            worker.execute(report, [job_id, run.token, "extracting", 10, 5, None, None, None])
            assert value(worker, "show synchronous_commit") == "off"

    def test_working(self, wiped: Database, admin: Connection, worker: Connection, job_id: UUID):
        run = claimed(worker, job_id)
        assert explain(wiped, job_id)["progress"] == 0
        report = "select ingest_private.report_progress(%s, %s, %s, %s, %s, %s, %s, %s)"
        admin.execute(
            "update ingest_private.attempts set started_at = clock_timestamp() - interval '10 s'"
        )
        worker.execute(report, [job_id, run.token, "extracting", 10, 5, None, None, None])
        reading = explain(wiped, job_id)
        assert (reading["situation"], reading["stage"], reading["progress"]) == (
            *("working", "extracting"),
            0.25,
        )
        assert reading["per_second"] == pytest.approx(0.5, rel=0.2)
        worker.execute(report, [job_id, run.token, "embedding", 10, 10, 40, 15, 5])
        embedding = explain(wiped, job_id)
        assert embedding["progress"] == pytest.approx(0.725)
        assert embedding["per_second"] == pytest.approx(2, rel=0.2)
        assert embedding["seconds_left"] == pytest.approx(10, rel=0.2)
        assert "73 % done, about 1" in embedding["explanation"]
        cancel(wiped, job_id)
        assert "asked to stop" in explain(wiped, job_id)["explanation"]

    def test_parked(self, wiped: Database, worker: Connection, job_id: UUID):
        fail(worker, job_id, "encrypted")
        found = explain(wiped, job_id)
        assert (found["situation"], found["error_code"]) == ("failed", "encrypted")
        assert found["explanation"] == f"{found['error_message']} {found['remedy']}"

    @pytest.mark.parametrize("state", ["done", "cancelled", "superseded"])
    def test_ended(
        self,
        wiped: Database,
        admin: Connection,
        worker: Connection,
        object_id: UUID,
        job_id: UUID,
        state: str,
    ):
        if state == "done":
            ingest(worker, object_id, ["one"])
        elif state == "cancelled":
            cancel(wiped, job_id)
        else:
            put_object(admin, "a.txt", owner="alice")
        found = explain(wiped, job_id)
        assert found["situation"] == state
        assert found["explanation"].endswith(".")

    def test_counts_no_further_than_a_thousand(
        self, wiped: Database, admin: Connection, worker: Connection
    ):
        heartbeat(worker)
        admin.execute(
            """insert into storage.objects (bucket_id, name, version, owner_id)
               select 'docs', n::text, 'v' || n, 'alice' from generate_series(1, 1100) as n"""
        )
        last = value(
            admin,
            "select job_id from ingest_private.job_queue order by rank desc limit 1",
        )
        found = explain(wiped, last)
        assert found["jobs_before"] == 1000
        assert found["explanation"] == "1000 jobs or more are before it."

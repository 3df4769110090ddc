"""The life of a job: claim, lease, fence, fail, release, cancel, rescue."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest
from psycopg import errors as pg

from tests.schema.actors import (
    Background,
    Connection,
    Row,
    Run,
    claim,
    claimed,
    document_of,
    drain_withdrawn,
    hash_of,
    heartbeat,
    job_of,
    publish,
    rows,
    stage,
    take,
    text_of,
    upload,
    value,
    wait_until_blocked,
)
from tests.support.database import Database, delete_objects, put_object
from tests.support.hold_table import hold_reasons
from tests.support.installation import until

#: All rows about jobs, in a fixed order, without times.
STATE = {
    "documents": "select to_jsonb(t) - 'updated_at' as row from ingest.documents as t",
    "jobs": "select to_jsonb(t) - 'updated_at' as row from ingest.jobs as t",
    "usage": "select to_jsonb(t) as row from ingest.usage as t",
    "chunks": "select to_jsonb(t) as row from ingest.chunks as t",
    "positions": "select to_jsonb(t) as row from ingest.chunk_positions as t",
    "queue": "select to_jsonb(t) as row from ingest_private.job_queue as t",
    "leases": "select to_jsonb(t) as row from ingest_private.leases as t",
    "attempts": "select to_jsonb(t) as row from ingest_private.attempts as t",
    "staged": "select to_jsonb(t) as row from ingest_private.staged_chunks as t",
    "published": "select to_jsonb(t) as row from ingest_private.published_versions as t",
}


def state(connection: Connection) -> dict[str, list[Row]]:
    return {name: rows(connection, query + " order by 1") for name, query in STATE.items()}


@pytest.fixture
def database(wiped: Database) -> Database:
    return wiped


@pytest.fixture
def other(database: Database) -> Iterator[Connection]:
    """A second connection of a worker."""
    with database.connect("docmill_worker") as connection:
        yield connection


@pytest.fixture
def object_id(admin: Connection) -> UUID:
    return put_object(admin, "a.txt", owner="alice")


@pytest.fixture
def job_id(admin: Connection, object_id: UUID) -> UUID:
    return job_of(admin, object_id)


def job(connection: Connection, job_id: UUID) -> Row:
    return rows(connection, "select * from ingest.jobs where id = %s", job_id)[0]


def entry(connection: Connection, job_id: UUID) -> Row:
    return rows(connection, "select * from ingest_private.job_queue where job_id = %s", job_id)[0]


def sessions(connection: Connection, pid: int, condition: str = "true") -> int:
    """How many sessions have this pid and meet the condition: one or none."""
    query = f"select count(*)::integer from pg_stat_activity where pid = %s and {condition}"
    found: int = value(connection, query, pid)
    return found


def expire_leases(connection: Connection) -> None:
    # It expired a moment ago: leases that expired before Postgres started are spared at first.
    connection.execute("update ingest_private.leases set expires_at = clock_timestamp()")


def rescue(connection: Connection) -> int:
    rescued: int = value(connection, "select ingest_private.rescue_jobs()")
    return rescued


def fail(
    connection: Connection, run: Run, code: str = "internal_error", retry_in: str | None = "0"
) -> bool:
    done: bool = value(
        connection,
        "select ingest_private.fail_job(%s, %s, %s, %s)",
        *(run.job_id, run.token, code, retry_in),
    )
    return done


def release(
    connection: Connection,
    run: Run,
    *,
    code: str | None = "rate_limited",
    hold: str | None = None,
    retry_in: str = "0",
) -> bool:
    done: bool = value(
        connection,
        "select ingest_private.release_job(%s, %s, %s, %s, %s)",
        *(run.job_id, run.token, code, hold, retry_in),
    )
    return done


def cancel(connection: Connection, run: Run) -> bool:
    done: bool = value(
        connection, "select ingest_private.cancel_run(%s, %s)", run.job_id, run.token
    )
    return done


def progress(connection: Connection, run: Run, stage_name: str = "embedding") -> bool:
    done: bool = value(
        connection,
        "select ingest_private.report_progress(%s, %s, %s, 10, 3, 7, 2, 1)",
        *(run.job_id, run.token, stage_name),
    )
    return done


def publish_unchanged(connection: Connection, run: Run, content: bytes = b"one") -> str:
    result: str = value(
        connection,
        "select ingest_private.publish_unchanged(%s, %s, %s, '1')",
        *(run.job_id, run.token, hash_of(content.decode())),
    )
    return result


class TestClaim:
    def test_takes_a_queued_job_and_leases_it(
        self, admin: Connection, worker: Connection, object_id: UUID, job_id: UUID
    ):
        run = claimed(worker, job_id)
        after = job(admin, job_id)
        assert (after["state"], after["stage"], after["attempt"]) == ("running", "downloading", 1)
        assert after["started_at"] is not None
        assert document_of(admin, object_id)["status"] == "processing"
        assert entry(admin, job_id)["phase"] == "running"
        [lease] = rows(admin, "select *, expires_at - now() as left from ingest_private.leases")
        assert (lease["job_id"], lease["token"], lease["worker_id"]) == (job_id, run.token, "w1")
        assert 50 < lease["left"].total_seconds() <= 60
        [attempt] = rows(admin, "select * from ingest_private.attempts")
        assert (attempt["token"], attempt["outcome"]) == (run.token, None)

    def test_says_what_the_worker_needs_to_know(
        self, worker: Connection, object_id: UUID, job_id: UUID
    ):
        [row] = rows(
            worker, "select * from ingest_private.claim_job(%s, 'w', false, '1 min')", job_id
        )
        assert row["object_id"] == object_id
        assert (row["bucket_id"], row["object_name"], row["owner_id"]) == (
            "docs",
            "a.txt",
            "alice",
        )
        assert (row["size_bytes"], row["max_bytes"], row["kind"]) == (10, None, "ingest")
        assert (row["index_version"], row["dimensions"]) == (1, 256)
        assert row["published_sha256"] is None

    def test_of_a_claimed_job_gets_nothing(self, worker: Connection, job_id: UUID):
        assert claim(worker, job_id) is not None
        assert claim(worker, job_id) is None
        assert claim(worker, job_id, worker="w2") is None

    def test_of_two_at_once_one_gets_the_job(
        self, admin: Connection, worker: Connection, other: Connection, job_id: UUID
    ):
        with worker.transaction():
            assert claim(worker, job_id) is not None
            second = Background(lambda: claim(other, job_id))
            wait_until_blocked(admin, other.info.backend_pid)
        assert second() is None

    def test_waits_for_its_time(self, admin: Connection, worker: Connection, job_id: UUID):
        assert release(worker, claimed(worker, job_id), retry_in="1 hour")
        assert claim(worker, job_id) is None
        admin.execute("update ingest_private.job_queue set due_at = now()")
        assert claim(worker, job_id) is not None

    def test_takes_a_job_whose_hint_was_sent(self, worker: Connection, job_id: UUID):
        heartbeat(worker)
        assert take(worker) == [job_id]
        assert claim(worker, job_id) is not None

    def test_of_a_job_that_must_run_alone_is_for_the_isolated_worker(
        self, admin: Connection, worker: Connection, job_id: UUID
    ):
        admin.execute("update ingest_private.job_queue set isolated = true")
        assert claim(worker, job_id) is None
        assert claim(worker, job_id, isolated=True) is not None

    def test_of_an_ordinary_job_is_not_for_the_isolated_worker(
        self, worker: Connection, job_id: UUID
    ):
        assert claim(worker, job_id, isolated=True) is None

    def test_of_a_job_that_is_unknown_or_superseded_gets_nothing(
        self, admin: Connection, worker: Connection, job_id: UUID
    ):
        assert claim(worker, uuid4()) is None
        put_object(admin, "a.txt")
        assert claim(worker, job_id) is None

    def test_tokens_only_ever_grow(self, worker: Connection, job_id: UUID):
        tokens = []
        for _ in range(4):
            run = claimed(worker, job_id)
            tokens.append(run.token)
            assert release(worker, run)
        assert tokens == sorted(set(tokens))

    def test_starts_the_counters_anew(self, admin: Connection, worker: Connection, job_id: UUID):
        run = claimed(worker, job_id)
        assert progress(worker, run)
        assert release(worker, run)
        claimed(worker, job_id)
        after = job(admin, job_id)
        assert (after["pages_total"], after["pages_done"]) == (None, 0)
        assert (after["chunks_total"], after["chunks_embedded"], after["chunks_reused"]) == (
            *(None, 0),
            0,
        )

    def test_of_a_job_whose_document_was_deleted_by_hand_ends_it(
        self, admin: Connection, worker: Connection, job_id: UUID
    ):
        admin.execute("delete from ingest.documents")
        assert claim(worker, job_id) is None
        assert job(admin, job_id)["state"] == "superseded"
        assert state(admin)["queue"] == []


#: Every function by which a run writes, and its answer to a run that has lost its lease.
FENCED: dict[str, tuple[Callable[[Connection, Run], Any], Any]] = {
    "report_progress": (progress, False),
    "begin_stage": (lambda connection, run: stage(connection, run, ["two"]), False),
    "publish_document": (lambda connection, run: publish(connection, run, ["one"]), "lost"),
    "publish_unchanged": (publish_unchanged, "lost"),
    "fail_job": (fail, False),
    "fail_job for good": (lambda c, run: fail(c, run, "corrupt", None), False),
    "release_job": (release, False),
    "cancel_run": (cancel, False),
}


class TestFencing:
    @pytest.fixture
    def run(self, worker: Connection, job_id: UUID) -> Run:
        """A run that has staged the chunks to publish."""
        run = claimed(worker, job_id)
        assert stage(worker, run, ["one"])
        return run

    @pytest.mark.parametrize("name", FENCED)
    def test_a_wrong_token_changes_nothing_and_is_told(
        self, admin: Connection, worker: Connection, run: Run, name: str
    ):
        write, refusal = FENCED[name]
        before = state(admin)
        for token in (run.token - 1, run.token + 1, 0, -1):
            assert write(worker, replace(run, token=token)) == refusal
        assert write(worker, replace(run, job_id=uuid4())) == refusal
        assert state(admin) == before

    @pytest.mark.parametrize("name", FENCED)
    def test_a_run_that_was_rescued_changes_nothing_and_is_told(
        self, admin: Connection, worker: Connection, run: Run, name: str
    ):
        write, refusal = FENCED[name]
        expire_leases(admin)
        assert rescue(worker) == 1
        before = state(admin)
        assert write(worker, run) == refusal
        assert state(admin) == before

    @pytest.mark.parametrize("name", FENCED)
    def test_a_run_whose_job_another_has_taken_over_changes_nothing_and_is_told(
        self, admin: Connection, worker: Connection, run: Run, name: str
    ):
        write, refusal = FENCED[name]
        expire_leases(admin)
        assert rescue(worker) == 1
        claimed(worker, run.job_id, worker="w2", isolated=True)
        before = state(admin)
        assert write(worker, run) == refusal
        assert state(admin) == before

    @pytest.mark.parametrize("name", FENCED)
    def test_a_run_whose_object_was_overwritten_changes_nothing_and_is_told(
        self, admin: Connection, worker: Connection, run: Run, name: str
    ):
        write, refusal = FENCED[name]
        put_object(admin, "a.txt")
        before = state(admin)
        assert write(worker, run) == refusal
        assert state(admin) == before

    @pytest.mark.parametrize("name", FENCED)
    def test_a_run_whose_object_was_deleted_changes_nothing_and_is_told(
        self, admin: Connection, worker: Connection, run: Run, name: str
    ):
        write, refusal = FENCED[name]
        delete_objects(admin, ["a.txt"])
        drain_withdrawn(admin)
        before = state(admin)
        assert before["documents"] == before["staged"] == []
        assert write(worker, run) == refusal
        assert state(admin) == before

    @pytest.mark.parametrize("name", FENCED)
    def test_a_run_that_has_ended_changes_nothing_and_is_told(
        self, admin: Connection, worker: Connection, run: Run, name: str
    ):
        write, refusal = FENCED[name]
        assert publish(worker, run, ["one"]) == "published"
        before = state(admin)
        assert write(worker, run) == refusal
        assert state(admin) == before

    def test_progress_that_waited_for_a_rescue_is_not_written_into_the_next_run(
        self, database: Database, admin: Connection, worker: Connection, run: Run
    ):
        """The update waits for the job's row; when it continues, another run has the job."""
        with database.connect("docmill_worker") as late:
            late_pid = late.info.backend_pid
            with admin.transaction():
                expire_leases(admin)
                admin.execute("select ingest_private.rescue_jobs()")
                admin.execute("update ingest_private.job_queue set isolated = false")
                # In one transaction with the rescue, so that the waiting update sees the final
                # state.
                next_run = claimed(admin, run.job_id, worker="w2")
                waiting = Background(lambda: progress(late, run, "publishing"))
                wait_until_blocked(worker, late_pid)
            assert waiting() is False
        assert job(admin, run.job_id)["stage"] == "downloading"
        assert progress(worker, next_run)

    def test_stop_flags_name_the_runs_that_must_stop(
        self, admin: Connection, worker: Connection, run: Run
    ):
        flags = """select job_id, reason
                     from ingest_private.stop_flags(array[%s, %s]::uuid[], array[%s, %s])"""
        stranger = uuid4()

        def reasons(token: int) -> dict[UUID, str]:
            found = rows(worker, flags, run.job_id, stranger, token, 1)
            return {row["job_id"]: row["reason"] for row in found}

        assert reasons(run.token) == {stranger: "lost"}
        admin.execute("update ingest.jobs set cancel_requested = true")
        assert reasons(run.token) == {run.job_id: "cancelled", stranger: "lost"}
        assert reasons(run.token + 1) == {run.job_id: "lost", stranger: "lost"}
        delete_objects(admin, ["a.txt"])
        assert reasons(run.token) == {run.job_id: "lost", stranger: "lost"}

    def test_a_job_is_wanted_unless_it_was_superseded_or_cancelled_or_is_gone(
        self, admin: Connection, worker: Connection, run: Run
    ):
        def is_wanted(connection: Connection) -> bool:
            query = "select ingest_private.is_wanted(%s) as it"
            return bool(rows(connection, query, run.job_id)[0]["it"])

        assert is_wanted(worker)
        for state in ("superseded", "cancelled", "succeeded"):
            with admin.transaction(force_rollback=True):
                admin.execute("delete from ingest_private.leases")
                admin.execute(
                    """update ingest.jobs
                          set state = %s, stage = 'finished', finished_at = clock_timestamp()""",
                    [state],
                )
                assert is_wanted(admin) == (state == "succeeded"), state
        delete_objects(admin, ["a.txt"])
        assert not is_wanted(worker)


class TestFailJob:
    def test_counts_and_tries_again_until_the_attempts_are_used_up(
        self, admin: Connection, worker: Connection, object_id: UUID, job_id: UUID
    ):
        for number in range(1, 6):
            run = claimed(worker, job_id)
            assert run.attempt == number
            assert fail(worker, run, "provider_invalid_response")
            assert job(admin, job_id)["state"] == ("queued" if number < 5 else "failed")
        after = job(admin, job_id)
        assert (after["error_code"], after["attempt"]) == ("provider_invalid_response", 5)
        assert after["error_message"] == "The embedding provider sent a wrong answer."
        document = document_of(admin, object_id)
        assert (document["status"], document["error_code"]) == ("failed", after["error_code"])
        assert claim(worker, job_id) is None
        outcomes = [
            row["outcome"]
            for row in rows(admin, "select outcome from ingest_private.attempts order by id")
        ]
        assert outcomes == ["retried"] * 4 + ["failed"]

    def test_without_a_next_time_fails_at_once(
        self, admin: Connection, worker: Connection, object_id: UUID, job_id: UUID
    ):
        assert fail(worker, claimed(worker, job_id), "encrypted", None)
        assert job(admin, job_id)["state"] == "failed"
        assert document_of(admin, object_id)["error_message"] == (
            "The file is protected by a password."
        )

    def test_of_another_index_version_than_the_active_one_leaves_the_document_alone(
        self, wiped: Database, admin: Connection, worker: Connection
    ):
        admin.execute("delete from ingest.index_versions where id = 2")
        admin.execute(
            """insert into ingest.index_versions (id, model, dimensions, chunking, provider,
                                                  sends_dimensions)
               overriding system value values (2, 'm2', 16, '{}', 'openai', false)"""
        )
        object_id = upload(wiped, "b.txt", ["one"])
        building = value(admin, "select id from ingest.jobs where index_version = 2")
        assert fail(worker, claimed(worker, building), "corrupt", None)
        assert document_of(admin, object_id)["status"] == "ready"
        # The database is shared: make no further jobs for it.
        admin.execute("update ingest.index_versions set state = 'dropped' where id = 2")

    def test_waits_as_long_as_it_is_told(self, admin: Connection, worker: Connection, job_id: UUID):
        assert fail(worker, claimed(worker, job_id), retry_in="1 hour")
        assert entry(admin, job_id)["phase"] == "waiting"
        left = value(admin, "select extract(epoch from next_attempt_at - now()) from ingest.jobs")
        assert 3590 < left <= 3600
        assert claim(worker, job_id) is None

    def test_of_an_unknown_code_shows_no_text_of_its_own(
        self, admin: Connection, worker: Connection, job_id: UUID
    ):
        assert fail(worker, claimed(worker, job_id), "sk-secret", None)
        assert job(admin, job_id)["error_message"] is None

    def test_keeps_the_old_version_searchable(
        self, admin: Connection, worker: Connection, object_id: UUID, job_id: UUID
    ):
        run = claimed(worker, job_id)
        stage(worker, run, ["one"])
        publish(worker, run, ["one"])
        put_object(admin, "a.txt")
        assert fail(worker, claimed(worker, job_of(admin, object_id)), "corrupt", None)
        document = document_of(admin, object_id)
        assert (document["status"], document["searchable"]) == ("failed", True)
        assert text_of(admin, document["id"]) == ["one"]


class TestReleaseJob:
    def test_counts_nothing_however_often(
        self, admin: Connection, worker: Connection, job_id: UUID
    ):
        for _ in range(10):
            run = claimed(worker, job_id)
            assert run.attempt == 1
            assert release(worker, run)
        after = entry(admin, job_id)
        assert (after["failures"], after["crashes"], after["isolated_crashes"]) == (0, 0, 0)
        assert not after["isolated"]
        assert job(admin, job_id)["state"] == "queued"

    @pytest.mark.parametrize("hold", [row.reason for row in hold_reasons() if row.is_stored])
    def test_says_why_the_job_waits_until_it_runs_again(
        self, admin: Connection, worker: Connection, job_id: UUID, hold: str
    ):
        assert release(worker, claimed(worker, job_id), hold=hold)
        assert job(admin, job_id)["hold_reason"] == hold
        claimed(worker, job_id)
        after = job(admin, job_id)
        assert (after["hold_reason"], after["error_code"]) == (None, None)


class TestCancelRun:
    def test_ends_the_job_for_good(
        self, admin: Connection, worker: Connection, object_id: UUID, job_id: UUID
    ):
        assert cancel(worker, claimed(worker, job_id))
        assert job(admin, job_id)["state"] == "cancelled"
        assert document_of(admin, object_id)["status"] == "failed"
        assert document_of(admin, object_id)["error_code"] == "cancelled"
        assert claim(worker, job_id) is None
        assert state(admin)["leases"] == state(admin)["queue"] == []


class TestRescue:
    def test_leaves_jobs_alone_whose_lease_runs(
        self, admin: Connection, worker: Connection, job_id: UUID
    ):
        claimed(worker, job_id)
        before = state(admin)
        assert rescue(worker) == 0
        assert state(admin) == before

    def test_after_a_first_crash_the_job_runs_alone(
        self, admin: Connection, worker: Connection, object_id: UUID, job_id: UUID
    ):
        claimed(worker, job_id)
        expire_leases(admin)
        assert rescue(worker) == 1
        after = entry(admin, job_id)
        assert (after["isolated"], after["crashes"], after["isolated_crashes"]) == (True, 1, 0)
        assert (after["phase"], after["failures"]) == ("ready", 0)
        assert job(admin, job_id)["state"] == "queued"
        assert document_of(admin, object_id)["status"] == "pending"
        assert claim(worker, job_id) is None
        assert claimed(worker, job_id, isolated=True).attempt == 1
        assert rows(admin, "select outcome from ingest_private.attempts order by id") == [
            {"outcome": "crashed"},
            {"outcome": None},
        ]

    def test_after_two_deaths_alone_the_job_is_parked_with_its_document(
        self, admin: Connection, worker: Connection, object_id: UUID, job_id: UUID
    ):
        claimed(worker, job_id)
        for alone in range(3):
            expire_leases(admin)
            assert rescue(worker) == 1
            assert job(admin, job_id)["state"] == ("queued" if alone < 2 else "failed")
            if alone < 2:
                claimed(worker, job_id, isolated=True)
        assert job(admin, job_id)["error_code"] == "worker_lost"
        document = document_of(admin, object_id)
        assert (document["status"], document["error_code"]) == ("failed", "worker_lost")
        assert rescue(worker) == 0
        assert state(admin)["queue"] == state(admin)["leases"] == []

    def test_deaths_beside_other_jobs_never_park_one(
        self, admin: Connection, worker: Connection, job_id: UUID
    ):
        for _ in range(5):
            admin.execute("update ingest_private.job_queue set isolated = false")
            claimed(worker, job_id)
            expire_leases(admin)
            assert rescue(worker) == 1
        after = entry(admin, job_id)
        assert (after["crashes"], after["isolated_crashes"]) == (5, 0)

    def test_skips_a_lease_that_is_in_use(
        self, database: Database, admin: Connection, worker: Connection, job_id: UUID
    ):
        run = claimed(worker, job_id)
        with database.connect("docmill_worker") as stager, stager.transaction():
            assert value(stager, "select ingest_private.begin_stage(%s, %s)", run.job_id, run.token)
            expire_leases(admin)  # FOR KEY SHARE lets this update through
            assert rescue(worker) == 0
        assert job(admin, job_id)["state"] == "running"

    def test_a_worker_that_fell_silent_in_a_copy_does_not_keep_its_job(
        self, database: Database, admin: Connection, worker: Connection, job_id: UUID
    ):
        """Neither timeout of the worker's role ends such a session, which holds job and lease."""
        run = claimed(worker, job_id)
        with database.connect("docmill_worker") as silent:
            silent.execute("set idle_in_transaction_session_timeout = '1s'")
            silent.execute("set statement_timeout = '1s'")
            silent.execute("begin")
            assert value(silent, "select ingest_private.begin_stage(%s, %s)", run.job_id, run.token)
            pid = silent.info.backend_pid
            silent.pgconn.send_query(b"copy ingest_private.staged_chunks from stdin")
            silent_for = (
                "state = 'active' and wait_event = 'ClientRead' "
                "and query_start < clock_timestamp() - interval '1.2 s'"
            )
            until(lambda: sessions(admin, pid, silent_for) == 1, "silent")
            expire_leases(admin)  # FOR KEY SHARE lets this update through
            assert rescue(worker) == 0
            end_stalled = "select ingest_private.end_stalled_sessions(%s::interval)"
            assert value(worker, end_stalled, "1 hour") == 0
            assert value(worker, end_stalled, "1 s") == 1
            until(lambda: sessions(admin, pid) == 0, "ended")
            assert rescue(worker) == 1
            silent.close()
        assert entry(admin, job_id)["crashes"] == 1

    def test_skips_a_document_that_is_in_use(
        self, database: Database, admin: Connection, worker: Connection, job_id: UUID
    ):
        claimed(worker, job_id)
        expire_leases(admin)
        with database.connect() as holder, holder.transaction():
            holder.execute("select from ingest.documents for no key update")
            assert rescue(worker) == 0
        assert rescue(worker) == 1

    def test_two_at_once_count_one_crash(
        self, admin: Connection, worker: Connection, other: Connection, job_id: UUID
    ):
        claimed(worker, job_id)
        expire_leases(admin)
        with worker.transaction():
            assert rescue(worker) == 1
            assert rescue(other) == 0
        assert rescue(other) == 0
        assert entry(admin, job_id)["crashes"] == 1

    def test_leaves_a_lease_alone_that_was_renewed_since_it_was_listed(
        self, database: Database, admin: Connection, worker: Connection, other: Connection
    ):
        first, second = sorted(job_of(admin, put_object(admin, f"{n}.txt")) for n in range(2))
        claimed(worker, first)
        renewed = claimed(worker, second)
        expire_leases(admin)
        with database.connect() as holder, holder.transaction():
            holder.execute(
                "select from ingest_private.job_queue where job_id = %s for update", [first]
            )
            rescuing = Background(lambda: rescue(other))
            wait_until_blocked(admin, other.info.backend_pid)
            assert heartbeat(worker, runs=[renewed]) == [first]
        assert rescuing() == 1
        assert (job(admin, first)["state"], job(admin, second)["state"]) == ("queued", "running")

    def test_of_a_job_whose_document_was_deleted_by_hand_gives_it_up(
        self, admin: Connection, worker: Connection, job_id: UUID
    ):
        claimed(worker, job_id)
        admin.execute("delete from ingest.documents")
        expire_leases(admin)
        assert rescue(worker) == 1
        assert claim(worker, job_id, isolated=True) is None
        assert job(admin, job_id)["state"] == "superseded"


class TestHeartbeat:
    def test_renews_the_leases_of_its_runs_and_no_others(
        self, admin: Connection, worker: Connection
    ):
        runs = []
        for number in range(3):
            job_id = job_of(admin, put_object(admin, f"{number}.txt"))
            owner = "w1" if number < 2 else "w2"
            runs.append(claimed(worker, job_id, worker=owner, lease="1 second"))
        assert heartbeat(worker, "w1", lease="1 hour", runs=runs) == []
        found = rows(
            admin,
            """select worker_id, expires_at > now() + interval '30 min' as renewed
                 from ingest_private.leases order by worker_id""",
        )
        assert [(row["worker_id"], row["renewed"]) for row in found] == [
            ("w1", True),
            ("w1", True),
            ("w2", False),
        ]

    def test_names_the_leases_of_its_worker_that_are_none_of_its_runs(
        self, admin: Connection, worker: Connection
    ):
        first, second, other = (
            claimed(worker, job_of(admin, put_object(admin, f"{n}.txt")), worker=name)
            for n, name in enumerate(("w1", "w1", "w2"))
        )
        expire_leases(admin)
        assert heartbeat(worker, "w1", runs=[first, replace(second, token=0)]) == [second.job_id]
        alive = rows(admin, "select job_id from ingest_private.leases where expires_at > now()")
        assert [row["job_id"] for row in alive] == [first.job_id]
        assert other.job_id not in heartbeat(worker, "w1")

    def test_says_that_the_worker_lives_and_how_much_it_takes(
        self, admin: Connection, worker: Connection
    ):
        heartbeat(worker, slots=3)
        admin.execute("update ingest_private.workers set last_seen = now() - interval '1 hour'")
        heartbeat(worker, slots=7, draining=True, isolated=True)
        [row] = rows(
            admin, "select *, now() - last_seen < '10 s' as seen from ingest_private.workers"
        )
        assert (row["slots"], row["draining"], row["isolated"], row["seen"]) == (7, *(True,) * 3)

    def test_skips_a_lease_that_a_publish_holds(
        self, database: Database, admin: Connection, worker: Connection
    ):
        runs = [
            claimed(worker, job_of(admin, put_object(admin, f"{n}.txt")), lease="1 second")
            for n in range(2)
        ]
        worker.execute("set lock_timeout = '100ms'")
        with database.connect() as publisher, publisher.transaction():
            publisher.execute(
                "select from ingest_private.leases where job_id = %s for update", [runs[0].job_id]
            )
            heartbeat(worker, lease="1 hour", runs=runs)
        renewed = rows(
            admin,
            "select job_id from ingest_private.leases where expires_at > now() + interval '1 min'",
        )
        assert [row["job_id"] for row in renewed] == [runs[1].job_id]


class TestActiveJobs:
    def test_of_one_document_and_index_version_there_is_one(
        self, admin: Connection, object_id: UUID, job_id: UUID
    ):
        document = document_of(admin, object_id)
        with pytest.raises(pg.UniqueViolation, match="jobs_one_active"):
            admin.execute(
                "select ingest_private.enqueue_job(%s, 1, 'ingest', 5::smallint, 1)",
                [document["id"]],
            )

    def test_every_unfinished_job_has_its_place_in_the_queue_and_no_finished_one(
        self, admin: Connection, worker: Connection, object_id: UUID, job_id: UUID
    ):
        def agree() -> bool:
            agrees: bool = value(
                admin,
                """select count(*) = 0 from ingest.jobs as job
                     full join ingest_private.job_queue as entry on entry.job_id = job.id
                    where (job.finished_at is null) is distinct from (entry.job_id is not null)""",
            )
            return agrees

        assert agree()
        claimed(worker, job_id)
        assert agree()
        put_object(admin, "a.txt")
        assert agree()
        cancel(worker, claimed(worker, job_of(admin, object_id)))
        assert agree()


class TestSpend:
    def test_is_recorded_for_job_and_owner(
        self, admin: Connection, worker: Connection, job_id: UUID
    ):
        run = claimed(worker, job_id)
        for _ in range(2):
            worker.execute("select ingest_private.record_spend(%s, 'm', 100, 0.25)", [run.job_id])
        after = job(admin, job_id)
        assert (after["tokens_used"], float(after["cost_usd"])) == (200, 0.5)
        [row] = rows(
            admin,
            "select owner_id, tokens, usd::float, day = (now() at time zone 'utc')"
            "::date as today from ingest.usage",
        )
        assert row == {"owner_id": "alice", "tokens": 200, "usd": 0.5, "today": True}

    def test_books_nothing_without_a_lease_and_takes_nothing_back(
        self, admin: Connection, worker: Connection, job_id: UUID
    ):
        spend = "select ingest_private.record_spend(%s, 'm', %s, %s::numeric)"
        worker.execute(spend, [job_id, 100, 0.25])
        claimed(worker, job_id)
        for tokens, usd in ((-1, 0.25), (100, -0.25)):
            worker.execute(spend, [job_id, tokens, usd])
        assert job(admin, job_id)["tokens_used"] == 0
        assert state(admin)["usage"] == []

    def test_of_a_document_without_owner_is_on_the_job_alone(
        self, admin: Connection, worker: Connection
    ):
        run = claimed(worker, job_of(admin, put_object(admin, "b.txt")))
        worker.execute("select ingest_private.record_spend(%s, 'm', 100, 1)", [run.job_id])
        assert job(admin, run.job_id)["tokens_used"] == 100
        assert state(admin)["usage"] == []


class TestDeadlocks:
    def test_a_supersede_meets_a_batch_that_records_its_spend(
        self, database: Database, admin: Connection, worker: Connection, job_id: UUID
    ):
        """The batch holds the lease and then wants the job; whoever ends the job waits."""
        run = claimed(worker, job_id)
        with database.connect("docmill_worker") as sweeper:
            pid = sweeper.info.backend_pid
            with worker.transaction():
                assert value(
                    worker, "select ingest_private.begin_stage(%s, %s)", run.job_id, run.token
                )
                admin.execute("alter table storage.objects disable trigger user")
                admin.execute("update storage.objects set version = 'next'")
                admin.execute("alter table storage.objects enable trigger user")
                sync = Background(
                    lambda: value(
                        sweeper, "select ingest_private.sync_object(null, 'docs', 'a.txt')"
                    )
                )
                wait_until_blocked(admin, pid)
                worker.execute(
                    "select ingest_private.record_spend(%s, 'm', 100, 0.25)", [run.job_id]
                )
            assert sync() is not None
        after = job(admin, job_id)
        assert (after["state"], after["tokens_used"]) == ("superseded", 100)


class TestPrune:
    def test_removes_finished_jobs_but_not_a_documents_latest(
        self, admin: Connection, worker: Connection, object_id: UUID
    ):
        for _ in range(3):
            put_object(admin, "a.txt")
            assert cancel(worker, claimed(worker, job_of(admin, object_id)))
        admin.execute("update ingest.jobs set finished_at = now() - interval '2 days'")
        latest = job_of(admin, object_id)
        assert value(worker, "select ingest_private.prune('3 days', '3 days')") == 0
        assert value(worker, "select ingest_private.prune('1 day', '3 days', 2)") == 2
        assert value(worker, "select ingest_private.prune('1 day', '3 days', 2)") == 1
        assert [row["id"] for row in rows(admin, "select id from ingest.jobs")] == [latest]

    def test_removes_staged_chunks_that_no_job_will_take_up(
        self, admin: Connection, worker: Connection, object_id: UUID, job_id: UUID
    ):
        run = claimed(worker, job_id)
        stage(worker, run, ["one"])
        admin.execute("update ingest_private.staged_chunks set staged_at = now() - interval '9 d'")
        assert value(worker, "select ingest_private.prune('1 day', '1 day')") == 0
        cancel(worker, run)
        assert value(worker, "select ingest_private.prune('1 day', '1 day')") == 1
        assert state(admin)["staged"] == []

    def test_removes_workers_that_have_been_gone_for_long(
        self, admin: Connection, worker: Connection
    ):
        heartbeat(worker, "gone")
        admin.execute("update ingest_private.workers set last_seen = now() - interval '2 hours'")
        heartbeat(worker, "here")
        worker.execute("select ingest_private.prune('1 day', '1 day')")
        assert [row["id"] for row in rows(admin, "select id from ingest_private.workers")] == [
            "here"
        ]

"""Pauses and circuit breakers: jobs wait, uploads are accepted, and owners can see why."""

from uuid import UUID

import pytest
from psycopg import errors as pg

from tests.schema.actors import (
    Connection,
    Row,
    claim,
    claimed,
    document_of,
    heartbeat,
    job_of,
    publish,
    rows,
    stage,
    take,
    value,
)
from tests.support.database import Database, put_object, watch_bucket


def job(connection: Connection, job_id: UUID) -> Row:
    return rows(connection, "select * from ingest.jobs where id = %s", job_id)[0]


def explain(admin: Connection, job_id: UUID) -> Row:
    return rows(admin, "select * from ingest_private.explain_job(%s)", job_id)[0]


def pause(admin: Connection, scope: str = "everything", key: object = "") -> int:
    admin.execute("insert into ingest_private.pauses values (%s, %s)", [scope, str(key)])
    return apply_pauses(admin)


def resume(admin: Connection, scope: str = "everything") -> int:
    admin.execute("delete from ingest_private.pauses where scope = %s", [scope])
    return apply_pauses(admin)


def apply_pauses(connection: Connection, limit: int = 2) -> int:
    after: UUID | None = None
    total = 0
    while True:
        [page] = rows(connection, "select * from ingest_private.apply_pauses(%s, %s)", after, limit)
        total += int(page["changed"])
        after = page["next_after"]
        if after is None:
            return total


def uploaded(admin: Connection, *names: str, owner: str = "alice") -> list[UUID]:
    return [job_of(admin, put_object(admin, name, owner=owner)) for name in names]


def break_configuration(worker: Connection, job_id: UUID, code: str = "provider_auth") -> None:
    """Let a run of the job meet an error that every job would meet."""
    assert value(
        worker,
        "select ingest_private.release_job(%s, %s, %s, 'breaker_open', '1 hour')",
        *(job_id, claimed(worker, job_id).token, code),
    )


def probed(
    admin: Connection, worker: Connection, *names: str, code: str = "provider_auth"
) -> tuple[list[UUID], UUID]:
    """Jobs under a breaker whose pause is over, and the job that is the probe."""
    heartbeat(worker)
    jobs = uploaded(admin, *names)
    break_configuration(worker, jobs[0], code)
    admin.execute("update ingest_private.breakers set open_until = now() - interval '1 s'")
    [probe] = take(worker)
    return jobs, probe


class TestPauses:
    def test_hold_what_waits_and_what_comes_and_end(self, admin: Connection, worker: Connection):
        heartbeat(worker)
        before = uploaded(admin, "a.txt", "b.txt", "c.txt")
        assert pause(admin) == 3
        later = uploaded(admin, "d.txt")
        for job_id in before + later:
            assert job(admin, job_id)["hold_reason"] == "paused"
            found = explain(admin, job_id)
            assert (found["situation"], found["hold_reason"]) == ("held", "paused")
            assert found["explanation"].endswith(found["remedy"])
        assert take(worker) == []
        assert resume(admin) == 4
        assert {job(admin, job_id)["hold_reason"] for job_id in before + later} == {None}
        assert set(take(worker)) == {*before, *later}

    def test_of_an_owner_or_a_source_leave_others_alone(
        self, wiped: Database, admin: Connection, worker: Connection
    ):
        watch_bucket(wiped, "second")
        [mine] = uploaded(admin, "a.txt", owner="alice")
        [other] = uploaded(admin, "b.txt", owner="bob")
        second = job_of(admin, put_object(admin, "c.txt", owner="bob", bucket="second"))
        source = document_of(admin, put_object(admin, "c.txt", owner="bob", bucket="second"))
        heartbeat(worker)
        assert pause(admin, "owner", "alice") == 1
        pause(admin, "source", source["source_id"])
        held = {
            row["object_name"]: row["hold_reason"]
            for row in rows(admin, "select * from ingest.jobs where finished_at is null")
        }
        assert held == {"a.txt": "paused", "b.txt": None, "c.txt": "paused"}
        assert take(worker) == [other]
        assert explain(admin, second)["situation"] == "superseded"
        resume(admin, "owner")
        assert take(worker) == [mine]

    def test_are_kept_by_a_claim_that_was_on_its_way(self, admin: Connection, worker: Connection):
        heartbeat(worker)
        [job_id] = uploaded(admin, "a.txt")
        assert take(worker) == [job_id]
        admin.execute("insert into ingest_private.pauses values ('owner', 'alice')")
        assert claim(worker, job_id) is None
        assert job(admin, job_id)["hold_reason"] == "paused"

    def test_let_what_runs_go_on_but_not_be_tried_again(
        self, admin: Connection, worker: Connection
    ):
        first, second = uploaded(admin, "a.txt", "b.txt")
        going, failing = claimed(worker, first), claimed(worker, second)
        pause(admin)
        stage(worker, going, ["one"])
        assert publish(worker, going, ["one"]) == "published"
        value(
            worker,
            "select ingest_private.fail_job(%s, %s, 'internal_error', '1 s')",
            *(failing.job_id, failing.token),
        )
        assert job(admin, second)["hold_reason"] == "paused"
        assert explain(admin, second)["error_code"] == "internal_error"
        assert resume(admin) == 1
        assert claim(worker, second) is not None

    def test_of_nothing_are_refused(self, admin: Connection):
        with pytest.raises(pg.CheckViolation):
            admin.execute("insert into ingest_private.pauses values ('owner', '')")
        with pytest.raises(pg.CheckViolation):
            admin.execute("insert into ingest_private.pauses values ('everything', 'x')")

    def test_that_overlap_hold_until_the_last_ends(self, admin: Connection, worker: Connection):
        heartbeat(worker)
        [job_id] = uploaded(admin, "a.txt")
        pause(admin)
        pause(admin, "owner", "alice")
        assert resume(admin) == 0
        assert take(worker) == []
        assert resume(admin, "owner") == 1
        assert take(worker) == [job_id]


class TestBreakers:
    def test_hold_every_job_and_say_why(self, admin: Connection, worker: Connection):
        heartbeat(worker)
        first, second = uploaded(admin, "a.txt", "b.txt")
        break_configuration(worker, first)
        assert take(worker) == []
        hit, other = explain(admin, first), explain(admin, second)
        assert (hit["situation"], hit["hold_reason"]) == ("held", "breaker_open")
        assert (other["situation"], other["hold_reason"]) == ("held", "breaker_open")
        assert other["error_code"] == "provider_auth"
        assert other["remedy"]
        assert rows(admin, "select failures from ingest_private.job_queue") == [
            {"failures": 0},
            {"failures": 0},
        ]

    def test_try_one_job_at_a_time_once_their_time_has_passed(
        self, admin: Connection, worker: Connection
    ):
        _jobs, probe = probed(admin, worker, "a.txt", "b.txt", "c.txt")
        assert take(worker) == []
        break_configuration(worker, probe)
        assert take(worker) == []
        assert value(admin, "select open_until > now() from ingest_private.breakers")

    def test_take_no_other_while_a_probe_runs(self, admin: Connection, worker: Connection):
        _jobs, probe = probed(admin, worker, "a.txt", "b.txt", "c.txt")
        claimed(worker, probe)
        assert take(worker) == []

    def test_close_when_a_probe_is_embedded_and_let_all_go_on(
        self, admin: Connection, worker: Connection
    ):
        jobs, probe = probed(admin, worker, "a.txt", "b.txt", "c.txt")
        run = claimed(worker, probe)
        stage(worker, run, ["one"])
        value(
            worker,
            "select ingest_private.report_progress(%s, %s, 'embedding', 1, 1, 1, 1, 0)",
            *(probe, run.token),
        )
        assert publish(worker, run, ["one"]) == "published"
        assert rows(admin, "select * from ingest_private.breakers") == []
        assert set(take(worker)) == {*jobs} - {probe}

    def test_stay_open_when_a_probe_embedded_nothing(self, admin: Connection, worker: Connection):
        _jobs, probe = probed(admin, worker, "a.txt", "b.txt", "c.txt")
        assert publish(worker, claimed(worker, probe), []) == "published"
        assert len(take(worker)) == 1

    def test_of_storage_close_with_whatever_is_published(
        self, admin: Connection, worker: Connection
    ):
        jobs, probe = probed(admin, worker, "a.txt", "b.txt", "c.txt", code="storage_auth")
        assert publish(worker, claimed(worker, probe), []) == "published"
        assert rows(admin, "select * from ingest_private.breakers") == []
        assert set(take(worker)) == {*jobs} - {probe}

    def test_are_probed_at_once_by_a_new_worker(self, admin: Connection, worker: Connection):
        """The new worker may have the key that was missing."""
        heartbeat(worker)
        [job_id] = uploaded(admin, "a.txt")
        break_configuration(worker, job_id)
        heartbeat(worker)
        assert take(worker) == []
        heartbeat(worker, "w2")
        assert take(worker) == [job_id]

"""The numbers that workers read from the database for metrics."""

from docmill.worker.store.gauges import GAUGES, read_gauges
from tests.schema.actors import Connection, claimed, heartbeat, job_of
from tests.support.database import put_object


def test_each_number_has_the_labels_that_are_exported(
    admin: Connection, worker: Connection
) -> None:
    heartbeat(worker)
    put_object(admin, "waits.txt", owner="alice")
    put_object(admin, "held.txt", owner="alice")
    admin.execute("update ingest.jobs set hold_reason = 'paused' where object_name = 'held.txt'")
    run = claimed(worker, job_of(admin, put_object(admin, "runs.txt", owner="alice")))
    failed = claimed(worker, job_of(admin, put_object(admin, "failed.txt", owner="alice")))
    worker.execute(
        "select ingest_private.fail_job(%s, %s, 'corrupt', null)", [failed.job_id, failed.token]
    )
    admin.execute(
        "insert into ingest_private.breakers (error_code, open_until, provider)"
        " values ('provider_auth', now() + interval '1 minute', 'openai')"
    )
    worker.execute("select ingest_private.note_tick('dispatch')")

    found = {(one.name, tuple(one.labels.values())): one.value for one in read_gauges(worker)}

    for name, labels in {(name, labels) for name, labels in found}:
        assert len(labels) == len(GAUGES[name][1]), name
    assert found["docmill_queue_jobs", ("running", "5")] == 1
    assert found["docmill_queue_jobs", ("ready", "5")] == 2
    assert found["docmill_queue_oldest_seconds", ("5",)] > 0
    assert found["docmill_jobs_held", ("paused",)] == 1
    assert found["docmill_jobs_ended_last_hour", ("corrupt", "failed")] == 1
    assert found["docmill_breaker_open", ("provider_auth", "openai")] == 1
    assert found["docmill_workers", ("false",)] == 1
    assert found["docmill_workers", ("true",)] == 0
    assert found["docmill_slots", ("false",)] == 10
    assert found["docmill_leases", ("held",)] == 1
    assert found["docmill_tick_age_seconds", ("dispatch",)] >= 0
    assert found["docmill_trouble", ("no_isolated_worker",)] == 1
    assert run.token


def ready_seconds(worker: Connection) -> float:
    [found] = [one for one in read_gauges(worker) if one.name == "docmill_queue_ready_seconds"]
    return found.value


def test_more_workers_are_only_asked_for_by_uploads_that_they_could_take(
    admin: Connection, worker: Connection
) -> None:
    assert ready_seconds(worker) == 0
    for name, change in (
        ("held.txt", "ingest_private.job_queue set phase = 'waiting', due_at = 'infinity'"),
        # Also where it has the slots of uploads, because somebody wants its version active.
        ("again.txt", "ingest.jobs set kind = 'reindex'"),
        ("alone.txt", "ingest_private.job_queue set isolated = true"),
    ):
        job_id = job_of(admin, put_object(admin, name, owner="alice"))
        key = "id" if "ingest.jobs" in change else "job_id"
        admin.execute(f"update {change} where {key} = %s".encode(), [job_id])
        assert ready_seconds(worker) == 0, name
    job_id = job_of(admin, put_object(admin, "waits.txt", owner="alice"))
    admin.execute(
        "update ingest.jobs set created_at = created_at - interval '1 minute' where id = %s",
        [job_id],
    )
    assert ready_seconds(worker) >= 60


def test_a_label_is_never_what_a_person_wrote(admin: Connection, worker: Connection) -> None:
    put_object(admin, "secret name.txt", owner="somebody")
    admin.execute("insert into ingest_private.pauses (scope, key) values ('owner', 'somebody')")
    said = repr(read_gauges(worker))
    assert "somebody" not in said
    assert "secret name" not in said

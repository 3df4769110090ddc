"""Schedules: who runs a due one, and when it is due again."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from psycopg import errors as pg

from docmill.worker.app import create_app
from docmill.worker.cron import next_due, read_cron
from docmill.worker.errors import LeaseLostError
from docmill.worker.maintenance.schedules import Schedules
from docmill.worker.queue import Dispatcher
from docmill.worker.settings.processes import WorkerSettings
from docmill.worker.store import schedules
from docmill.worker.store.database import Database as Pool
from docmill.worker.store.schedules import Planned
from tests.schema.actors import Connection, Row, claimed, job_of, rows, upload, value
from tests.schema.test_read_again import live
from tests.support.database import Database, delete_objects, put_object

MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)
LEASE = timedelta(minutes=5)


def now() -> datetime:
    return datetime.now(UTC)


def put(worker: Connection, expression: str | None, due_in: timedelta, zone: str = "UTC") -> Any:
    """Put the schedule `nightly` of the settings; return the names of due schedules."""
    planned = Planned("nightly", expression, now() + due_in if expression else None)
    return schedules.put(worker, [planned], time_zone=zone)


def claim(worker: Connection, due_in: timedelta = DAY) -> Any:
    return schedules.claim(worker, "nightly", next_due_at=now() + due_in, lease=LEASE)


def pass_time(admin: Connection, passed: timedelta, name: str = "nightly") -> None:
    """Move all times in the row into the past."""
    admin.execute(
        """update ingest_private.schedules
              set next_due_at = next_due_at - %(passed)s, leased_until = leased_until - %(passed)s,
                  last_started_at = last_started_at - %(passed)s where name = %(name)s""",
        {"passed": passed, "name": name},
    )


def row_of(admin: Connection, name: str = "nightly") -> Row:
    (row,) = rows(admin, "select * from ingest_private.schedules where name = %s", name)
    return row


@pytest.fixture
def due(worker: Connection, admin: Connection) -> Connection:
    """A worker's connection; the nightly schedule has been due for a minute."""
    assert put(worker, "0 3 * * *", MINUTE) == []
    pass_time(admin, 2 * MINUTE)
    assert put(worker, "0 3 * * *", DAY) == ["nightly"]
    return worker


def at_once(number: int, act: Callable[[], Any]) -> list[Any]:
    """The results of an action in several threads that begin together."""
    barrier = threading.Barrier(number)

    def begin() -> Any:
        barrier.wait()
        return act()

    with ThreadPoolExecutor(number) as pool:
        return [future.result() for future in [pool.submit(begin) for _ in range(number)]]


def test_a_new_schedule_is_not_due_before_its_time(worker: Connection, admin: Connection) -> None:
    assert put(worker, "0 3 * * *", DAY) == []
    assert claim(worker) is None
    pass_time(admin, DAY + MINUTE)
    assert put(worker, "0 3 * * *", DAY) == ["nightly"]
    assert claim(worker) is not None


@pytest.mark.parametrize(
    ("expression", "zone"), [("0 4 * * *", "UTC"), ("0 3 * * *", "Europe/Berlin")]
)
def test_another_expression_or_time_zone_moves_the_next_time(
    due: Connection, admin: Connection, expression: str, zone: str
) -> None:
    assert put(due, expression, DAY, zone) == []
    row = row_of(admin)
    assert (row["expression"], row["time_zone"]) == (expression, zone)
    assert row["next_due_at"] > now() + DAY - MINUTE
    assert claim(due) is None


def test_what_has_not_changed_moves_nothing(due: Connection, admin: Connection) -> None:
    before = row_of(admin)
    for _ in range(3):
        assert put(due, "0 3 * * *", DAY) == ["nightly"]
    assert row_of(admin) == before


def test_what_is_turned_off_is_not_due_and_keeps_what_its_last_run_did(
    due: Connection, admin: Connection
) -> None:
    run = claim(due)
    assert schedules.finish(due, run, documents=7)
    pass_time(admin, 2 * DAY)
    assert put(due, None, DAY) == []
    assert claim(due) is None
    row = row_of(admin)
    assert (row["expression"], row["next_due_at"], row["documents"]) == (None, None, 7)
    assert put(due, "0 3 * * *", DAY) == []


def test_two_claimants_at_once_begin_one_run(
    wiped: Database, due: Connection, admin: Connection
) -> None:
    def compete() -> Any:
        with wiped.connect("docmill_worker") as connection:
            return claim(connection)

    for _ in range(10):
        assert len([run for run in at_once(6, compete) if run]) == 1
        admin.execute("update ingest_private.schedules set token = null, leased_until = null")
        pass_time(admin, DAY + MINUTE)


def test_changes_at_once_leave_one_due_time(wiped: Database, due: Connection) -> None:
    def change() -> Any:
        with wiped.connect("docmill_worker") as connection:
            return put(connection, "30 4 * * *", DAY), claim(connection)

    assert at_once(6, change) == [([], None)] * 6


def test_what_was_missed_is_run_once(due: Connection, admin: Connection) -> None:
    pass_time(admin, 30 * DAY)
    run = claim(due)
    assert schedules.finish(due, run, documents=0)
    assert put(due, "0 3 * * *", DAY) == []
    assert claim(due) is None


def test_a_run_that_goes_on_is_nobody_elses_until_its_lease_ends(
    due: Connection, admin: Connection
) -> None:
    first = claim(due)
    pass_time(admin, LEASE - MINUTE)
    assert put(due, "0 3 * * *", DAY) == []
    assert claim(due) is None
    assert schedules.renew(due, first, lease=LEASE)
    pass_time(admin, LEASE - MINUTE)
    assert claim(due) is None
    # It stops renewing: its process has died.
    pass_time(admin, 2 * MINUTE)
    assert put(due, "0 3 * * *", DAY) == ["nightly"]
    second = claim(due)
    assert second.token != first.token
    assert not schedules.renew(due, first, lease=LEASE)
    assert not schedules.finish(due, first, documents=1)
    assert schedules.finish(due, second, documents=2)
    assert row_of(admin)["documents"] == 2


def test_a_run_that_outlasts_the_next_time_is_followed_by_one(
    due: Connection, admin: Connection
) -> None:
    run = claim(due)
    assert schedules.renew(due, run, lease=2 * DAY)
    pass_time(admin, DAY + MINUTE)
    assert claim(due) is None
    assert schedules.finish(due, run, documents=0)
    assert claim(due) is not None


def test_a_run_that_failed_is_tried_again_when_its_lease_is_over(
    due: Connection, admin: Connection
) -> None:
    assert schedules.finish(due, claim(due), error="internal_error")
    row = row_of(admin)
    assert (row["last_outcome"], row["last_error"]) == ("failed", "internal_error")
    assert claim(due) is None
    pass_time(admin, LEASE + MINUTE)
    assert schedules.finish(due, claim(due), documents=0)
    row = row_of(admin)
    assert (row["last_outcome"], row["last_error"]) == ("done", None)


def test_an_expression_that_changes_during_a_run_holds_after_it(
    due: Connection, admin: Connection
) -> None:
    run = claim(due)
    assert put(due, "0 4 * * *", 2 * DAY) == []
    moved = row_of(admin)["next_due_at"]
    assert schedules.finish(due, run, documents=0)
    assert row_of(admin)["next_due_at"] == moved


def test_nobody_waits_for_a_run_that_is_in_the_middle_of_a_transaction(
    wiped: Database, due: Connection, admin: Connection
) -> None:
    run = claim(due)
    with wiped.connect("docmill_worker") as busy, busy.transaction():
        assert schedules.renew(busy, run, lease=timedelta(0))
        due.execute("set lock_timeout = '1ms'")
        assert put(due, "0 3 * * *", DAY) == []
        assert claim(due) is None


# The worker's side.


@pytest.fixture
def pool(wiped: Database) -> Iterator[Pool]:
    made = Pool(wiped.url("docmill_worker"), connections=8)
    made.open()
    yield made
    made.close()


@pytest.fixture
def started(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Schedules]:
    """Makes the Schedules of a worker with these settings."""
    app = create_app("memory://")

    def start(**changed: str) -> Schedules:
        for name, text in changed.items():
            monkeypatch.setenv(f"DOCMILL_{name.upper()}", text)
        return Schedules(pool, Dispatcher(app, pool, resend_after=MINUTE), WorkerSettings())

    return start


def failed_document(admin: Connection, name: str, code: str = "internal_error") -> UUID:
    """A document whose job failed with this code; returns the id of its object."""
    object_id = put_object(admin, name, owner="alice")
    run = claimed(admin, job_of(admin, object_id))
    admin.execute("select ingest_private.fail_job(%s, %s, %s, null)", [run.job_id, run.token, code])
    return object_id


def test_the_settings_become_rows(started: Callable[..., Schedules], admin: Connection) -> None:
    started(prune="15 * * * *", schedule_time_zone="Asia/Kolkata").run_due()
    row = row_of(admin, "prune")
    assert (row["expression"], row["time_zone"]) == ("15 * * * *", "Asia/Kolkata")
    expected = next_due(read_cron("15 * * * *"), ZoneInfo("Asia/Kolkata"), now())
    assert abs(row["next_due_at"] - expected) <= timedelta(hours=1)
    assert row_of(admin, "retry_failed")["expression"] is None
    assert value(admin, "select count(*) from ingest_private.ticks where work = 'schedules'") == 1


def test_workers_at_once_retry_what_failed_once(
    started: Callable[..., Schedules], admin: Connection
) -> None:
    known = [failed_document(admin, f"{number}.txt") for number in range(3)]
    other = failed_document(admin, "corrupt.txt", "corrupt")
    before = {object_id: job_of(admin, object_id) for object_id in (*known, other)}
    running = started(retry_failed="0 3 * * *", retry_failed_documents="2")
    running.run_due()
    pass_time(admin, DAY, "retry_failed")
    at_once(4, running.run_due)
    tried = {object_id for object_id in before if job_of(admin, object_id) != before[object_id]}
    assert tried == set(known[:2])
    row = row_of(admin, "retry_failed")
    assert (row["documents"], row["last_outcome"], row["token"]) == (2, "done", None)
    assert set(row["job_ids"]) == {job_of(admin, object_id) for object_id in tried}
    assert row["next_due_at"] > now()


def test_what_is_locked_is_left_to_a_later_run(
    wiped: Database, worker: Connection, admin: Connection
) -> None:
    first, second = (failed_document(admin, f"{number}.txt") for number in range(2))
    with wiped.connect() as holder, holder.transaction():
        holder.execute(
            "select from ingest.documents where object_id = %s for no key update", [first]
        )
        made = schedules.retry_failed(worker, ["internal_error"], 10)
        assert made == [job_of(admin, second)]
    assert schedules.retry_failed(worker, ["internal_error"], 10) == [job_of(admin, first)]
    assert schedules.retry_failed(worker, ["internal_error"], 10) == []


DOLLAR_A_TOKEN = {"embedding_usd_per_million_tokens": "1000000"}


@pytest.mark.parametrize(
    ("provider", "bounds", "expected"),
    [
        ("openai", {}, 3),
        ("openai", {"reindex_outdated_documents": "2"}, 2),
        ("openai", DOLLAR_A_TOKEN | {"reindex_outdated_dollars": "5"}, 2),
        ("openai", DOLLAR_A_TOKEN | {"reindex_outdated_dollars": "0"}, 0),
        ("local", DOLLAR_A_TOKEN | {"reindex_outdated_dollars": "0"}, 3),
    ],
)
def test_what_is_outdated_is_read_again_within_the_bounds_of_a_run(
    started: Callable[..., Schedules],
    wiped: Database,
    admin: Connection,
    *,
    provider: str,
    bounds: dict[str, str],
    expected: int,
) -> None:
    admin.execute("update ingest.index_versions set provider = %s", [provider])
    for number in range(3):  # each with two tokens
        upload(wiped, f"{number}.txt", [f"one{number}", f"two{number}"])
    live(admin, "w1", 9)
    running = started(reindex_outdated="0 3 * * *", **bounds)
    running.run_due()
    assert rows(admin, "select from ingest.jobs where kind = 'reindex'") == []
    pass_time(admin, DAY, "reindex_outdated")
    running.run_due()
    made = rows(admin, "select id from ingest.jobs where kind = 'reindex'")
    row = row_of(admin, "reindex_outdated")
    assert len(made) == row["documents"] == expected
    assert {job["id"] for job in made} == set(row["job_ids"])


def test_everything_is_compared_and_old_rows_are_removed(
    started: Callable[..., Schedules], admin: Connection
) -> None:
    running = started()
    running.run_due()
    put_object(admin, "old.txt")
    delete_objects(admin, ["old.txt"])
    admin.execute("update ingest.jobs set finished_at = now() - interval '100 days'")
    admin.execute("set session_replication_role = replica")
    put_object(admin, "never-told.txt")
    admin.execute("update storage.objects set created_at = '2026-01-01', updated_at = '2026-01-01'")
    admin.execute("reset session_replication_role")
    for name in ("reconcile", "prune"):
        pass_time(admin, DAY, name)
    running.run_due()
    assert value(admin, "select count(*) from ingest.jobs where bucket_id = 'docs'") == 1
    assert value(admin, "select count(*) from ingest.documents") == 1
    assert row_of(admin, "reconcile")["documents"] == 1
    assert row_of(admin, "prune")["last_outcome"] == "done"


def test_a_failure_is_written_down_and_raised(
    started: Callable[..., Schedules], admin: Connection
) -> None:
    running = started()
    running.run_due()
    pass_time(admin, DAY, "prune")
    prune = "function ingest_private.prune"
    admin.execute(f"revoke execute on {prune} from docmill_worker".encode())
    try:
        with pytest.raises(pg.InsufficientPrivilege):
            running.run_due()
    finally:
        admin.execute(f"grant execute on {prune} to docmill_worker".encode())
    row = row_of(admin, "prune")
    assert (row["last_outcome"], row["last_error"]) == ("failed", "InsufficientPrivilege")
    running.run_due()
    assert row_of(admin, "prune")["last_outcome"] == "failed"
    pass_time(admin, LEASE + MINUTE, "prune")
    running.run_due()
    assert row_of(admin, "prune")["last_outcome"] == "done"


def test_a_run_that_another_has_taken_writes_nothing_more(
    started: Callable[..., Schedules], due: Connection, admin: Connection
) -> None:
    running = started()
    run = claim(due)
    with running._held(run) as connection:
        assert value(connection, "select 1") == 1
    pass_time(admin, 2 * LEASE)
    assert claim(due) is not None
    with pytest.raises(LeaseLostError), running._held(run):
        pytest.fail("it has begun")

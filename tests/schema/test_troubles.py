"""The troubles that the database can see if documents are not ingested."""

from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import pytest

from tests.schema.actors import (
    Connection,
    claimed,
    heartbeat,
    ingest,
    job_of,
    rows,
    take,
    value,
)
from tests.support.agreement import disagreements
from tests.support.database import Database, as_client, delete_objects, put_object

WORK = ("dispatch", "rescue", "reconcile", "schedules")


@pytest.fixture
def database(wiped: Database) -> Database:
    return wiped


@pytest.fixture
def sound(worker: Connection) -> Connection:
    """An installation in which everything runs."""
    heartbeat(worker, slots=2)
    heartbeat(worker, "alone", isolated=True, slots=1)
    for work in (*WORK, "receiver"):
        for _ in range(2):
            worker.execute("select ingest_private.note_tick(%s)", [work])
    return worker


@pytest.fixture
def job_id(admin: Connection, sound: Connection) -> UUID:
    return job_of(admin, put_object(admin, "a.txt", owner="alice"))


def troubles(connection: Connection) -> list[str]:
    found = rows(connection, "select * from ingest_private.troubles()")
    assert all(row["seen"] and row["remedy"] for row in found)
    assert disagreements(connection) == []
    return sorted(row["trouble"] for row in found)


def pass_time(admin: Connection, work: str, gap: str | None, since: str) -> None:
    """The work ran every `gap`, or once if that is None, and then not at all for `since`."""
    admin.execute(
        """update ingest_private.ticks
              set usual_gap = %s, ticked_at = clock_timestamp() - %s::interval where work = %s""",
        [gap, since, work],
    )


def test_where_everything_runs_there_is_none(
    admin: Connection, sound: Connection, job_id: UUID
) -> None:
    assert troubles(admin) == []
    take(sound)
    assert troubles(admin) == []
    claimed(sound, job_id)
    assert troubles(admin) == []


@pytest.mark.parametrize("work", WORK)
@pytest.mark.parametrize(
    ("gap", "since", "is_late"),
    [
        ("5 s", "25 s", False),
        ("5 s", "31 s", True),
        ("5 min", "14 min", False),
        ("5 min", "16 min", True),
        # It ran once so far, so nobody knows how often it runs.
        (None, "14 min", False),
        (None, "16 min", True),
    ],
)
def test_a_schedule_that_stops_is_seen_by_its_own_measure(
    admin: Connection, sound: Connection, *, work: str, gap: str | None, since: str, is_late: bool
) -> None:
    pass_time(admin, work, gap, since)
    assert troubles(admin) == (["schedule_silent"] if is_late else [])
    sound.execute("select ingest_private.note_tick(%s)", [work])
    assert troubles(admin) == []


def test_the_usual_gap_is_neither_that_of_an_outage_nor_of_two_ticks_at_once(
    admin: Connection, sound: Connection
) -> None:
    pass_time(admin, "dispatch", "5 s", "2 h")
    sound.execute("select ingest_private.note_tick('dispatch')")
    gap = """select extract(epoch from usual_gap)::float
               from ingest_private.ticks where work = 'dispatch'"""
    assert value(admin, gap) == 15
    pass_time(admin, "dispatch", "5 s", "0 s")
    sound.execute("select ingest_private.note_tick('dispatch')")
    assert value(admin, gap) == pytest.approx(5 / 3)


def begin(connection: Connection, work: str, period: str | None) -> bool:
    """A message asks for the work; whether it is begun."""
    return bool(value(connection, "select ingest_private.begin_work(%s, %s)", work, period))


def test_a_work_is_due_one_period_after_it_was_begun_whoever_asks(
    admin: Connection, sound: Connection
) -> None:
    for period, early in ((5, 2.5), (20, 10), (300, 10), (86_400, 10)):
        admin.execute("delete from ingest_private.works")
        assert begin(sound, "reconcile", f"{period} s")
        for passed in (0, 1, period - early - 1, period - early + 1, 9 * period, -60, -9_999):
            admin.execute(
                """update ingest_private.works
                      set begun_at = clock_timestamp() - make_interval(secs => %s)""",
                [passed],
            )
            # Less than no time has passed: the clock was set back.
            is_due = passed < 0 or passed > period - early
            assert begin(sound, "reconcile", f"{period} s") == is_due, (period, passed)
            assert not is_due or not begin(sound, "reconcile", f"{period} s")
        assert begin(sound, "dispatch", f"{period} s")  # each work has its own time
    assert begin(sound, "reconcile", None)  # the former release names no period
    assert begin(sound, "reconcile", None)


def test_of_many_that_ask_at_once_one_begins(database: Database) -> None:
    def ask(_: int) -> bool:
        with database.connect("docmill_worker") as connection:
            return begin(connection, "reconcile", "5 min")

    with ThreadPoolExecutor(8) as askers:
        assert list(askers.map(ask, range(24))).count(True) == 1


def test_neither_ticks_that_came_too_soon_nor_another_period_raise_an_alarm(
    admin: Connection, sound: Connection
) -> None:
    pass_time(admin, "reconcile", "0.01 s", "16 s")
    assert troubles(admin) == ["schedule_silent"]
    assert begin(sound, "reconcile", "300 s")
    assert troubles(admin) == []
    pass_time(admin, "reconcile", "300 s", "16 min")
    assert troubles(admin) == ["schedule_silent"]
    # The operator wants it once an hour. That is known before the work is due again.
    assert not begin(sound, "reconcile", "3600 s")
    assert troubles(admin) == []
    pass_time(admin, "reconcile", "300 s", "181 min")
    assert troubles(admin) == ["schedule_silent"]


def test_jobs_that_nobody_starts_are_seen(
    admin: Connection, sound: Connection, job_id: UUID
) -> None:
    pass_time(admin, "dispatch", "5 s", "4 s")
    admin.execute("update ingest_private.job_queue set aged_at = now() - interval '29 s'")
    assert troubles(admin) == []
    admin.execute("update ingest_private.job_queue set aged_at = now() - interval '31 s'")
    assert troubles(admin) == ["jobs_stand_still"]
    # Jobs that wait for a slot are in no stopped queue.
    admin.execute("update ingest_private.workers set slots = 0")
    assert troubles(admin) == []


def test_the_owner_of_a_waiting_job_is_told_when_the_schedule_has_stopped(
    database: Database, admin: Connection, job_id: UUID
) -> None:
    pass_time(admin, "dispatch", "5 s", "10 min")
    with as_client(database, {"sub": "alice"}) as alice:
        said = rows(alice, "select * from ingest.explain_job(%s)", job_id)
    assert "schedule" in said[0]["explanation"]


def test_a_lease_that_nobody_ends_is_seen_and_its_job_is_no_longer_said_to_work(
    admin: Connection, sound: Connection, job_id: UUID
) -> None:
    run = claimed(sound, job_id)
    sound.execute(
        "select ingest_private.report_progress(%s, %s, 'embedding', 1, 1, 1, 1, 0)",
        [run.job_id, run.token],
    )
    pass_time(admin, "rescue", "5 s", "4 s")
    admin.execute("update ingest_private.leases set expires_at = now() - interval '10 s'")
    explained = "select situation from ingest_private.explain_job(%s)"
    assert (troubles(admin), value(admin, explained, job_id)) == ([], "interrupted")
    admin.execute("update ingest_private.leases set expires_at = now() - interval '31 s'")
    assert troubles(admin) == ["leases_not_ended"]
    # Leases that ended before Postgres started are spared for a while.
    admin.execute("update ingest_private.leases set expires_at = clock_timestamp()")
    sound.execute("select ingest_private.rescue_jobs()")
    assert (troubles(admin), value(admin, explained, job_id)) == ([], "waiting")


def test_workers_receiver_breakers_pauses_and_events_are_seen(
    admin: Connection, sound: Connection
) -> None:
    admin.execute("delete from ingest_private.workers where not isolated")
    assert troubles(admin) == ["no_worker"]
    admin.execute("update ingest_private.workers set isolated = false")
    assert troubles(admin) == ["no_isolated_worker"]
    heartbeat(sound, "alone", isolated=True)
    admin.execute("update ingest_private.workers set isolated = id = 'alone'")
    heartbeat(sound)
    pass_time(admin, "receiver", "5 s", "31 s")
    assert troubles(admin) == ["receiver_silent"]
    sound.execute("select ingest_private.forget_tick('receiver')")  # a normal stop
    assert troubles(admin) == []
    admin.execute("insert into ingest_private.breakers values ('provider_auth', now())")
    admin.execute("insert into ingest_private.pauses values ('owner', 'bob')")
    assert troubles(admin) == ["breaker_open", "paused"]
    admin.execute("delete from ingest_private.breakers")
    admin.execute("delete from ingest_private.pauses")
    admin.execute(
        """insert into ingest_private.pending_events (object_id, reason, created_at)
           values (gen_random_uuid(), 'deleted', now() - interval '1 h')"""
    )
    assert troubles(admin) == ["events_unsettled"]


def test_what_was_searchable_and_is_gone_is_not_said_to_be_searchable(
    admin: Connection, sound: Connection, job_id: UUID
) -> None:
    [(object_id,)] = admin.execute("select id from storage.objects").fetchall()
    ingest(sound, object_id, ["one"])
    said = "select explanation from ingest_private.explain_job(%s)"
    assert value(admin, said, job_id) == "The document is searchable."
    put_object(admin, "a.txt", owner="bob")
    assert troubles(admin) == []
    assert "since then" in value(admin, said, job_id)
    delete_objects(admin, ["a.txt"])
    assert troubles(admin) == []
    assert "deleted" in value(admin, said, job_id)


def test_what_happened_to_a_file_and_is_not_looked_at_yet_is_told(
    database: Database, admin: Connection, sound: Connection
) -> None:
    object_id = put_object(admin, "a.txt", owner="alice")
    job_id = job_of(admin, object_id)
    ingest(sound, object_id, ["a"])
    explained = "select explanation from ingest_private.explain_job(%s)"
    assert value(admin, explained, job_id) == "The document is searchable."
    with database.connect() as other, other.transaction():
        other.execute("select from ingest.documents for update")
        put_object(admin, "a.txt", owner="alice")
        assert value(admin, "select count(*) from ingest_private.pending_events") == 1
        assert disagreements(admin) == []
        assert "something happened to the file" in value(admin, explained, job_id)
    sound.execute("select ingest_private.drain_pending_events()")
    assert disagreements(admin) == []
    assert "has a job of its own" in value(admin, explained, job_id)

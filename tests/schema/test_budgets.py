"""Budgets: spending is recorded; jobs over a budget wait and never fail."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from psycopg import errors as pg

from docmill.worker.admin import spending
from tests.schema.actors import (
    MODEL,
    Connection,
    Row,
    Run,
    claim,
    claimed,
    heartbeat,
    job_of,
    new_version,
    publish,
    rows,
    stage,
    take,
    value,
)
from tests.support.database import Database, put_object

SPEND = "select ingest_private.record_spend(%s, %s, %s, %s::numeric)"


def uploaded(admin: Connection, name: str, owner: str | None = "alice") -> UUID:
    return job_of(admin, put_object(admin, name, owner=owner))


def job(connection: Connection, job_id: UUID) -> Row:
    return rows(connection, "select * from ingest.jobs where id = %s", job_id)[0]


def budget(
    admin: Connection, usd: float, *, scope: str = "everything", key: str = "", period: str = "day"
) -> None:
    admin.execute(
        """insert into ingest_private.budgets (scope, key, period, usd) values (%s, %s, %s, %s)
               on conflict (scope, key, period) do update set usd = excluded.usd""",
        [scope, key, period, usd],
    )


def apply(admin: Connection) -> int:
    return int(value(admin, "select changed from ingest_private.apply_pauses(null)"))


def spend(worker: Connection, run: Run, usd: float, tokens: int = 100) -> bool:
    return bool(value(worker, SPEND, run.job_id, MODEL, tokens, usd))


def spent(admin: Connection) -> list[tuple[str, float]]:
    return [
        (row["purpose"], row["usd"])
        for row in rows(
            admin,
            """select purpose, sum(usd)::float as usd from ingest_private.spend
                group by 1 order by 1""",
        )
    ]


def usage(admin: Connection) -> tuple[int, float, int]:
    """Tokens and money of alice that are settled, and how many entries are not."""
    [row] = rows(
        admin,
        """select sum(tokens)::int as tokens, sum(usd)::float as usd,
                  (select count(*)::int from ingest_private.unsettled_spend) as unsettled
             from ingest.usage where owner_id = 'alice'""",
    )
    return row["tokens"], row["usd"], row["unsettled"]


def next_day() -> datetime:
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return today + timedelta(days=1)


class TestSpend:
    def test_is_booked_by_purpose_for_the_owner_and_for_all(self, database: Database):
        with database.connect() as admin, database.connect("docmill_worker") as worker:
            admin.execute("insert into storage.buckets (id, name) values ('docs', 'docs')")
            admin.execute("insert into ingest_private.sources (bucket_id) values ('docs')")
            alices = claimed(worker, uploaded(admin, "a.txt"))
            nobodys = claimed(worker, uploaded(admin, "b.txt", None))
            assert spend(worker, alices, 0.5)
            assert spend(worker, nobodys, 0.25)
            stage(worker, alices, ["one"])
            publish(worker, alices, ["one"])
            version = new_version(admin)
            value(admin, "select ingest_private.fill_index_versions()")
            [reindex] = rows(admin, "select id from ingest.jobs where index_version = %s", version)
            spend(worker, claimed(worker, reindex["id"]), 0.125)
            assert rows(
                admin, "select owner_id, purpose, usd::float from ingest.usage order by 2"
            ) == [
                {"owner_id": "alice", "purpose": "ingest", "usd": 0.5},
                {"owner_id": "alice", "purpose": "reindex", "usd": 0.125},
            ]
            assert spent(admin) == [("ingest", 0.75), ("reindex", 0.125)]

    def test_of_many_sessions_is_the_sum(self, wiped: Database, admin: Connection):
        for number in range(5):
            with wiped.connect("docmill_worker") as worker:
                spend(worker, claimed(worker, uploaded(admin, f"{number}.txt")), 0.5)
        assert spent(admin) == [("ingest", 2.5)]

    def test_at_the_same_time_waits_for_nobody_and_is_settled_by_the_next(
        self, wiped: Database, admin: Connection
    ):
        runs = [uploaded(admin, f"{number}.txt") for number in range(3)]
        with (
            wiped.connect("docmill_worker") as one,
            wiped.connect("docmill_worker", options="-c lock_timeout=100ms") as other,
        ):
            first, second, third = (
                claimed(one, runs[0]),
                claimed(other, runs[1]),
                claimed(one, runs[2]),
            )
            spend(one, first, 0.25, 10)
            with one.transaction():
                spend(one, first, 0.25, 10)
                spend(other, second, 0.5, 30)
                spend(other, second, 0.5, 30)
                # It is in use: what is left is settled later.
                other.execute("select ingest_private.settle_spend()")
                assert usage(admin) == (10, 0.25, 2)
            assert usage(admin) == (20, 0.5, 2)
            spend(one, third, 1, 5)
            assert usage(admin) == (85, 2.5, 0)
        assert spent(admin) == [("ingest", 2.5)]

    def test_that_is_unsettled_is_settled_with_the_next_dispatch(
        self, wiped: Database, admin: Connection, worker: Connection
    ):
        runs = [uploaded(admin, f"{number}.txt") for number in range(2)]
        spend(worker, claimed(worker, runs[0]), 0.25, 10)
        with wiped.connect("docmill_worker") as other, admin.transaction():
            admin.execute("select from ingest.usage for no key update")
            spend(other, claimed(other, runs[1]), 0.5, 30)
        worker.execute("select ingest_private.settle_spend()")
        assert usage(admin) == (40, 0.75, 0)
        worker.execute("select ingest_private.settle_spend()")
        assert usage(admin) == (40, 0.75, 0)

    def test_that_is_unsettled_counts_for_budgets_and_is_listed(
        self, wiped: Database, admin: Connection, worker: Connection
    ):
        budget(admin, 1, scope="each_owner")
        first, second, third = (uploaded(admin, f"{number}.txt") for number in range(3))
        assert spend(worker, claimed(worker, first), 0.25)
        with wiped.connect("docmill_worker") as other, admin.transaction():
            admin.execute("select from ingest.usage for no key update")
            assert not spend(other, claimed(other, second), 0.75)
        assert usage(admin)[1:] == (0.25, 1)
        assert claim(worker, third) is None
        [listed] = spending.list_usage(
            admin, since=next_day().date() - timedelta(days=1), by=["owner"], owner=None
        )
        assert (listed["owner_id"], float(listed["usd"])) == ("alice", 1)
        [entry] = spending.list_budgets(admin)
        assert float(entry["spent"]) == 1


class TestABudget:
    def test_of_everything_holds_all_for_the_day(self, admin: Connection, worker: Connection):
        heartbeat(worker)
        first, second = uploaded(admin, "a.txt"), uploaded(admin, "b.txt", "bob")
        budget(admin, 1)
        assert spend(worker, claimed(worker, first), 0.5)
        assert not spend(worker, claimed(worker, second), 0.5)
        third = uploaded(admin, "c.txt", "carol")
        assert claim(worker, third) is None
        held = job(admin, third)
        assert (held["state"], held["hold_reason"]) == ("queued", "owner_budget_exceeded")
        assert held["next_attempt_at"] == next_day()
        assert take(worker) == []

    def test_of_an_owner_holds_nobody_else(self, admin: Connection, worker: Connection):
        budget(admin, 1, scope="owner", key="alice")
        assert not spend(worker, claimed(worker, uploaded(admin, "a.txt")), 2)
        assert claim(worker, uploaded(admin, "b.txt")) is None
        assert claim(worker, uploaded(admin, "c.txt", "bob")) is not None

    def test_for_each_owner_gives_way_to_an_owners_own(self, admin: Connection, worker: Connection):
        budget(admin, 1, scope="each_owner")
        budget(admin, 10, scope="owner", key="bob")
        assert not spend(worker, claimed(worker, uploaded(admin, "a.txt")), 2)
        assert spend(worker, claimed(worker, uploaded(admin, "b.txt", "bob")), 2)
        # A missing owner is not an owner.
        assert spend(worker, claimed(worker, uploaded(admin, "c.txt", None)), 2)

    def test_of_an_owner_for_the_month_leaves_that_for_each_owners_day(
        self, admin: Connection, worker: Connection
    ):
        budget(admin, 1, scope="each_owner", period="day")
        budget(admin, 10, scope="owner", key="alice", period="month")
        assert not spend(worker, claimed(worker, uploaded(admin, "a.txt")), 2)

    def test_of_the_month_counts_its_days(self, admin: Connection, worker: Connection):
        today = datetime.now(UTC).date()
        first = today.replace(day=1)
        budget(admin, 3, scope="each_owner", period="month")
        for day, usd in ((first, 1), (first - timedelta(days=1), 100)):
            admin.execute(
                """insert into ingest.usage (owner_id, day, model, usd)
                   values ('alice', %s, 'm', %s)""",
                [day, usd],
            )
        run = claimed(worker, uploaded(admin, "a.txt"))
        assert spend(worker, run, 1.5)
        assert not spend(worker, run, 0.5)

    def test_of_an_owner_does_not_count_what_an_operator_reindexes(
        self, admin: Connection, worker: Connection
    ):
        budget(admin, 1, scope="each_owner")
        admin.execute(
            """insert into ingest.usage (owner_id, day, model, purpose, usd)
               values ('alice', now() at time zone 'utc', 'm', 'reindex', 5)"""
        )
        assert claim(worker, uploaded(admin, "a.txt")) is not None

    def test_that_is_raised_lets_go_on(self, admin: Connection, worker: Connection):
        budget(admin, 1)
        spend(worker, claimed(worker, uploaded(admin, "a.txt")), 1)
        waiting = uploaded(admin, "b.txt")
        assert apply(admin) == 0
        budget(admin, 2)
        assert apply(admin) == 1
        assert job(admin, waiting)["hold_reason"] is None
        assert claim(worker, waiting) is not None

    def test_that_is_removed_lets_go_on(self, admin: Connection, worker: Connection):
        budget(admin, 0)
        waiting = uploaded(admin, "a.txt")
        assert job(admin, waiting)["hold_reason"] == "owner_budget_exceeded"
        admin.execute("delete from ingest_private.budgets")
        assert apply(admin) == 1
        assert claim(worker, waiting) is not None

    def test_that_is_set_later_holds_what_waits(self, admin: Connection, worker: Connection):
        heartbeat(worker)
        waiting = uploaded(admin, "a.txt")
        budget(admin, 0)
        assert apply(admin) == 1
        assert job(admin, waiting)["hold_reason"] == "owner_budget_exceeded"
        assert take(worker) == []

    def test_is_renewed_by_the_clock(self, admin: Connection, worker: Connection):
        heartbeat(worker)
        budget(admin, 1)
        run = claimed(worker, uploaded(admin, "a.txt"))
        spend(worker, run, 1)
        publish(worker, run, [])
        waiting = uploaded(admin, "b.txt")
        # It is the next day: the spending is yesterday's, and the job's waiting time is over.
        admin.execute("update ingest_private.spend set day = day - 1")
        admin.execute(
            "update ingest_private.job_queue set due_at = now() where job_id = %s", [waiting]
        )
        assert waiting in take(worker)
        assert claim(worker, waiting) is not None
        assert job(admin, waiting)["hold_reason"] is None

    def test_used_up_in_a_run_counts_no_attempt(self, admin: Connection, worker: Connection):
        budget(admin, 1, scope="each_owner")
        run = claimed(worker, uploaded(admin, "a.txt"))
        assert not spend(worker, run, 1)
        assert value(
            worker,
            "select ingest_private.release_job(%s, %s, %s, %s, '5 s')",
            *(run.job_id, run.token, "owner_budget_exceeded", "owner_budget_exceeded"),
        )
        held = job(admin, run.job_id)
        assert (held["state"], held["hold_reason"]) == ("queued", "owner_budget_exceeded")
        assert held["next_attempt_at"] == next_day()
        budget(admin, 5, scope="each_owner")
        apply(admin)
        assert claimed(worker, run.job_id).attempt == 1

    def test_and_a_pause_are_ended_one_by_one(self, admin: Connection, worker: Connection):
        budget(admin, 0)
        waiting = uploaded(admin, "a.txt")
        admin.execute("insert into ingest_private.pauses values ('everything')")
        assert apply(admin) == 1
        assert job(admin, waiting)["hold_reason"] == "paused"
        admin.execute("delete from ingest_private.pauses")
        assert apply(admin) == 1
        assert job(admin, waiting)["hold_reason"] == "owner_budget_exceeded"
        assert claim(worker, waiting) is None

    def test_is_explained_to_the_owner_without_what_others_spend(
        self, admin: Connection, worker: Connection
    ):
        budget(admin, 7.25)
        budget(admin, 1.5, scope="each_owner")
        spend(worker, claimed(worker, uploaded(admin, "a.txt")), 1.75)
        spend(worker, claimed(worker, uploaded(admin, "b.txt", "bob")), 6)
        waiting = uploaded(admin, "c.txt")
        [found] = rows(admin, "select * from ingest_private.explain_job(%s)", waiting)
        assert (found["situation"], found["hold_reason"]) == ("held", "owner_budget_exceeded")
        assert found["next_attempt_at"] == next_day()
        assert "1.75 of 1.50 USD" in found["explanation"]
        assert "That of the project for this day is." in found["explanation"]
        assert "7.75" not in found["explanation"]

    def test_of_everything_is_a_trouble_once_it_is_used_up(
        self, admin: Connection, worker: Connection
    ):
        budget(admin, 1)
        troubles = "select trouble from ingest_private.troubles() where trouble like 'budget%'"
        assert rows(admin, troubles) == []
        spend(worker, claimed(worker, uploaded(admin, "a.txt")), 1)
        assert rows(admin, troubles) == [{"trouble": "budget_used_up"}]


@pytest.mark.parametrize(
    "values",
    [
        "('owner', '', 'day', 1)",
        "('everything', 'alice', 'day', 1)",
        "('each_owner', '', 'week', 1)",
        "('each_owner', '', 'day', -1)",
        "('each_owner', '', 'day', 'NaN')",
        "('bucket', '', 'day', 1)",
    ],
)
def test_a_budget_that_says_nothing_is_refused(admin: Connection, values: str):
    with pytest.raises(pg.CheckViolation):
        admin.execute(
            f"insert into ingest_private.budgets (scope, key, period, usd) values {values}".encode()
        )

"""Which jobs are dispatched, how many, and in what order."""

from uuid import UUID

import pytest

from tests.schema.actors import (
    Background,
    Connection,
    claimed,
    heartbeat,
    job_of,
    rows,
    take,
    value,
    wait_until_blocked,
)
from tests.support.database import Database, delete_objects, put_object, watch_bucket


@pytest.fixture
def database(wiped: Database) -> Database:
    return wiped


def put_many(connection: Connection, count: int, owner: str | None, bucket: str = "docs") -> None:
    """Upload many small objects of one owner, each with its own statement."""
    for number in range(count):
        put_object(connection, f"{owner}/{number}.txt", owner=owner, bucket=bucket)


def finish(connection: Connection, job_ids: list[UUID]) -> None:
    """End these jobs like a publish, but without chunks."""
    connection.execute(
        "select ingest_private.end_job(id, 'cancelled') from unnest(%s::uuid[]) as id", [job_ids]
    )


class TestWindow:
    def test_without_a_worker_nothing_is_dispatched(self, admin: Connection, worker: Connection):
        put_many(admin, 3, "alice")
        assert take(worker) == []

    def test_is_as_wide_as_the_live_workers_have_slots(self, admin: Connection, worker: Connection):
        put_many(admin, 20, "alice")
        heartbeat(worker, "w1", slots=3)
        heartbeat(worker, "w2", slots=4)
        heartbeat(worker, "draining", slots=100, draining=True)
        heartbeat(worker, "isolated", slots=100, isolated=True)
        heartbeat(worker, "vanished", slots=100)
        admin.execute(
            "update ingest_private.workers set expires_at = now() - interval '1 s' "
            "where id = 'vanished'"
        )
        assert len(take(worker)) == 7
        assert take(worker) == []

    def test_counts_what_is_dispatched_and_what_runs(self, admin: Connection, worker: Connection):
        put_many(admin, 20, "alice")
        heartbeat(worker, slots=5)
        taken = take(worker)
        claimed(worker, taken[0])
        assert take(worker) == []
        finish(admin, taken[1:3])
        assert len(take(worker)) == 2
        heartbeat(worker, slots=2)
        assert take(worker) == []

    def test_is_kept_where_statistics_are_of_a_shorter_queue(
        self, admin: Connection, worker: Connection
    ):
        """Otherwise the planner asks for the next jobs once per row, and gets others each time."""
        put_many(admin, 1, "alice")
        admin.execute("analyze ingest_private.job_queue")
        put_many(admin, 20, "bob")
        heartbeat(worker, slots=3)
        assert len(take(worker)) == 3

    def test_of_two_calls_at_once_is_filled_once(
        self, database: Database, admin: Connection, worker: Connection
    ):
        put_many(admin, 20, "alice")
        heartbeat(worker, slots=5)
        with database.connect("docmill_worker") as other:
            with worker.transaction():
                first = take(worker)
                second = Background(lambda: take(other))
                wait_until_blocked(admin, other.info.backend_pid)
            assert len(first) + len(second()) == 5

    def test_of_the_isolated_worker_is_its_own(self, admin: Connection, worker: Connection):
        put_many(admin, 4, "alice")
        admin.execute(
            """update ingest_private.job_queue set isolated = true
                where job_id in (select job_id from ingest_private.job_queue limit 2)"""
        )
        heartbeat(worker, "ordinary", slots=5)
        assert len(take(worker)) == 2
        heartbeat(worker, "alone", slots=1, isolated=True)
        taken = rows(worker, "select * from ingest_private.take_ready_jobs('1 min')")
        assert [row["isolated"] for row in taken] == [True]
        assert take(worker) == []


class TestHints:
    def test_that_are_lost_come_back(self, admin: Connection, worker: Connection):
        put_many(admin, 1, "alice")
        heartbeat(worker, slots=5)
        taken = take(worker, resend="1 hour")
        assert take(worker) == []
        admin.execute("update ingest_private.job_queue set due_at = now() - interval '1 second'")
        assert take(worker) == taken
        assert value(admin, "select due_at > now() from ingest_private.job_queue")

    def test_of_jobs_that_are_not_due_are_not_sent(self, admin: Connection, worker: Connection):
        put_many(admin, 1, "alice")
        heartbeat(worker, slots=5)
        run = claimed(worker, take(worker)[0])
        worker.execute(
            "select ingest_private.release_job(%s, %s, 'rate_limited', null, '1 hour')",
            [run.job_id, run.token],
        )
        assert take(worker) == []
        admin.execute("update ingest_private.job_queue set due_at = now() - interval '1 second'")
        assert take(worker) == [run.job_id]

    def test_of_running_jobs_are_not_sent_again(self, admin: Connection, worker: Connection):
        put_many(admin, 1, "alice")
        heartbeat(worker, slots=5)
        claimed(worker, take(worker, resend="0")[0])
        assert take(worker) == []

    def test_of_deleted_objects_are_not_sent(self, admin: Connection, worker: Connection):
        put_many(admin, 1, "alice")
        heartbeat(worker, slots=5)
        delete_objects(admin, ["alice/0.txt"])
        assert take(worker) == []


class TestOrder:
    @staticmethod
    def order(admin: Connection, worker: Connection) -> list[str]:
        """Names of the objects in the order in which one slot would take them."""
        heartbeat(worker, slots=1)
        names = []
        while taken := take(worker):
            names.append(
                value(admin, "select object_name from ingest.jobs where id = %s", taken[0])
            )
            finish(admin, taken)
        return names

    def test_of_one_owner_is_the_order_of_upload(self, admin: Connection, worker: Connection):
        put_many(admin, 5, "alice")
        assert self.order(admin, worker) == [f"alice/{number}.txt" for number in range(5)]

    def test_urgent_sources_come_first(
        self, database: Database, admin: Connection, worker: Connection
    ):
        for bucket, priority in (("low", 9), ("high", 0)):
            watch_bucket(database, bucket, priority=priority)
        for bucket in ("low", "docs", "high"):
            put_object(admin, bucket, bucket=bucket)
        assert self.order(admin, worker) == ["high", "docs", "low"]

    def test_owners_take_turns(self, admin: Connection, worker: Connection):
        put_many(admin, 4, "alice")
        put_many(admin, 4, "bob")
        order = [name.split("/")[0] for name in self.order(admin, worker)]
        for count in range(8):
            served = order[:count]
            assert abs(served.count("alice") - served.count("bob")) <= 2, order

    def test_objects_without_owner_are_one_party_for_each_source(
        self, database: Database, admin: Connection, worker: Connection
    ):
        watch_bucket(database, "other")
        put_many(admin, 4, None)
        put_many(admin, 1, None, bucket="other")
        position = self.order(admin, worker).index("None/0.txt")
        assert position <= 1

    def test_a_source_of_twice_the_weight_gets_twice_the_turns(
        self, database: Database, admin: Connection, worker: Connection
    ):
        watch_bucket(database, "heavy", weight=2)
        put_many(admin, 6, "alice")
        put_many(admin, 12, "bob", bucket="heavy")
        first = [name.split("/")[0] for name in self.order(admin, worker)][:9]
        assert 5 <= first.count("bob") <= 7

    def test_a_big_document_takes_more_of_its_owners_share(
        self, admin: Connection, worker: Connection
    ):
        put_object(admin, "bob/first", owner="bob")
        put_object(admin, "alice/big", owner="alice", size=50 << 20)
        put_many(admin, 5, "bob")
        assert self.order(admin, worker)[-1] == "alice/big"


class TestFairness:
    SLOTS = 20

    @staticmethod
    def backlog(admin: Connection, owner: str, count: int, bucket: str = "docs") -> None:
        """Write a backlog like that of 1,000 uploads, in one statement."""
        admin.execute(
            """insert into storage.objects (bucket_id, name, version, owner_id, metadata)
               select %s, %s || '/' || n, 'v', %s, '{"size": 1000}'
                 from generate_series(1, %s) as n""",
            [bucket, owner, owner, count],
        )

    def ahead(self, admin: Connection, object_id: UUID) -> int:
        """How many jobs would be dispatched before the object's job."""
        ahead: int = value(
            admin,
            """select count(*) from ingest_private.job_queue as entry,
                      ingest_private.job_queue as mine
                where mine.job_id = %s and entry.phase = 'ready'
                  and (entry.priority, entry.rank) < (mine.priority, mine.rank)""",
            job_of(admin, object_id),
        )
        return ahead

    def test_a_backlog_of_a_thousand_delays_a_single_file_by_the_window_at_most(
        self, admin: Connection, worker: Connection
    ):
        self.backlog(admin, "alice", 1000)
        heartbeat(worker, slots=self.SLOTS)
        # At the start, in the middle, and after more jobs arrived.
        for _ in range(3):
            taken = take(worker)
            assert self.ahead(admin, put_object(admin, "bob/1", owner="bob")) <= self.SLOTS
            finish(admin, taken)
            finish(admin, take(worker))
            delete_objects(admin, ["bob/1"])
        finish(admin, take(worker))
        self.backlog(admin, "carol", 100)
        take(worker)
        assert self.ahead(admin, put_object(admin, "bob/2", owner="bob")) <= self.SLOTS

    def test_a_big_urgent_job_that_runs_puts_no_newcomer_behind_the_backlog_of_others(
        self, database: Database, admin: Connection, worker: Connection
    ):
        """Each priority has its own clock; otherwise a newcomer ranks behind the urgent job."""
        watch_bucket(database, "urgent", priority=0)
        self.backlog(admin, "alice", 300)
        put_object(admin, "huge", bucket="urgent", owner="carol", size=1 << 40)
        heartbeat(worker, slots=self.SLOTS)
        take(worker)
        assert self.ahead(admin, put_object(admin, "bob/1", owner="bob")) <= self.SLOTS

    def test_an_owner_who_was_idle_has_saved_nothing_up(
        self, admin: Connection, worker: Connection
    ):
        put_object(admin, "bob/0", owner="bob")
        self.backlog(admin, "alice", 300)
        heartbeat(worker, slots=self.SLOTS)
        for _ in range(5):
            finish(admin, take(worker))
        taken = take(worker)
        self.backlog(admin, "bob", 100)
        finish(admin, taken)
        owners = rows(
            admin,
            "select owner_id from ingest.jobs where id = any(%s)",
            [*take(worker)],
        )
        share = [row["owner_id"] for row in owners].count("bob")
        assert self.SLOTS * 0.3 <= share <= self.SLOTS * 0.7


class TestAging:
    def test_a_job_that_has_been_ready_for_long_moves_up(
        self, admin: Connection, worker: Connection
    ):
        put_many(admin, 2, "alice")
        admin.execute(
            """update ingest_private.job_queue set aged_at = now() - interval '6 minutes'
                where rank = (select min(rank) from ingest_private.job_queue)"""
        )
        worker.execute("select ingest_private.age_jobs()")
        worker.execute("select ingest_private.age_jobs()")
        priorities = rows(admin, "select priority from ingest_private.job_queue order by rank")
        assert [row["priority"] for row in priorities] == [4, 5]

    def test_of_a_backlog_one_job_of_each_owner_moves_up_at_a_time(
        self, admin: Connection, worker: Connection
    ):
        put_many(admin, 200, "alice")
        put_many(admin, 3, "bob")
        admin.execute("update ingest_private.job_queue set aged_at = now() - interval '9 minutes'")
        for _ in range(3):
            worker.execute("select ingest_private.age_jobs()")
        lifted = rows(
            admin,
            "select fairness_key, priority, job_id from ingest_private.job_queue"
            " where priority < 5",
        )
        assert sorted(row["fairness_key"] for row in lifted) == ["owner:alice", "owner:bob"]
        assert {row["priority"] for row in lifted} == {4}
        # A newcomer waits for lifted jobs and one job of each owner, not for the backlog.
        newcomer = job_of(admin, put_object(admin, "new", owner="carol"))
        heartbeat(worker, slots=7)
        assert newcomer in take(worker)
        # Another job of the owner moves up when that one has ended.
        first = next(row["job_id"] for row in lifted if row["fairness_key"] == "owner:alice")
        finish(admin, [first])
        worker.execute("select ingest_private.age_jobs()")
        again = rows(
            admin,
            "select job_id from ingest_private.job_queue"
            " where priority < 5 and fairness_key = 'owner:alice'",
        )
        assert len(again) == 1

    def test_it_never_moves_beyond_the_highest(self, admin: Connection, worker: Connection):
        put_many(admin, 1, "alice")
        for _ in range(7):
            admin.execute(
                "update ingest_private.job_queue set aged_at = now() - interval '6 minutes'"
            )
            worker.execute("select ingest_private.age_jobs()")
        assert value(admin, "select priority from ingest_private.job_queue") == 0

    def test_the_lowest_priority_is_served_at_last_beside_a_stream_of_urgent_jobs(
        self, database: Database, admin: Connection, worker: Connection
    ):
        watch_bucket(database, "low", priority=9)
        watch_bucket(database, "high", priority=0)
        heartbeat(worker, slots=1)
        waiting = put_object(admin, "patient", bucket="low", owner="bob")
        for number in range(60):
            put_object(admin, f"{number}", bucket="high", owner="alice")
            put_object(admin, f"{number}+", bucket="high", owner="alice")
            taken = take(worker)
            if job_of(admin, waiting) in taken:
                break
            finish(admin, taken)
            admin.execute(
                "update ingest_private.job_queue set aged_at = aged_at - interval '6 minutes'"
            )
            worker.execute("select ingest_private.age_jobs()")
        assert 8 <= number < 30

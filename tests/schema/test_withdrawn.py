"""Documents are withdrawn at once, with little work, and then drained in parts."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from uuid import UUID

import pytest

from tests.schema.actors import (
    LIVE_CHUNKS,
    Connection,
    Run,
    claimed,
    document_of,
    drain_withdrawn,
    ingest,
    job_of,
    locked_document,
    publish,
    rows,
    search,
    stage,
    stage_missing,
    upload,
    value,
)
from tests.schema.test_sync import move
from tests.support.database import Database, as_client, delete_objects, put_object, watch_bucket

TEXTS: Final = [f"text {number}" for number in range(30)]


@pytest.fixture
def database(wiped: Database) -> Database:
    return wiped


@pytest.fixture
def other(database: Database) -> Iterator[Connection]:
    """A second connection of the platform."""
    with database.connect() as connection:
        yield connection


def found(database: Database, caller: str, text: str = "one") -> list[str]:
    """What a caller finds."""
    claims = {"role": caller} if caller == "service_role" else {"sub": caller}
    with as_client(database, claims, read_only=True) as client:
        return [hit["content"] for hit in search(client, text, match_count=50)]


def withdrawn(connection: Connection) -> int:
    return int(value(connection, "select count(*) from ingest_private.withdrawn"))


def hiding(connection: Connection) -> list[bool]:
    """For each pending event, whether it hides."""
    events = rows(connection, "select hides from ingest_private.pending_events order by id")
    return [event["hides"] for event in events]


class TestStoragesTransaction:
    """It writes the same few rows for one chunk and for thirty, and none of the big tables."""

    STATEMENTS: Final = {
        "overwrite": "update storage.objects set version = 'v2' where name = 'a'",
        "change of owner": "update storage.objects set owner_id = 'bob' where name = 'a'",
        "move": "update storage.objects set name = 'b', version = 'v2' where name = 'a'",
        "move out": "update storage.objects set bucket_id = 'other' where name = 'a'",
        "archive": "update storage.objects set archived_at = now() where name = 'a'",
        "delete": "delete from storage.objects where name = 'a'",
    }
    BIG: Final = (
        *("ingest_private.chunks_1", "ingest_private.chunk_positions_1"),
        *("ingest_private.staged_chunks", "ingest_private.document_windows"),
    )

    @pytest.mark.parametrize("statement", STATEMENTS.values(), ids=STATEMENTS.keys())
    def test_writes_and_reads_no_more_for_a_large_document(
        self, database: Database, admin: Connection, worker: Connection, statement: str
    ):
        touched = []
        for texts in (TEXTS[:1], TEXTS):
            object_id = upload(database, "a", texts)
            put_object(admin, "a")
            run = claimed(worker, job_of(admin, object_id))
            stage(worker, run, [f"new {text}" for text in texts])
            for number, _ in enumerate(texts, start=1):
                worker.execute(
                    "select ingest_private.keep_window(%s, %s, sha256('x'), '1', %s, 'x')",
                    [run.job_id, run.token, number],
                )
            with admin.transaction(force_rollback=True):
                admin.execute("set local storage.allow_delete_query = 'true'")
                before = self.counts(admin)
                admin.execute(statement.encode())
                admin.execute("set constraints all immediate")
                after = self.counts(admin)
            touched.append({name: after[name] - before[name] for name in after})
            delete_objects(admin, ["a"])
            drain_withdrawn(admin)
        few, many = touched
        written = {name: count for name, count in many.items() if name.startswith("written")}
        assert written == dict.fromkeys((f"written {table}" for table in self.BIG), 0)
        assert all(many[name] <= few[name] + 1 for name in many), (few, many)

    def counts(self, connection: Connection) -> dict[str, int]:
        """What this transaction has written to the big tables, and read from them."""
        return {
            f"{what} {row['name']}": int(row[what])
            for row in rows(
                connection,
                """select relid::regclass::text as name,
                          n_tup_ins + n_tup_upd + n_tup_del as written,
                          seq_tup_read + coalesce(idx_tup_fetch, 0) as read
                     from pg_stat_xact_all_tables where relid = any(%s::regclass[])""",
                list(self.BIG),
            )
            for what in ("written", "read")
        }

    def test_has_no_foreign_key_that_leads_from_documents_to_what_grows(self, admin: Connection):
        """Deleting a document would check such rows one by one."""
        assert (
            rows(
                admin,
                """select conrelid::regclass::text from pg_constraint
                    where contype = 'f' and confrelid = 'ingest.documents'::regclass""",
            )
            == []
        )

    def test_waits_for_nothing_longer_than_its_bound(self, admin: Connection):
        bounds = rows(
            admin,
            """select proname, substring(array_to_string(proconfig, ' ')
                                         from 'lock_timeout=(\\S+)') as bound
                 from pg_proc where pronamespace = 'ingest_private'::regnamespace
                  and (prorettype = 'trigger'::regtype and proname like 'on_object%'
                       or proname in ('ring_doorbell', 'note_unrung'))""",
        )
        assert {row["bound"] for row in bounds} == {"5ms"}
        assert len(bounds) == 5


class TestWhatIsHidden:
    """The document is locked: the pending event says whether it may still be found."""

    def test_an_overwrite_by_the_same_owner_hides_nothing(
        self, database: Database, admin: Connection, worker: Connection
    ):
        object_id = upload(database, "a", ["one"])
        with locked_document(database, object_id):
            put_object(admin, "a", owner="alice")
            assert hiding(admin) == [False]
            assert found(database, "alice") == ["one"]

    @pytest.mark.parametrize("change", ["overwrite", "owner", "delete", "move out"])
    def test_anything_else_does_and_the_service_role_does_not_find_it_either(
        self, database: Database, admin: Connection, worker: Connection, change: str
    ):
        object_id = upload(database, "a", ["one"])
        with locked_document(database, object_id):
            if change == "overwrite":
                put_object(admin, "a", owner="bob")
            elif change == "owner":
                admin.execute("update storage.objects set owner_id = 'bob'")
            elif change == "delete":
                delete_objects(admin, ["a"])
            else:
                move(admin, "a", "a", to="other")
            assert hiding(admin) == [True]
            for caller in ("alice", "bob", "service_role"):
                assert found(database, caller) == []
            with as_client(database, {"sub": "alice"}, read_only=True) as client:
                for table in ("documents", "chunks", "chunk_positions"):
                    assert rows(client, f"select from ingest.{table}") == []
        worker.execute("select ingest_private.drain_pending_events()")
        assert hiding(admin) == []
        for caller in ("alice", "bob", "service_role"):
            assert found(database, caller) == []

    def test_what_goes_back_to_its_owner_is_hidden_while_an_earlier_event_hides_it(
        self, database: Database, admin: Connection, worker: Connection, other: Connection
    ):
        """The drain of the earlier event may have changed the owner, uncommitted."""
        object_id = upload(database, "a", ["one"])
        with locked_document(database, object_id):
            put_object(admin, "a", owner="bob")
        with other.transaction():
            other.execute("select ingest_private.drain_pending_events()")
            put_object(admin, "a", owner="alice")
            put_object(admin, "a", owner="alice")
            assert hiding(admin) == [True] * 3
        # Bob's document exists, but is not shown to him.
        assert document_of(admin, object_id)["owner_id"] == "bob"
        with as_client(database, {"sub": "bob"}, read_only=True) as client:
            assert rows(client, "select from ingest.documents") == []
        worker.execute("select ingest_private.drain_pending_events()")
        assert document_of(admin, object_id)["owner_id"] == "alice"

    def test_what_is_not_yet_its_documents_is_hidden(
        self, database: Database, admin: Connection, worker: Connection, other: Connection
    ):
        """An uncommitted sync gives it to bob, by a new rule."""
        watch_bucket(database, "second", owner_from="folder:1")
        object_id = upload(database, "alice/a", ["one"], bucket="second")
        admin.execute("set session_replication_role = replica")
        admin.execute("update storage.objects set name = 'bob/a' where name = 'alice/a'")
        admin.execute("reset session_replication_role")
        with other.transaction():
            other.execute("select ingest_private.sync_object(%s, null, null)", [object_id])
            move(admin, "bob/a", "alice/a", bucket="second")
            assert hiding(admin) == [True]
        with as_client(database, {"sub": "bob"}, read_only=True) as client:
            assert rows(client, "select from ingest.documents") == []

    def test_a_document_that_comes_in_after_its_object_was_deleted_is_hidden(
        self, database: Database, admin: Connection, other: Connection
    ):
        admin.execute("set session_replication_role = replica")
        object_id = put_object(admin, "a", owner="alice")
        admin.execute("reset session_replication_role")
        with other.transaction():
            other.execute("select ingest_private.sync_object(%s, null, null)", [object_id])
            delete_objects(admin, ["a"])
        assert document_of(admin, object_id)["owner_id"] == "alice"
        with as_client(database, {"sub": "alice"}, read_only=True) as client:
            assert rows(client, "select from ingest.documents") == []

    def test_an_upload_of_the_name_of_a_hidden_one_is_found_once_it_is_published(
        self, database: Database, admin: Connection, worker: Connection
    ):
        old = upload(database, "a", ["old"])
        with locked_document(database, old):
            delete_objects(admin, ["a"])
            new = put_object(admin, "a", owner="alice")
        worker.execute("select ingest_private.drain_pending_events()")
        ingest(worker, new, ["new"])
        assert found(database, "alice") == ["new"]


class TestTheNextVersion:
    def test_of_a_deleted_file_is_found_beside_what_is_left_of_the_old_one(
        self, database: Database, admin: Connection
    ):
        upload(database, "a", ["old", "both"])
        delete_objects(admin, ["a"])
        upload(database, "a", ["both", "new"])
        assert withdrawn(admin) == 1
        for caller in ("alice", "service_role"):
            assert sorted(found(database, caller)) == ["both", "new"]

    def test_of_an_object_that_went_out_and_came_back_too(
        self, database: Database, admin: Connection, worker: Connection
    ):
        object_id = upload(database, "a", ["old", "both"])
        move(admin, "a", "a", to="other")
        move(admin, "a", "a", bucket="other", to="docs")
        ingest(worker, object_id, ["both", "new"])
        assert withdrawn(admin) == 1
        for caller in ("alice", "service_role"):
            assert sorted(found(database, caller)) == ["both", "new"]

    def test_of_one_that_went_from_hand_to_hand_pays_for_nothing_twice(
        self, database: Database, admin: Connection, worker: Connection
    ):
        object_id = upload(database, "a", ["one", "two"])
        for owner in ("bob", "carol", "alice", "bob"):
            put_object(admin, "a", owner=owner)
            if owner == "carol":
                drain_withdrawn(worker)
        run = claimed(worker, job_of(admin, object_id))
        assert stage_missing(worker, run, ["one", "two"]) == []
        assert publish(worker, run, ["one", "two"]) == "published"
        assert sorted(found(database, "bob")) == ["one", "two"]
        drain_withdrawn(worker)
        for table in ("withdrawn", "former_documents", "staged_chunks"):
            assert value(admin, f"select count(*) from ingest_private.{table}") == 0
        assert value(admin, "select count(*) from ingest.chunks") == 2

    def test_when_it_is_deleted_in_the_end_nothing_stays_of_those_before_it(
        self, database: Database, admin: Connection, worker: Connection
    ):
        upload(database, "a", ["one", "two"])
        put_object(admin, "a", owner="bob")
        drain_withdrawn(worker)
        assert value(admin, "select count(*) from ingest_private.staged_chunks") == 2
        delete_objects(admin, ["a"])
        drain_withdrawn(worker)
        assert value(admin, "select count(*) from ingest_private.staged_chunks") == 0
        assert withdrawn(admin) == 0

    def test_a_prune_leaves_what_a_waiting_job_takes_over(
        self, database: Database, admin: Connection, worker: Connection
    ):
        upload(database, "a", ["one"])
        put_object(admin, "a", owner="bob")
        drain_withdrawn(worker)
        admin.execute("update ingest_private.staged_chunks set staged_at = now() - interval '9 d'")
        worker.execute("select ingest_private.prune('1 day', '1 day')")
        assert value(admin, "select count(*) from ingest_private.staged_chunks") == 1


class TestDrain:
    @pytest.fixture
    def gone(self, database: Database, admin: Connection) -> None:
        """Three documents with thirty chunks."""
        for name in "abc":
            upload(database, name, [f"{name} {text}" for text in TEXTS])
        delete_objects(admin, ["a", "b", "c"])

    @pytest.mark.usefixtures("gone")
    def test_removes_no_more_than_it_is_told_and_all_in_the_end(
        self, admin: Connection, worker: Connection
    ):
        before, calls = self.left(admin), 0
        while removed := value(worker, "select ingest_private.drain_withdrawn(7)"):
            after = self.left(admin)
            assert 0 <= before - after <= removed <= 7
            before, calls = after, calls + 1
        assert before == withdrawn(admin) == 0
        assert calls > 3 * 60 / 7
        assert value(admin, "select count(document_id) from ingest.jobs") == 0

    @staticmethod
    def left(connection: Connection) -> int:
        return int(
            value(
                connection,
                """select (select count(*) from ingest.chunks)
                          + (select count(*) from ingest.chunk_positions)""",
            )
        )

    @pytest.mark.usefixtures("gone")
    def test_that_is_broken_off_is_repeated(self, admin: Connection, worker: Connection):
        drain_one = "select ingest_private.drain_withdrawn(20)"
        worker.execute(drain_one)
        with worker.transaction(force_rollback=True):
            worker.execute(drain_one)
        drain_withdrawn(worker)
        assert self.left(admin) == withdrawn(admin) == 0

    @pytest.mark.usefixtures("gone")
    def test_beside_another_takes_other_documents_and_waits_for_nothing(
        self, admin: Connection, worker: Connection, other: Connection
    ):
        one = "select ingest_private.drain_withdrawn(10)"
        other.execute("set lock_timeout = '1ms'")
        with worker.transaction():
            assert value(worker, one) == 10
            assert value(other, one) == 0
        drain_withdrawn(other)
        assert self.left(admin) == withdrawn(admin) == 0

    @pytest.mark.parametrize(
        "in_use",
        [
            "select from ingest.jobs where finished_at is null for no key update",
            "select from ingest_private.leases for key share",
            "select from ingest_private.job_queue for update",
        ],
    )
    def test_leaves_what_somebody_still_writes_for(
        self, database: Database, admin: Connection, worker: Connection, in_use: str
    ):
        run = self.running(database, admin, worker)
        with database.connect() as holder, holder.transaction():
            holder.execute(in_use.encode())
            delete_objects(admin, ["a"])
            assert drain_withdrawn(worker) == 0
            assert value(admin, LIVE_CHUNKS) == 0
            assert value(admin, "select state from ingest.jobs where id = %s", run.job_id) == (
                "running"
            )
        drain_withdrawn(worker)
        assert publish(worker, run, ["one", "new"]) == "lost"
        assert self.left(admin) == withdrawn(admin) == 0
        assert value(admin, "select count(*) from ingest_private.staged_chunks") == 0

    @staticmethod
    def running(database: Database, admin: Connection, worker: Connection) -> Run:
        object_id = upload(database, "a", ["one"])
        put_object(admin, "a", owner="alice")
        run = claimed(worker, job_of(admin, object_id))
        stage(worker, run, ["new"])
        return run

    def test_a_run_of_what_was_withdrawn_meanwhile_publishes_nothing(
        self, database: Database, admin: Connection, worker: Connection
    ):
        """Its job could not be ended, because it was in use."""
        run = self.running(database, admin, worker)
        with database.connect() as holder, holder.transaction():
            holder.execute("select from ingest.jobs for key share")
            delete_objects(admin, ["a"])
        assert publish(worker, run, ["one", "new"]) == "lost"

    def test_a_vanished_worker_of_what_was_withdrawn_is_no_obstacle(
        self, database: Database, admin: Connection, worker: Connection
    ):
        run = self.running(database, admin, worker)
        with database.connect() as holder, holder.transaction():
            holder.execute("select from ingest.jobs for update")
            delete_objects(admin, ["a"])
        admin.execute("update ingest_private.leases set expires_at = now() - interval '1 s'")
        assert value(worker, "select ingest_private.rescue_jobs()") == 1
        again = "select from ingest_private.claim_job(%s, 'w', true, '1 min')"
        assert rows(worker, again, run.job_id) == []
        assert value(admin, "select state from ingest.jobs where id = %s", run.job_id) == (
            "superseded"
        )


class TestPendingEvents:
    """One that cannot be settled does not delay the others."""

    @contextmanager
    def slow(self, admin: Connection, object_id: UUID) -> Iterator[None]:
        """While this is open, settling the event of this object takes for ever."""
        definition = value(
            admin, "select pg_get_functiondef('ingest_private.settle_event'::regproc)"
        )
        admin.execute(
            f"""create or replace function ingest_private.settle_event(
                    p_event_id bigint, p_object_id uuid)
                returns boolean language plpgsql security definer as $$
                begin
                    if p_object_id = '{object_id}' then
                        perform pg_sleep(60);
                    end if;
                    delete from ingest_private.pending_events where id = p_event_id;
                    return true;
                end $$""".encode()
        )
        try:
            yield
        finally:
            admin.execute(definition.encode())

    def test_one_that_runs_into_the_time_out_goes_behind_all_others(
        self, admin: Connection, worker: Connection
    ):
        ids = [put_object(admin, name) for name in "abc"]
        for object_id in ids:
            admin.execute(
                "insert into ingest_private.pending_events (object_id, reason) values (%s, 'x')",
                [object_id],
            )
        with self.slow(admin, ids[0]):
            worker.execute("set statement_timeout = '300ms'")
            for _ in range(2):
                worker.execute("select ingest_private.drain_pending_events(3)")
            left = rows(admin, "select object_id, reason from ingest_private.pending_events")
        assert left == [{"object_id": ids[0], "reason": "57014"}]

    def test_no_more_are_synced_at_once_than_it_is_told(
        self, admin: Connection, worker: Connection
    ):
        for name in "abc":
            admin.execute(
                "insert into ingest_private.pending_events (object_id, reason) values (%s, 'x')",
                [put_object(admin, name)],
            )
        assert value(worker, "select settled from ingest_private.drain_pending_events(2)") == 2


class TestPlans:
    """Without statistics about the tables, and with many other owners' withdrawn documents."""

    OTHERS: Final = 3_000

    @pytest.fixture
    def crowded(self, database: Database, admin: Connection) -> Database:
        """Two documents withdrawn from each of 3,000 owners, on tables that are never analysed."""
        upload(database, "a", ["one"])
        admin.execute(
            """insert into ingest_private.withdrawn (document_id, owner_id, access)
               select gen_random_uuid(), 'owner ' || n %% %s, 'owner'
                 from generate_series(1, 2 * %s) as n""",
            [self.OTHERS, self.OTHERS],
        )
        return database

    @pytest.mark.parametrize("analysed", ["never", "empty", "full"])
    @pytest.mark.parametrize("table", ["chunks", "documents", "chunk_positions"])
    def test_a_read_asks_once_what_was_withdrawn_and_hashes_it(
        self, crowded: Database, admin: Connection, analysed: str, table: str
    ):
        with admin.transaction(force_rollback=True):
            if analysed == "empty":
                admin.execute("create table public.kept as table ingest_private.withdrawn")
                admin.execute("delete from ingest_private.withdrawn")
                admin.execute("analyze ingest_private.withdrawn")
                admin.execute("insert into ingest_private.withdrawn table public.kept")
            elif analysed == "full":
                admin.execute("analyze ingest_private.withdrawn")
            admin.execute("set local role authenticated")
            admin.execute("""set local request.jwt.claims = '{"sub": "owner 7"}'""")
            plan = "\n".join(
                row[0]
                for row in admin.execute(
                    f"explain (costs off) select * from ingest.{table}".encode()
                ).fetchall()
            )
        assert "hashed SubPlan" in plan, plan

    def test_of_a_caller_reads_only_what_concerns_it(self, crowded: Database, admin: Connection):
        read = (
            "select sum(idx_tup_fetch + seq_tup_read) from pg_stat_xact_all_tables where relid = "
        )
        with admin.transaction(force_rollback=True):
            table = "'ingest_private.withdrawn'::regclass"
            before = value(admin, read + table)
            admin.execute("""set local request.jwt.claims = '{"sub": "owner 7"}'""")
            mine = rows(admin, "select ingest_private.withdrawn_of_caller()")
            assert len(mine) == 2
            assert value(admin, read + table) - before <= 10

    def test_of_searches_in_the_graph_pass_over_it_too(
        self, database: Database, admin: Connection, worker: Connection
    ):
        """With more than two thousand chunks, so that no exact comparison is made."""
        texts = [f"number {number}" for number in range(2_100)]
        upload(database, "a", texts)
        upload(database, "b", ["number one"])
        delete_objects(admin, ["a"])
        for caller in ("alice", "service_role"):
            assert found(database, caller, "number 7") == ["number one"]


def test_every_foreign_key_has_an_index(admin: Connection) -> None:
    """As Supabase's linter asks (0001_unindexed_foreign_keys)."""
    assert (
        rows(
            admin,
            """select conrelid::regclass::text as name, conname from pg_constraint as key
                where contype = 'f' and conparentid = 0
                  and connamespace::regnamespace::text like 'ingest%'
                  and not exists (
                      select from pg_index as index
                       where index.indrelid = key.conrelid and index.indpred is null
                         and (index.indkey::smallint[])[0:cardinality(key.conkey) - 1]
                             @> key.conkey)""",
        )
        == []
    )


def test_a_truncate_is_a_delete_of_all(database: Database, admin: Connection) -> None:
    upload(database, "a", ["one"])
    admin.execute("truncate storage.objects cascade")
    for caller in ("alice", "service_role"):
        assert found(database, caller) == []

"""The triggers on storage.objects never block or break an upload, and lose no race."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

import pytest
from psycopg import errors as pg

from tests.schema.actors import (
    LIVE_CHUNKS,
    Background,
    Connection,
    claimed,
    document_of,
    drain_withdrawn,
    heartbeat,
    job_of,
    locked_document,
    publish,
    rows,
    stage,
    take,
    upload,
    value,
    wait_until_blocked,
)
from tests.schema.test_sync import agree, documents, move, objects, quietly, rename_quietly
from tests.support.database import Database, delete_objects, put_object, watch_bucket


@pytest.fixture
def database(wiped: Database) -> Database:
    return wiped


@pytest.fixture
def other(database: Database) -> Iterator[Connection]:
    """A second connection of the platform."""
    with database.connect() as connection:
        yield connection


def pending(connection: Connection) -> list[str]:
    """The reasons of the pending events."""
    found = rows(connection, "select reason from ingest_private.pending_events order by id")
    return [row["reason"] for row in found]


def drain(connection: Connection, limit: int = 200) -> tuple[int, int]:
    """drain_pending_events: how many events were settled and how many failed."""
    [row] = rows(connection, "select * from ingest_private.drain_pending_events(%s)", limit)
    return row["settled"], row["failed"]


def counts(connection: Connection) -> dict[str, int]:
    """Number of rows in all tables of docmill."""
    tables = rows(
        connection,
        """select oid::regclass::text as name from pg_class
            where relkind in ('r', 'p') and relnamespace::regnamespace::text
                  in ('ingest', 'ingest_private', 'ingest_search')""",
    )
    return {row["name"]: value(connection, f"select count(*) from {row['name']}") for row in tables}


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """The longest delay of an upload: 200 ms for a lock, and as much again on a busy machine."""
    started = time.monotonic()
    yield
    assert time.monotonic() - started < seconds


class TestDryRun:
    """Storage checks the caller's permission by a real insert that it rolls back."""

    @pytest.mark.parametrize("role", ["authenticated", "anon", "service_role"])
    def test_leaves_nothing_and_is_not_refused(self, admin: Connection, role: str):
        object_id = put_object(admin, "old.txt", owner="alice")
        before = counts(admin)
        with admin.transaction(force_rollback=True):
            admin.execute("create policy all_may on storage.objects using (true)")
            admin.execute(f"set local role {role}".encode())
            admin.execute("""set local request.jwt.claims = '{"sub": "alice"}'""")
            for statement in (
                """insert into storage.objects (bucket_id, name, version, owner_id, metadata)
                   values ('docs', 'new.txt', '1', 'alice', '{"mimetype": "text/plain"}')""",
                "update storage.objects set version = '1' where name = 'old.txt'",
                """update storage.objects set name = 'moved.txt', version = 'final'
                    where name = 'old.txt'""",
            ):
                assert admin.execute(statement.encode()).rowcount == 1
            admin.execute("reset role")
            # Only for a move: its check has the final version.
            assert len(documents(admin)) == 1
            assert pending(admin) == []
        assert counts(admin) == before
        assert document_of(admin, object_id)["object_name"] == "old.txt"

    def test_of_an_upload_that_the_policies_refuse_leaves_nothing(self, admin: Connection):
        before = counts(admin)
        admin.execute("set role authenticated")
        with pytest.raises(pg.InsufficientPrivilege):
            put_object(admin, "new.txt")
        admin.execute("reset role")
        assert counts(admin) == before

    def test_a_delete_by_its_owner_takes_the_document_along(self, admin: Connection):
        put_object(admin, "old.txt", owner="alice")
        with admin.transaction(force_rollback=True):
            admin.execute("create policy all_may on storage.objects using (true)")
            admin.execute("set local role authenticated")
            delete_objects(admin, ["old.txt"])
            admin.execute("reset role")
            assert documents(admin) == {}


class TestWhatIsInUse:
    """Another transaction holds a needed row: the upload commits, and the drain does the rest."""

    def test_an_overwrite_of_a_locked_document_commits_in_time(
        self, database: Database, admin: Connection, worker: Connection
    ):
        object_id = put_object(admin, "a.txt")
        with locked_document(database, object_id):
            with at_most(0.4 + 0.4):
                put_object(admin, "a.txt")
            assert pending(admin) == ["55P03"]
            assert drain(worker) == (0, 1)
        assert drain(worker) == (1, 0)
        agree(admin)

    def test_the_permission_test_of_an_upload_waits_for_nothing_and_does_nothing(
        self, database: Database, admin: Connection
    ):
        object_id = put_object(admin, "a.txt")
        before = counts(admin)
        with locked_document(database, object_id), admin.transaction(force_rollback=True):
            # Less time than the trigger would wait for the lock.
            admin.execute("set local statement_timeout = '150ms'")
            admin.execute(
                "update storage.objects set version = '1', metadata = '{}' where id = %s",
                [object_id],
            )
            assert counts(admin) == before

    def test_an_object_of_that_version_is_found_by_the_sweep(
        self, admin: Connection, worker: Connection
    ):
        admin.execute(
            """insert into storage.objects (bucket_id, name, version, metadata)
               values ('docs', 'odd.txt', '1', '{"size": 1}')"""
        )
        assert not documents(admin)
        worker.execute("select ingest_private.reconcile(null, null)")
        assert list(documents(admin).values()) == [("docs", "odd.txt", "1")]

    def test_a_delete_of_a_locked_document_commits_without_waiting(
        self, database: Database, admin: Connection, worker: Connection
    ):
        object_id = upload(database, "a.txt", ["one"])
        with locked_document(database, object_id):
            with at_most(0.4):
                delete_objects(admin, ["a.txt"])
            assert pending(admin) == ["deleted"]
        assert drain(worker) == (1, 0)
        assert documents(admin) == {}
        assert value(admin, LIVE_CHUNKS) == 0

    def test_a_delete_of_500_leaves_the_locked_one_to_the_drain(
        self, database: Database, admin: Connection, worker: Connection
    ):
        admin.execute(
            """insert into storage.objects (bucket_id, name, version)
               select 'docs', n || '.txt', 'v' from generate_series(1, 500) as n"""
        )
        locked = value(admin, "select id from storage.objects where name = '250.txt'")
        with locked_document(database, locked):
            delete_objects(admin, [f"{number}.txt" for number in range(1, 501)])
            assert [*documents(admin)] == [locked]
            assert pending(admin) == ["deleted"]
        assert drain(worker) == (1, 0)
        assert documents(admin) == {}

    @pytest.mark.parametrize("change", ["overwrite", "delete", "move", "move out"])
    @pytest.mark.parametrize(
        "in_use",
        [
            "select from ingest.jobs for update",
            "select from ingest_private.leases for key share",
            "select from ingest_private.job_queue for update",
            "lock table ingest.documents in access exclusive mode",
            "lock table ingest.jobs in share row exclusive mode",
            "lock table ingest_private.job_queue in access exclusive mode",
            "lock table ingest_private.sources in access exclusive mode",
            "lock table ingest.index_versions in access exclusive mode",
        ],
    )
    def test_an_upload_commits_whatever_is_locked(
        self, admin: Connection, worker: Connection, other: Connection, *, change: str, in_use: str
    ):
        object_id = put_object(admin, "a.txt")
        claimed(worker, job_of(admin, object_id))
        with other.transaction():
            other.execute(in_use.encode())
            admin.execute("set statement_timeout = '2s'")
            if change == "overwrite":
                put_object(admin, "a.txt")
            elif change == "delete":
                delete_objects(admin, ["a.txt"])
            else:
                move(admin, "a.txt", "b.txt", to="other" if change == "move out" else None)
        # Withdrawn documents wait for no job: the drain ends it.
        withdrawn = value(admin, "select count(*) from ingest_private.withdrawn")
        assert len(pending(admin)) + withdrawn == 1
        drain(worker)
        drain_withdrawn(worker)
        assert pending(admin) == []
        assert value(admin, "select count(*) from ingest_private.withdrawn") == 0
        agree(admin)

    def test_an_upload_commits_even_where_its_event_cannot_be_noted(
        self, database: Database, admin: Connection, worker: Connection, other: Connection
    ):
        """Only reconcile finds such an upload."""
        put_object(admin, "a.txt")
        put_object(admin, "b.txt")
        with other.transaction():
            other.execute("lock table ingest.documents in access exclusive mode")
            other.execute("lock table ingest_private.pending_events in access exclusive mode")
            admin.execute("set statement_timeout = '2s'")
            put_object(admin, "a.txt")
            delete_objects(admin, ["b.txt"])
        assert pending(admin) == []
        worker.execute("select ingest_private.reconcile(null, null)")
        agree(admin)

    def test_an_upload_to_another_bucket_does_not_even_look(
        self, admin: Connection, other: Connection
    ):
        with other.transaction():
            for table in ("documents", "jobs", "chunks"):
                other.execute(f"lock table ingest.{table} in access exclusive mode".encode())
            with at_most(0.15):
                put_object(admin, "a.txt", bucket="other")
        assert pending(admin) == []


#: The heads of the functions that the triggers call, without their bodies.
SIGNATURES = {
    "source_of": "(p_bucket_id text, p_name text) returns setof ingest_private.sources",
    "owner_of": "(p_rule text, p_uploader text, p_name text) returns text",
    "stored_objects": "(p_object_ids uuid[]) returns setof ingest_private.stored_object",
    "sync_objects": "(p_object_ids uuid[]) returns table (object_id uuid, job_id uuid)",
    "withdraw_documents": "(p_document_ids uuid[]) returns void",
}
BREAKS = {
    **{
        f"{name} raises": f"""
            create or replace function ingest_private.{name}{signature}
            language plpgsql as $$ begin raise exception 'broken'; end $$"""
        for name, signature in SIGNATURES.items()
    },
    "sync_objects is gone": "drop function ingest_private.sync_objects(uuid[])",
    "a table is gone": "drop table ingest_private.job_queue cascade",
    "a column is gone": "alter table ingest.documents drop column storage_version",
    "a lease outlives its job": """
        create or replace function ingest_private.end_job(
            p_job_id uuid, p_state text, p_error_code text default null) returns void
        language sql as $$ update ingest.jobs set state = p_state, stage = 'finished',
                                  finished_at = now() where id = p_job_id $$""",
}


class TestWhatIsBroken:
    @pytest.mark.parametrize("statement", BREAKS.values(), ids=BREAKS.keys())
    def test_an_upload_an_overwrite_a_move_and_a_delete_succeed(
        self, admin: Connection, worker: Connection, statement: str
    ):
        ids = [put_object(admin, f"{name}.txt") for name in ("over", "moved", "gone")]
        for object_id in ids:
            claimed(worker, job_of(admin, object_id))
        with admin.transaction(force_rollback=True):
            admin.execute(statement.encode())
            put_object(admin, "new.txt")
            put_object(admin, "over.txt")
            move(admin, "moved.txt", "here.txt")
            delete_objects(admin, ["gone.txt"])
            # As at commit, when nothing can be caught any more.
            admin.execute("set constraints all immediate")
            left = {name for _, name, _ in objects(admin, "docs").values()}
            assert left == {"new.txt", "over.txt", "here.txt"}
            assert pending(admin)

    def test_what_was_missed_is_made_good_once_it_works_again(
        self, admin: Connection, worker: Connection
    ):
        for name in ("over", "moved", "gone"):
            put_object(admin, f"{name}.txt")
        definition = value(
            admin, "select pg_get_functiondef('ingest_private.sync_objects(uuid[])'::regprocedure)"
        )
        admin.execute(BREAKS["sync_objects raises"].encode())
        put_object(admin, "new.txt")
        put_object(admin, "over.txt")
        move(admin, "moved.txt", "here.txt")
        delete_objects(admin, ["gone.txt"])
        assert drain(worker) == (0, 3)
        admin.execute(definition.encode())
        assert drain(worker) == (3, 0)
        agree(admin)


class TestRaces:
    """Two transactions at once, in every relevant order; afterwards documents equal Storage."""

    @pytest.fixture
    def unseen(self, admin: Connection) -> UUID:
        """An object that no trigger has seen: two transactions may make its document at once."""
        quietly(
            admin,
            "insert into storage.objects (bucket_id, name, version) values ('docs', 'a', 'v1')",
        )
        return next(iter(objects(admin, "docs")))

    @staticmethod
    def sync(connection: Connection, object_id: UUID) -> None:
        connection.execute("select ingest_private.sync_object(%s, null, null)", [object_id])

    def test_a_delete_while_the_document_is_being_made(
        self, admin: Connection, worker: Connection, unseen: UUID
    ):
        with worker.transaction():
            self.sync(worker, unseen)
            delete_objects(admin, ["a"])
            assert pending(admin) == ["deleted"]
        assert [*documents(admin)] == [unseen]
        assert drain(worker) == (1, 0)
        assert documents(admin) == {}

    def test_a_delete_whose_event_is_drained_while_the_document_is_being_made(
        self, admin: Connection, worker: Connection, other: Connection, unseen: UUID
    ):
        with worker.transaction():
            self.sync(worker, unseen)
            delete_objects(admin, ["a"])
            assert drain(other) == (0, 0)
            assert pending(admin) == ["deleted"]
        assert drain(other) == (1, 0)
        assert documents(admin) == {}

    def test_a_delete_that_took_long_to_commit_is_not_forgotten_at_once(
        self, admin: Connection, worker: Connection, other: Connection, unseen: UUID
    ):
        """Storage removes the bytes before it commits, so the event may be old when it is seen."""
        with worker.transaction():
            self.sync(worker, unseen)
            delete_objects(admin, ["a"])
            admin.execute(
                "update ingest_private.pending_events set created_at = now() - interval '1 hour'"
            )
            assert drain(other) == (0, 0)
        assert drain(other) == (1, 0)
        assert documents(admin) == {}

    def test_an_event_of_nothing_ends_after_a_while(
        self, admin: Connection, worker: Connection, unseen: UUID
    ):
        delete_objects(admin, ["a"])
        assert drain(worker) == (0, 0)
        admin.execute(
            "update ingest_private.pending_events"
            "   set first_tried_at = now() - interval '11 seconds'"
        )
        assert drain(worker) == (1, 0)
        assert pending(admin) == []

    def test_an_overwrite_while_the_document_is_being_made(
        self, admin: Connection, worker: Connection, unseen: UUID
    ):
        with worker.transaction():
            self.sync(worker, unseen)
            put_object(admin, "a")
            assert pending(admin) == ["55P03"]
        assert drain(worker) == (1, 0)
        agree(admin)

    def test_a_move_out_of_the_bucket_while_the_document_is_being_made(
        self, admin: Connection, worker: Connection, unseen: UUID
    ):
        with worker.transaction():
            self.sync(worker, unseen)
            move(admin, "a", "a", to="other")
            assert pending(admin) == ["moved"]
        assert drain(worker) == (1, 0)
        assert documents(admin) == {}

    def test_two_that_make_the_document_at_once_make_one(
        self, database: Database, admin: Connection, worker: Connection, unseen: UUID
    ):
        with database.connect("docmill_worker") as second:
            with worker.transaction():
                self.sync(worker, unseen)
                waiting = Background(lambda: self.sync(second, unseen))
                wait_until_blocked(admin, second.info.backend_pid)
            with pytest.raises(pg.UniqueViolation):  # one of CONTENTION
                waiting()
            self.sync(second, unseen)
        agree(admin)

    def test_two_uploads_of_one_new_name(
        self, admin: Connection, worker: Connection, other: Connection
    ):
        with admin.transaction():
            put_object(admin, "a")
            second = Background(lambda: put_object(other, "a"))
            wait_until_blocked(worker, other.info.backend_pid)
        second()
        drain(worker)
        agree(admin)
        assert len(documents(admin)) == 1

    def test_an_upload_of_a_name_whose_delete_has_not_committed(
        self, database: Database, admin: Connection, worker: Connection, other: Connection
    ):
        old = upload(database, "a", ["old"])
        with admin.transaction():
            delete_objects(admin, ["a"])
            second = Background(lambda: put_object(other, "a"))
            wait_until_blocked(worker, other.info.backend_pid)
        new = second()
        drain(worker)
        agree(admin)
        assert new != old

    def test_a_delete_of_an_object_whose_overwrite_has_not_committed(
        self, admin: Connection, worker: Connection, other: Connection
    ):
        put_object(admin, "a")
        with admin.transaction():
            put_object(admin, "a")
            second = Background(lambda: delete_objects(other, ["a"]))
            wait_until_blocked(worker, other.info.backend_pid)
        second()
        drain(worker)
        assert documents(admin) == {}

    def test_an_upload_that_is_rolled_back_after_others_waited_for_it(
        self, admin: Connection, worker: Connection, other: Connection
    ):
        object_id = put_object(admin, "a")
        version = documents(admin)[object_id]
        with admin.transaction(force_rollback=True):
            put_object(admin, "a")
            second = Background(lambda: self.sync(other, object_id))
            wait_until_blocked(worker, other.info.backend_pid)
        second()
        assert documents(admin)[object_id] == version
        agree(admin)

    def test_a_delete_during_a_publish_wins(
        self, database: Database, admin: Connection, worker: Connection, other: Connection
    ):
        object_id = put_object(admin, "a", owner="alice")
        run = claimed(worker, job_of(admin, object_id))
        stage(worker, run, ["one"])
        with admin.transaction():
            delete_objects(admin, ["a"])
            publishing = Background(lambda: publish(worker, run, ["one"]))
            wait_until_blocked(other, worker.info.backend_pid)
        assert publishing() == "lost"
        assert value(admin, "select count(*) from ingest.chunks") == 0

    def test_a_publish_during_a_delete_leaves_nothing_searchable(
        self, admin: Connection, worker: Connection
    ):
        object_id = put_object(admin, "a", owner="alice")
        run = claimed(worker, job_of(admin, object_id))
        stage(worker, run, ["one"])
        with worker.transaction():
            assert publish(worker, run, ["one"]) == "published"
            delete_objects(admin, ["a"])
        assert drain(worker) == (1, 0)
        assert value(admin, LIVE_CHUNKS) == 0

    @pytest.mark.parametrize("look", range(1, 6))
    def test_a_version_that_commits_between_two_looks_at_storage_is_not_lost(
        self, admin: Connection, worker: Connection, other: Connection, look: int
    ):
        """If the document got the version without a job, nobody would notice a difference later."""
        object_id = put_object(admin, "a")
        definition = value(admin, "select pg_get_functiondef('ingest_private.owner_of'::regproc)")
        admin.execute("create sequence public.looks")
        admin.execute("grant usage on sequence public.looks to public")
        admin.execute(
            f"""create or replace function ingest_private.owner_of(
                    p_rule text, p_uploader text, p_name text)
                returns text language plpgsql volatile as $$
                begin
                    if current_setting('application_name') = 'slow'
                       and nextval('public.looks') = {look} then
                        perform pg_advisory_xact_lock(4711);
                    end if;
                    return p_uploader;
                end $$""".encode()
        )
        try:
            worker.execute("set application_name = 'slow'")
            with other.transaction():
                other.execute("select pg_advisory_xact_lock(4711)")
                syncing = Background(lambda: self.sync(worker, object_id))
                wait_until_blocked(other, worker.info.backend_pid, or_ended=syncing)
                put_object(admin, "a")
            syncing()
        finally:
            admin.execute("drop sequence public.looks")
            admin.execute(definition.encode())
        drain(admin)
        agree(admin)

    def test_a_document_that_comes_in_while_a_sync_is_under_way_is_left_alone(
        self, admin: Connection, worker: Connection, other: Connection
    ):
        """The sync has read that the object is not watched; then it is moved into the bucket."""
        object_id = put_object(admin, "a", bucket="other")
        definition = value(admin, "select pg_get_functiondef('ingest_private.source_of'::regproc)")
        admin.execute(
            """create or replace function ingest_private.source_of(p_bucket_id text, p_name text)
               returns setof ingest_private.sources language plpgsql volatile as $$
               begin
                   if current_setting('application_name') = 'slow' then
                       perform pg_advisory_xact_lock(4711);
                   end if;
                   return query select * from ingest_private.sources
                                 where bucket_id = p_bucket_id;
               end $$"""
        )
        try:
            worker.execute("set application_name = 'slow'")
            with other.transaction():
                other.execute("select pg_advisory_xact_lock(4711)")
                syncing = Background(lambda: self.sync(worker, object_id))
                wait_until_blocked(other, worker.info.backend_pid)
                move(admin, "a", "a", bucket="other", to="docs")
            syncing()
        finally:
            admin.execute(definition.encode())
        agree(admin)
        assert len(documents(admin)) == 1

    def test_syncs_of_objects_that_swapped_names_do_not_deadlock(
        self, database: Database, admin: Connection, worker: Connection
    ):
        first, second = put_object(admin, "a"), put_object(admin, "b")
        rename_quietly(admin, {"a": "b", "b": "a"})
        # At once: it already holds the first, and the holder of the second may want that one.
        with locked_document(database, second), pytest.raises(pg.LockNotAvailable):
            self.sync(worker, first)
        self.sync(worker, first)
        agree(admin)


class TestDrain:
    def test_of_a_document_in_use_does_not_keep_the_others_waiting(
        self, database: Database, admin: Connection, worker: Connection
    ):
        ids = [put_object(admin, f"{number}") for number in range(3)]
        admin.execute(
            "insert into ingest_private.pending_events (object_id, reason) "
            "select unnest(%s::uuid[]), 'test'",
            [ids],
        )
        with locked_document(database, ids[0]):
            assert drain(worker, 1) == (0, 1)
            assert drain(worker, 1) == (1, 0)
            assert drain(worker, 1) == (1, 0)
            assert drain(worker, 1) == (0, 1)
        assert drain(worker, 1) == (1, 0)

    def test_of_a_thousand_events_of_nothing_does_not_starve_a_real_one(
        self, admin: Connection, worker: Connection
    ):
        admin.execute(
            """insert into ingest_private.pending_events (object_id, reason)
               select gen_random_uuid(), 'deleted' from generate_series(1, 1000)"""
        )
        object_id = put_object(admin, "a")
        quietly(admin, "update storage.objects set version = 'next'")
        admin.execute(
            "insert into ingest_private.pending_events (object_id, reason) values (%s, 'x')",
            [object_id],
        )
        assert drain(worker, 10) == (1, 0)
        agree(admin)

    def test_two_at_once_share_the_events(
        self, admin: Connection, worker: Connection, other: Connection
    ):
        ids = [put_object(admin, f"{number}") for number in range(6)]
        admin.execute(
            "insert into ingest_private.pending_events (object_id, reason) "
            "select unnest(%s::uuid[]), 'test'",
            [ids],
        )
        with worker.transaction():
            assert drain(worker, 4) == (4, 0)
            assert drain(other, 4) == (2, 0)
        assert pending(admin) == []

    def test_takes_documents_in_the_order_of_their_ids_so_that_two_do_not_deadlock(
        self, database: Database, admin: Connection, worker: Connection
    ):
        """The events name them in the opposite order."""
        ids = [put_object(admin, f"{number}") for number in range(2)]
        ordered = [
            row["object_id"]
            for row in rows(admin, "select object_id from ingest.documents order by id")
        ]
        admin.execute(
            "insert into ingest_private.pending_events (object_id, reason) "
            "select unnest(%s::uuid[]), 'test'",
            [ordered[::-1]],
        )
        assert set(ids) == set(ordered)
        admin.execute("set lock_timeout = '5s'")
        admin.execute("alter function ingest_private.drain_pending_events set lock_timeout = '5s'")
        try:
            with admin.transaction():
                admin.execute(
                    "select from ingest.documents where object_id = %s for no key update",
                    [ordered[0]],
                )
                draining = Background(lambda: drain(worker))
                with database.connect() as watcher:
                    wait_until_blocked(watcher, worker.info.backend_pid)
                # It waits for the first and does not hold the second.
                admin.execute(
                    "select from ingest.documents where object_id = %s for no key update nowait",
                    [ordered[1]],
                )
            assert draining() == (2, 0)
        finally:
            admin.execute(
                "alter function ingest_private.drain_pending_events set lock_timeout = '200ms'"
            )


def test_a_slot_is_given_back_by_a_delete(admin: Connection, worker: Connection):
    put_object(admin, "a")
    put_object(admin, "b")
    heartbeat(worker, slots=1)
    [first] = take(worker)
    claimed(worker, first)
    name = value(admin, "select object_name from ingest.jobs where id = %s", first)
    delete_objects(admin, [name])
    assert len(take(worker)) == 1


def test_a_source_added_later_finds_what_was_there_before(
    database: Database, admin: Connection, worker: Connection
):
    put_object(admin, "a", bucket="other")
    watch_bucket(database, "other")
    assert documents(admin) == {}
    worker.execute("select ingest_private.reconcile(null, null)")
    agree(admin, "other")
    admin.execute("delete from ingest_private.sources where bucket_id = 'other'")
    worker.execute("select ingest_private.reconcile(null, null)")
    assert documents(admin) == {}

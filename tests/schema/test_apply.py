"""Applying the schema: who may do it, what it leaves unchanged, which changes it repairs."""

import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from docmill.embedded.postgres import binaries, start_postgres
from docmill.embedded.supabase import bootstrap_supabase
from docmill.worker.admin import schema
from docmill.worker.admin.schema import (
    AppliedSchema,
    SqlFile,
    apply_schema,
    check_schema,
    sql_files,
)
from docmill.worker.errors import SchemaError
from tests.conftest import FAST
from tests.schema.actors import MODEL, Connection, rows, search, upload, value
from tests.support.database import (
    INDEX,
    Database,
    as_client,
    watch_bucket,
)


def dump(database: Database) -> str:
    """Schema, data, owners and grants of the whole database, as pg_dump writes them."""
    result = subprocess.run(
        [
            str(binaries(database.server.major) / "pg_dump"),
            f"--dbname={database.superuser_url}",
            "--inserts",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    # pg_dump protects its script with a new key each time.
    return "\n".join(
        line for line in result.stdout.splitlines() if not line.startswith(("\\restrict", "\\unre"))
    )


def apply(database: Database, role: str | None = None) -> AppliedSchema:
    with database.connect(role) as connection:
        return apply_schema(connection, INDEX)


def check(database: Database, role: str | None = "postgres") -> list[str]:
    with database.connect(role) as connection:
        return check_schema(connection)


@contextmanager
def shipping(monkeypatch: pytest.MonkeyPatch, change: Callable[[list[SqlFile]], list[SqlFile]]):
    """A docmill release with different migrations."""
    real = schema.sql_files

    def changed(folder: str) -> list[SqlFile]:
        found = real(folder)
        return change(found) if folder == "migrations" else found

    with monkeypatch.context() as patch:
        patch.setattr(schema, "sql_files", changed)
        yield


class TestOnAnEmptyProject:
    def test_the_projects_admin_may_apply_it_without_being_superuser(self, any_project: Database):
        applied = apply(any_project, "postgres")
        assert applied.migrations == tuple(file.name for file in sql_files("migrations"))
        assert applied.reapplied
        assert applied.index_version_created == 1
        assert check(any_project) == []

    def test_a_superuser_may_apply_it(self, any_project: Database):
        assert apply(any_project).changed
        assert check(any_project, None) == []

    @pytest.mark.parametrize("role", ["postgres", None], ids=["admin", "superuser"])
    def test_the_second_time_nothing_changes(self, any_project: Database, role: str | None):
        apply(any_project, role)
        before = dump(any_project)
        again = apply(any_project, role)
        assert not again.changed
        assert dump(any_project) == before
        assert "CREATE FUNCTION ingest.match_chunks" in before

    def test_it_works_after_data_has_come_in(self, any_database: Database):
        watch_bucket(any_database)
        upload(any_database, "a.txt", ["one", "two"])
        before = dump(any_database)
        assert not apply(any_database, "postgres").changed
        assert dump(any_database) == before

    def test_two_at_once_apply_it_once(self, any_project: Database):
        with ThreadPoolExecutor(2) as pool:
            results = list(pool.map(lambda _: apply(any_project, "postgres"), range(2)))
        assert sorted(result.changed for result in results) == [False, True]
        assert check(any_project) == []

    def test_it_creates_pgvector_where_it_is_missing(self, any_project: Database):
        with any_project.connect() as connection:
            connection.execute("drop extension vector")
        assert apply(any_project).changed
        assert check(any_project, None) == []

    def test_the_worker_role_can_do_nothing_by_its_attributes(self, any_database: Database):
        with any_database.connect() as connection:
            [role] = rows(
                connection,
                """select rolsuper, rolbypassrls, rolcreaterole, rolcreatedb, rolreplication,
                          rolinherit, rolcanlogin, rolconnlimit
                     from pg_roles where rolname = 'docmill_worker'""",
            )
            members = rows(
                connection,
                """select roleid::regrole::text from pg_auth_members
                    where member = 'docmill_worker'::regrole""",
            )
        assert role.pop("rolcanlogin")
        assert role.pop("rolconnlimit") == -1
        assert not any(role.values())
        assert members == []

    def test_the_worker_role_bounds_its_statements_and_waits(self, any_database: Database):
        with any_database.connect("docmill_worker") as connection:
            for setting in (
                "statement_timeout",
                "lock_timeout",
                "idle_in_transaction_session_timeout",
            ):
                assert value(connection, f"show {setting}") not in {"0", None}

    def test_jobs_are_published_to_realtime(self, any_database: Database):
        with any_database.connect() as connection:
            published = rows(
                connection,
                """select schemaname || '.' || tablename as name from pg_publication_tables
                    where pubname = 'supabase_realtime'""",
            )
        assert published == [{"name": "ingest.jobs"}]

    def test_a_project_without_realtime_works_too(self, any_project: Database):
        with any_project.connect() as connection:
            connection.execute("drop publication supabase_realtime")
        assert apply(any_project, "postgres").changed


@pytest.fixture
def fresh_server(tmp_path: Path) -> Iterator[Database]:
    """A server without docmill and without Supabase."""
    server = start_postgres(tmp_path / "fresh", options=FAST)
    try:
        yield Database(server, "postgres")
    finally:
        server.stop()


class TestOnAFreshServer:
    def test_a_database_that_is_no_supabase_project_is_refused_by_name(
        self, fresh_server: Database
    ):
        with pytest.raises(SchemaError, match="not the database of a Supabase project") as raised:
            apply(fresh_server)
        for missing in ("anon", "authenticated", "service_role", "storage.objects", "auth.jwt"):
            assert missing in str(raised.value)
        [problem] = check(fresh_server, None)
        assert "not the database of a Supabase project" in problem

    def test_the_worker_role_has_no_password(self, fresh_server: Database):
        bootstrap_supabase(fresh_server.server)
        assert apply(fresh_server).role_created
        with fresh_server.connect() as connection:
            assert (
                value(
                    connection,
                    "select rolpassword is null from pg_authid where rolname = 'docmill_worker'",
                )
                is True
            )
        with pytest.raises(psycopg.OperationalError, match="password"):
            fresh_server.connect("docmill_worker")


class TestRefusals:
    def test_a_project_without_docmill_is_said_to_be_that(self, project: Database):
        assert check(project) == ["the schema is not installed: run docmill schema apply"]

    def test_a_project_without_storage_is_refused(self, project: Database):
        with project.connect() as connection:
            connection.execute("drop schema storage cascade")
        with pytest.raises(SchemaError, match=r"no storage\.objects"):
            apply(project)

    def test_an_edited_migration_is_refused(
        self, database: Database, monkeypatch: pytest.MonkeyPatch
    ):
        def edit(files: list[SqlFile]) -> list[SqlFile]:
            return [SqlFile(files[0].name, files[0].text + "\n-- edited"), *files[1:]]

        with shipping(monkeypatch, edit):
            with pytest.raises(SchemaError, match=r"edited \(0001_schemas_and_role\.sql\)"):
                apply(database)
            [problem] = check(database)
            assert "edited" in problem

    def test_a_newer_database_is_refused(self, database: Database, monkeypatch: pytest.MonkeyPatch):
        with shipping(monkeypatch, lambda files: files[:-1]):
            with pytest.raises(SchemaError, match="newer than this docmill"):
                apply(database)
            [problem] = check(database)
            assert "newer" in problem

    def test_a_missing_migration_is_reported_and_run(
        self, database: Database, monkeypatch: pytest.MonkeyPatch
    ):
        def add(files: list[SqlFile]) -> list[SqlFile]:
            return [*files, SqlFile("9999_more.sql", "create table ingest_private.more (id int);")]

        with shipping(monkeypatch, add):
            assert check(database) == [
                "migrations are missing (9999_more.sql): run docmill schema apply"
            ]
            assert apply(database, "postgres").migrations == ("9999_more.sql",)
            assert check(database) == []

    def test_a_migration_that_fails_names_its_file_and_leaves_nothing(
        self, database: Database, monkeypatch: pytest.MonkeyPatch
    ):
        def add(files: list[SqlFile]) -> list[SqlFile]:
            broken = "create table ingest_private.more (id int); select 1 / 0;"
            return [*files, SqlFile("9999_more.sql", broken)]

        before = dump(database)
        with (
            shipping(monkeypatch, add),
            pytest.raises(SchemaError, match=r"9999_more\.sql: division by zero"),
        ):
            apply(database, "postgres")
        assert dump(database) == before

    def test_a_table_that_stays_locked_is_waited_for_and_then_named(self, database: Database):
        class Impatient(psycopg.Connection[Any]):
            def execute(self, query: Any, *arguments: Any, **options: Any) -> psycopg.Cursor[Any]:
                if query == "set local lock_timeout = '3s'":
                    query = "set local lock_timeout = '30ms'"
                return super().execute(query, *arguments, **options)

        with database.connect() as admin:
            admin.execute("drop function ingest_private.end_failed(uuid, text)")
        with database.connect() as holder, holder.transaction():
            holder.execute("lock table storage.objects in share mode")
            with (
                Impatient.connect(database.url("postgres"), autocommit=True) as connection,
                pytest.raises(SchemaError, match="a table stayed locked"),
            ):
                apply_schema(connection, INDEX)
        assert apply(database, "postgres").reapplied

    def test_is_tried_again_when_postgres_ends_it_for_a_deadlock(self, database: Database):
        """A sequence counts the first attempt, although it was rolled back."""
        with database.connect() as admin:
            admin.execute("drop function ingest_private.end_failed(uuid, text)")
            admin.execute(
                """create sequence public.times;
                   grant usage on sequence public.times to public;
                   create function public.deadlock_once() returns event_trigger
                       language plpgsql as $$ begin
                           if nextval('public.times') = 1 then
                               raise exception using errcode = 'deadlock_detected';
                           end if;
                       end $$;
                   create event trigger deadlock_once on ddl_command_end
                       when tag in ('CREATE POLICY') execute function public.deadlock_once();"""
            )
            assert apply(database, "postgres").reapplied
            (times,) = admin.execute("select last_value from public.times").fetchone() or (0,)
        assert times > 1
        assert check(database) == []


DRIFTS = {
    "a function edited by hand": """
        create or replace function ingest_private.active_index_version()
        returns table (id integer, model text, dimensions integer, chunking jsonb)
        language sql as $$ select 1, 'x', 1, '{}'::jsonb $$""",
    "a function made definer": "alter function ingest.match_chunks security definer",
    "a function without its fixed search_path": """
        alter function ingest_private.sync_objects(uuid[]) reset search_path""",
    "a function dropped": "drop function ingest_private.end_failed(uuid, text)",
    "a policy dropped": "drop policy chunks_select on ingest.chunks",
    "a policy widened": "alter policy documents_select on ingest.documents using (true)",
    "row-level security off": "alter table ingest.chunks disable row level security",
    "a grant on a table": "grant select on ingest.documents to anon",
    "a grant to write": "grant update on ingest.jobs to authenticated",
    "a grant on a function": "grant execute on function ingest_private.end_job to authenticated",
    "a grant to the public": "grant execute on all functions in schema ingest_private to public",
    "a grant on a schema": "grant usage on schema ingest_private to authenticated",
    "a grant on a sequence": "grant usage on sequence ingest_private.lease_token to anon",
    "a grant taken from the worker": """
        revoke execute on function ingest_private.claim_job from docmill_worker""",
    "a trigger on storage.objects redefined": """
        create or replace trigger docmill_object_inserted after insert on storage.objects
           for each row when (new.name like 'x%') execute function
           ingest_private.on_object_written()""",
    "a trigger on storage.objects disabled": """
        alter table storage.objects disable trigger docmill_object_updated""",
    "a trigger on storage.objects dropped": """
        drop trigger docmill_objects_deleted on storage.objects""",
    "an error message edited": """
        update ingest_private.error_codes set message = 'Oops' where code = 'corrupt'""",
    "a grant on a column": "grant update (state) on ingest.jobs to authenticated",
    "a grant on a partition": "grant select on ingest_private.chunks_1 to authenticated",
    "row-level security of a partition off": """
        alter table ingest_private.chunks_1 disable row level security""",
    "a policy made restrictive": """
        drop policy jobs_select on ingest.jobs;
        create policy jobs_select on ingest.jobs as restrictive for select to authenticated
            using (owner_id = (select auth.jwt() ->> 'sub'))""",
}


class TestDrift:
    @pytest.mark.parametrize("change", DRIFTS.values(), ids=DRIFTS)
    def test_is_reported_by_check(self, shared: Connection, change: str):
        shared.execute(change.encode())
        [problem] = check_schema(shared)
        assert "run docmill schema apply" in problem

    def test_is_not_what_a_project_made_of_its_own(self, shared: Connection):
        shared.execute("create function ingest.mine() returns integer language sql as 'select 1'")
        assert check_schema(shared) == []
        # But somebody could call a second function with a name of docmill's instead.
        shared.execute(
            "create function ingest.cancel_job(text) returns text language sql as 'select $1'"
        )
        assert check_schema(shared) != []

    def test_is_repaired_by_apply(self, database: Database):
        before = dump(database)
        with database.connect() as connection:
            for change in DRIFTS.values():
                connection.execute(change.encode())
        assert apply(database, "postgres").reapplied
        # A function that was dropped comes last in the dump: order does not matter.
        assert sorted(dump(database).splitlines()) == sorted(before.splitlines())
        assert check(database) == []

    def test_is_not_seen_where_only_the_search_path_of_the_session_differs(
        self, database: Database
    ):
        with database.connect("postgres") as connection:
            connection.execute("set search_path = ingest, auth, public")
            assert check_schema(connection) == []

    def test_repaired_by_a_superuser_leaves_the_schema_to_its_owner(self, database: Database):
        with database.connect() as connection:
            connection.execute("drop function ingest_private.end_failed(uuid, text)")
            assert apply_schema(connection, INDEX).reapplied
            connection.execute("drop policy jobs_select on ingest.jobs")
        assert apply(database, "postgres").reapplied

    def test_of_a_schema_that_belongs_to_somebody_else_is_a_schema_error(self, project: Database):
        apply(project)
        assert "belongs to its owner supabase_admin" in check(project)[0]
        with pytest.raises(SchemaError, match="DOCMILL_ADMIN_DATABASE_URL"):
            apply(project, "postgres")


class TestWhereverPgvectorLies:
    def test_in_public_everything_works(self, any_project: Database):
        with any_project.connect() as connection:
            connection.execute("alter extension vector set schema public")
        apply(any_project, "postgres")
        assert check(any_project) == []
        watch_bucket(any_project)
        upload(any_project, "a.txt", ["the first chunk", "the second chunk"])
        with as_client(any_project, {"sub": "alice"}) as client:
            hits = search(client, "the second chunk")
        assert [hit["content"] for hit in hits] == ["the second chunk", "the first chunk"]
        with as_client(any_project, {"sub": "mallory"}) as client:
            assert search(client, "the second chunk") == []

    def test_in_a_schema_with_an_odd_name_it_is_refused(self, project: Database):
        with project.connect() as connection:
            connection.execute('create schema "my; vectors"')
            connection.execute('alter extension vector set schema "my; vectors"')
        with pytest.raises(SchemaError, match="move it to `extensions`"):
            apply(project)


def held(database: Database) -> set[tuple[str, str, str]]:
    """All grants on objects of the two schemas except the owner's, PUBLIC included."""
    with database.connect() as connection:
        found = rows(
            connection,
            """select object, grantee::regrole::text as role, privilege_type as privilege from (
                   select c.oid::regclass::text as object, c.relowner as owner,
                          coalesce(c.relacl, acldefault(case c.relkind when 'S' then 's'
                                                        else 'r' end::"char", c.relowner)) as acl
                     from pg_class as c
                    where c.relnamespace::regnamespace::text like 'ingest%'
                      and c.relkind in ('r', 'p', 'v', 'm', 'S', 'f')
                   union all
                   select p.oid::regprocedure::text, p.proowner,
                          coalesce(p.proacl, acldefault('f', p.proowner))
                     from pg_proc as p
                    where p.pronamespace::regnamespace::text like 'ingest%'
                   union all
                   select n.nspname, n.nspowner, coalesce(n.nspacl, acldefault('n', n.nspowner))
                     from pg_namespace as n where n.nspname like 'ingest%'
                   union all
                   select a.attrelid::regclass || '.' || a.attname, c.relowner, a.attacl
                     from pg_attribute as a join pg_class as c on c.oid = a.attrelid
                    where c.relnamespace::regnamespace::text like 'ingest%'
                      and a.attacl is not null
               ) as objects, aclexplode(acl) where grantee <> owner""",
        )
    return {
        (row["object"], "public" if row["role"] == "-" else row["role"], row["privilege"])
        for row in found
    }


class TestDefaultPrivileges:
    def test_wide_ones_leak_nothing(self, any_project: Database, any_database: Database):
        with any_project.connect("postgres") as connection:
            connection.execute("create schema ingest")
            for where in ("", "in schema ingest"):
                for kind in ("tables", "functions", "sequences", "types"):
                    connection.execute(
                        f"""alter default privileges for role postgres {where}
                            grant all on {kind} to anon, authenticated, service_role""".encode()
                    )
            connection.execute("drop schema ingest")
            connection.execute(
                """alter default privileges for role postgres
                   grant all on schemas to anon, authenticated, service_role"""
            )
        apply(any_project, "postgres")
        with any_project.connect("postgres") as connection:
            connection.execute(
                "select ingest_private.create_index_version('other', 16, '{}'::jsonb)"
            )
        with any_database.connect("postgres") as connection:
            connection.execute(
                "select ingest_private.create_index_version('other', 16, '{}'::jsonb)"
            )
        assert held(any_project) == held(any_database)
        assert check(any_project) == []

    def test_ones_set_on_the_schema_itself_leak_nothing_into_new_partitions(
        self, any_database: Database
    ):
        with any_database.connect("postgres") as connection:
            before = held(any_database)
            for name in ("ingest", "ingest_private", "ingest_search"):
                for kind in ("tables", "functions", "sequences"):
                    connection.execute(
                        f"""alter default privileges for role postgres in schema {name}
                            grant all on {kind} to anon, authenticated, service_role""".encode()
                    )
            connection.execute(
                "select ingest_private.create_index_version('other', 16, '{}'::jsonb)"
            )
            connection.execute("drop function ingest_private.end_failed(uuid, text)")
        apply(any_database, "postgres")
        assert held(any_database) == before


class TestIndexVersions:
    def test_the_first_is_active_and_later_ones_are_building(self, database: Database):
        with database.connect("postgres") as connection:
            connection.execute("select ingest_private.create_index_version('m2', 16, '{}'::jsonb)")
            found = rows(
                connection, "select model, dimensions, state from ingest.index_versions order by id"
            )
        assert found == [
            {"model": MODEL, "dimensions": 256, "state": "active"},
            {"model": "m2", "dimensions": 16, "state": "building"},
        ]

    def test_a_partition_refuses_embeddings_of_another_width(self, database: Database):
        with (
            database.connect() as connection,
            pytest.raises(psycopg.errors.CheckViolation, match="chunks_1_dimensions"),
        ):
            connection.execute(
                """insert into ingest.chunks (index_version, document_id, object_id, access,
                                              content, token_count, content_hash, embedding, fts)
                   values (1, gen_random_uuid(), gen_random_uuid(), 'owner', 'x', 1,
                           sha256('x'), '[1,2]', '')"""
            )

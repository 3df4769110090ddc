"""`docmill verify-rls` finds no leak in the sound schema, and names each broken part."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest

from docmill.worker.admin.verify_rls import Finding, verify_rls
from tests.support.database import Database

Connection = psycopg.Connection[Any]


@pytest.fixture(scope="module")
def postgres_role(shared_database: Database) -> Iterator[Connection]:
    """A hosted project's admin, who is not a superuser."""
    with shared_database.connect("postgres") as connection:
        yield connection


def leaks(findings: Iterable[Finding]) -> Iterator[tuple[str, str]]:
    return ((one.check, one.subject) for one in findings if one.outcome == "leak")


class TestTheSoundSchema:
    @pytest.mark.parametrize("role", ["postgres", None], ids=["postgres", "superuser"])
    def test_leaks_nothing_and_everything_is_tried(self, any_database: Database, role: str | None):
        with any_database.connect(role) as connection:
            found = list(verify_rls(connection))
        assert [one for one in found if one.outcome == "leak"] == []
        # In a plain database the settings of PostgREST cannot be seen.
        warnings = [one for one in found if one.outcome == "warning"]
        assert [one.check for one in warnings] == ["exposed schemas"], warnings

    @pytest.mark.parametrize("condition", ["true", "false", "auth.uid() is not null"])
    def test_leaks_nothing_whatever_storage_lets_users_read(
        self, shared_database: Database, admins_connection: Connection, condition: str
    ):
        with admins_connection.transaction(force_rollback=True):
            watched(admins_connection)
            admins_connection.execute(
                f"""create policy readers on storage.objects for select to authenticated
                        using ({condition})""".encode()
            )
            assert list(leaks(verify_rls(admins_connection))) == []

    def test_is_left_as_it_was(self, database: Database):
        with database.connect("postgres") as connection, database.connect() as admin:
            before = state_of(admin)
            assert list(verify_rls(connection))
            assert state_of(admin) == before
            assert connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE

    def test_is_read_and_written_by_others_meanwhile(self, database: Database):
        """They hold the locks of readers and writers, which a stronger lock would wait for."""
        with (
            database.connect() as user,
            user.transaction(force_rollback=True),
            database.connect("postgres") as connection,
        ):
            names = user.execute(
                """select string_agg(oid::regclass::text, ', ') from pg_class
                    where relkind in ('r', 'p') and not relispartition
                      and relnamespace::regnamespace::text
                          in ('ingest', 'ingest_private', 'ingest_search', 'storage', 'auth')"""
            ).fetchone()
            assert names is not None
            user.execute(f"lock table {names[0]} in row exclusive mode".encode())
            found = list(verify_rls(connection))
        assert [one.check for one in found if one.outcome != "ok"] == ["exposed schemas"]

    def test_stands_beside_other_schemas(self, database: Database):
        with database.connect() as admin:
            watched(admin)
            admin.execute(
                """create schema shop; create table shop.orders (id int, owner_id text);
                   grant usage on schema shop to anon; grant all on shop.orders to anon;
                   create view shop.sums as select count(*) from shop.orders;
                   create function shop.noted() returns trigger language plpgsql as
                       $$ begin raise exception 'a trigger of the project ran'; end $$;
                   create trigger noted after insert on storage.objects
                       for each row execute function shop.noted();"""
            )
        for role in ("postgres", None):
            with database.connect(role) as connection:
                found = list(verify_rls(connection))
            assert list(leaks(found)) == []
            # A superuser disables triggers; others do not touch Storage.
            untried = {one.subject for one in found if one.check == "test data"}
            assert untried == ({"storage.objects"} if role else set())


def watched(connection: Connection) -> None:
    """A bucket whose documents all readers of their objects may read."""
    connection.execute("insert into storage.buckets (id, name) values ('docs', 'docs')")
    connection.execute(
        "insert into ingest_private.sources (bucket_id, access) values ('docs', 'inherit')"
    )


def state_of(admin: Connection) -> list[Any]:
    """Every row of every table, and every object of the catalog that could be left behind."""
    tables = admin.execute(
        """select oid::regclass::text from pg_class
            where relkind = 'r' and relnamespace::regnamespace::text
                  in ('ingest', 'ingest_private', 'ingest_search', 'storage', 'auth', 'net',
                      'public') order by 1"""
    ).fetchall()
    rows = [
        admin.execute(f"select '{name}', t::text from {name} as t order by 2".encode()).fetchall()
        for (name,) in tables
    ]
    catalog = admin.execute(
        """select oid, relacl::text, relrowsecurity from pg_class
            where relnamespace::regnamespace::text not like 'pg\\_%' order by oid"""
    ).fetchall()
    functions = admin.execute("select oid, proacl::text from pg_proc order by oid").fetchall()
    policies = admin.execute("select * from pg_policies order by 1, 2, 3").fetchall()
    return [rows, catalog, functions, policies]


class TestTheCommand:
    def run(self, database: Database, *options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "docmill", "verify-rls", *options],
            env={**os.environ, "DOCMILL_ADMIN_DATABASE_URL": database.url("postgres")},
            capture_output=True,
            text=True,
            check=False,
        )

    def test_ends_well_where_nothing_leaks(self, database: Database):
        ended = self.run(database, "--json")
        assert ended.returncode == 0, ended.stderr
        found = [json.loads(line) for line in ended.stdout.splitlines()]
        assert {tuple(one) for one in found} == {("check", "subject", "outcome", "seen", "remedy")}
        assert {one["outcome"] for one in found} == {"ok", "warning"}

    def test_names_a_leak_and_its_remedy_and_fails(self, database: Database):
        with database.connect("postgres") as connection:
            connection.execute("alter policy jobs_select on ingest.jobs using (true)")
        ended = self.run(database)
        assert ended.returncode == 1, ended.stderr
        assert re.search(
            r"^leak +reads +ingest\.jobs\n"
            r".*tenant A sees a document of tenant B \(owned\).*\n"
            r".*docmill schema apply",
            ended.stdout,
            re.MULTILINE,
        ), ended.stdout
        assert "somebody can reach other users' data" in ended.stdout

    def test_says_what_is_missing_in_a_database_without_the_schema(self, project: Database):
        ended = self.run(project)
        assert ended.returncode == 3
        assert "docmill schema apply" in ended.stderr


OPEN = "grant usage on schema ingest_private to authenticated;"
#: A definer function for clients that does not check whose its argument is.
CARELESS = """
    create function ingest.{name} language {language} security definer
        set search_path = pg_catalog, pg_temp as $$ {body} $$;
    revoke all on function ingest.{call} from public;
    grant execute on function ingest.{call} to authenticated;
"""


@dataclass(frozen=True)
class Broken:
    """A possible damage to the schema, and where the report must name it."""

    name: str
    statement: str
    check: str
    subject: str
    by_superuser: bool = False


def careless(name: str, call: str, body: str, language: str = "sql") -> str:
    return CARELESS.format(name=name, call=call, body=body, language=language)


def policy(table: str, condition: str) -> str:
    return f"alter policy {table}_select on ingest.{table} using ({condition});"


MINE = "owner_id = ((select auth.jwt()) ->> 'sub')"
BROKEN = [
    *(
        Broken(f"everybody reads all of {table}", policy(table, "true"), "reads", f"ingest.{table}")
        for table in ("documents", "jobs", "usage", "chunks", "chunk_positions")
    ),
    *(
        Broken(
            f"no row-level security on {table}",
            f"alter table {table} disable row level security;",
            "row-level security",
            table,
        )
        for table in (
            "ingest.documents",
            "ingest.jobs",
            "ingest.usage",
            "ingest.index_versions",
            "ingest.chunks",
            "ingest.chunk_positions",
            "ingest_private.chunks_1",
            "ingest_private.chunk_positions_1",
        )
    ),
    Broken(
        "the check of the owner is the wrong way round",
        policy("jobs", "owner_id <> ((select auth.jwt()) ->> 'sub')"),
        "reads",
        "ingest.jobs",
    ),
    Broken(
        "what has no owner is everybody's",
        policy("documents", f"owner_id is null or {MINE}"),
        "reads",
        "ingest.documents",
    ),
    Broken(
        "no subject is the same as any",
        policy("jobs", "coalesce(owner_id = ((select auth.jwt()) ->> 'sub'), true)"),
        "reads",
        "ingest.jobs",
    ),
    Broken(
        "inherit is read by everybody",
        policy("chunks", f"{MINE} or access = 'inherit'"),
        "reads",
        "ingest.chunks",
    ),
    Broken(
        "withdrawn chunks are found",
        policy("chunks", MINE),
        "reads",
        "ingest.chunks",
    ),
    Broken(
        "hidden documents are found",
        policy("documents", MINE),
        "reads",
        "ingest.documents",
    ),
    Broken(
        "a second policy beside the first",
        "create policy more on ingest.chunks for select to authenticated using (token_count >= 0);",
        "reads",
        "ingest.chunks",
    ),
    Broken(
        "a policy for the public",
        """create policy more on ingest.jobs for select to public using (false);""",
        "policies",
        "ingest.jobs",
    ),
    Broken(
        "a policy for writing",
        f"create policy more on ingest.jobs for update to authenticated using ({MINE});",
        "policies",
        "ingest.jobs",
    ),
    Broken(
        "a policy on a partition",
        f"""{OPEN} grant select on ingest_private.chunks_1 to authenticated;
            create policy more on ingest_private.chunks_1 for select to authenticated
                using (true);""",
        "reads",
        "ingest_private.chunks_1",
    ),
    Broken("users may look into the private schema", OPEN, "schema grants", "ingest_private"),
    Broken(
        "anon may look into the schema",
        "grant usage on schema ingest to anon;",
        "schema grants",
        "ingest",
    ),
    Broken(
        "users may create in the schema",
        "grant create on schema ingest to authenticated;",
        "schema grants",
        "ingest",
    ),
    Broken(
        "anon reads the models",
        """grant usage on schema ingest to anon; grant select on ingest.index_versions to anon;
           create policy more on ingest.index_versions for select to anon using (true);""",
        "reads",
        "ingest.index_versions",
    ),
    Broken(
        "anon reads one column",
        "grant select (content) on ingest.chunks to anon;",
        "table grants",
        "ingest.chunks",
    ),
    Broken(
        "users truncate",
        "grant truncate on ingest.documents to authenticated;",
        "table grants",
        "ingest.documents",
    ),
    Broken(
        "users write",
        "grant update (owner_id) on ingest.documents to authenticated;",
        "writes",
        "ingest.documents",
    ),
    Broken(
        "the service role deletes",
        "grant delete on ingest.chunks to service_role;",
        "writes",
        "ingest.chunks",
    ),
    Broken(
        "everybody advances the token of leases",
        "grant usage on sequence ingest_private.lease_token to public;",
        "table grants",
        "ingest_private.lease_token",
    ),
    Broken(
        "the worker reads chunks",
        "grant select on ingest.chunks to docmill_worker;",
        "table grants",
        "ingest.chunks",
    ),
    Broken(
        "what is made later is open",
        """alter default privileges in schema ingest_private
               grant select on tables to authenticated;""",
        "default privileges",
        "tables of postgres in schema ingest_private",
    ),
    Broken(
        "a definer function says not what its names mean",
        "alter function ingest_private.end_job reset search_path;",
        "search_path",
        "ingest_private.end_job(uuid,text,text)",
    ),
    Broken(
        "a definer function takes objects of everybody's",
        """grant create on schema public to authenticated;
           alter function ingest_private.is_stuck set search_path = public, pg_temp;""",
        "search_path",
        "ingest_private.is_stuck(ingest.documents)",
    ),
    Broken(
        "temporary objects come first",
        "alter function ingest.cancel_job set search_path = pg_catalog;",
        "search_path",
        "ingest.cancel_job(uuid)",
    ),
    Broken(
        "anon searches",
        "grant execute on function ingest.match_chunks to anon;",
        "function grants",
        "MATCH",
    ),
    Broken(
        "everybody ends jobs",
        "grant execute on function ingest_private.end_job to public;",
        "function grants",
        "ingest_private.end_job(uuid,text,text)",
    ),
    Broken(
        "users are shown what is withdrawn from others",
        "grant execute on function ingest.withdrawn_documents to authenticated;",
        "calls",
        "ingest.withdrawn_documents()",
    ),
    Broken(
        "the search runs as its owner",
        "alter function ingest_search.nearest_chunks security definer;",
        "calls",
        "NEAREST",
    ),
    Broken(
        "the search finds as its owner",
        """alter function ingest.match_chunks security definer;""",
        "calls",
        "MATCH",
    ),
    Broken(
        "policies are told of too much",
        """create or replace function ingest_private.withdrawn_of_caller() returns setof uuid
               language sql stable security definer set search_path = pg_catalog, pg_temp as
               $$ select document_id from ingest_private.withdrawn $$;""",
        "calls",
        "ingest_private.withdrawn_of_caller()",
    ),
    Broken(
        "nobody asks whose job it is",
        """create or replace function ingest_private.require_own_job(p_job_id uuid) returns void
               language sql stable security definer set search_path = pg_catalog, pg_temp as
               $$ select $$;""",
        "calls",
        "ingest.cancel_job(uuid)",
    ),
    Broken(
        "what a job is explained by is told to everybody",
        """create or replace function ingest_private.require_own_job(p_job_id uuid) returns void
               language sql stable security definer set search_path = pg_catalog, pg_temp as
               $$ select $$;""",
        "calls",
        "ingest.explain_job(uuid)",
    ),
    Broken(
        "a function returns others' passages",
        careless(
            "passages(p_limit integer default 5) returns setof text",
            "passages(integer)",
            "select content from ingest.chunks limit p_limit + 1000",
        ),
        "calls",
        "ingest.passages(integer)",
    ),
    Broken(
        "a function returns the name of any document",
        careless(
            "name_of(document_id uuid) returns text",
            "name_of(uuid)",
            "select object_name from ingest.documents where id = name_of.document_id",
        ),
        "calls",
        "ingest.name_of(uuid)",
    ),
    Broken(
        "a function takes the subject from its argument",
        careless(
            "documents_of(p_owner text) returns setof ingest.documents",
            "documents_of(text)",
            "select * from ingest.documents where owner_id = p_owner",
        ),
        "calls",
        "ingest.documents_of(text)",
    ),
    Broken(
        "a function returns others' only on a second argument's say",
        careless(
            "listed(p_mine boolean default true, p_scope text default 'own') returns setof uuid",
            "listed(boolean, text)",
            """select id from ingest.documents
                where p_scope = 'every' or owner_id = auth.jwt() ->> 'sub'""",
        ),
        "calls",
        "ingest.listed(boolean,text)",
    ),
    Broken(
        "an error says it",
        careless(
            "check_name(document_id uuid) returns void",
            "check_name(uuid)",
            """begin
                   raise exception 'not yours: %',
                       (select object_name from ingest.documents as d where d.id = document_id);
               end""",
            "plpgsql",
        ),
        "calls",
        "ingest.check_name(uuid)",
    ),
    Broken(
        "a function renames any document",
        careless(
            "rename(document_id uuid) returns void",
            "rename(uuid)",
            "update ingest.documents set title = 'x' where id = rename.document_id",
        ),
        "calls",
        "ingest.rename(uuid)",
    ),
    Broken(
        "a function forgets chunks by their vector",
        careless(
            "forget(p_like extensions.vector) returns void",
            "forget(extensions.vector)",
            """delete from ingest.chunks
                where embedding operator(extensions.<=>) p_like::extensions.halfvec < 0.01""",
        ),
        "calls",
        "ingest.forget(extensions.vector)",
    ),
    Broken(
        "a view reads as its owner",
        """create view ingest.latest as select * from ingest.documents;
           grant select on ingest.latest to authenticated;""",
        "reads",
        "ingest.latest",
    ),
    Broken(
        "a view of another schema reads as its owner",
        """create view public.passages as select id, content from ingest.chunks;
           grant select on public.passages to authenticated;""",
        "row-level security",
        "public.passages",
    ),
    Broken(
        "a view that is filled once",
        """create materialized view ingest.counted as
               select owner_id, count(*) from ingest.documents group by 1;
           grant select on ingest.counted to authenticated;""",
        "row-level security",
        "ingest.counted",
    ),
    Broken(
        "a new table without row-level security",
        """create table ingest.notes (id uuid primary key, owner_id text not null, content text);
           grant select on ingest.notes to authenticated;""",
        "reads",
        "ingest.notes",
    ),
    Broken(
        "a new side table whose policy forgets what is withdrawn",
        f"""create table ingest.terms (
                document_id uuid, owner_id text, access text, codes extensions.vector(8),
                bits bit(16), lexemes tsvector not null);
            alter table ingest.terms enable row level security;
            grant select on ingest.terms to authenticated;
            create policy terms_select on ingest.terms for select to authenticated
                using ({MINE});""",
        "reads",
        "ingest.terms",
    ),
    Broken(
        "Realtime sends a private table",
        "alter publication supabase_realtime add table ingest_private.quarantine;",
        "publications",
        "ingest_private.quarantine",
    ),
    Broken(
        "Realtime sends partitions",
        "alter publication supabase_realtime add table ingest.chunks;",
        "publications",
        "ingest_private.chunks_1",
    ),
    Broken(
        "the Data API serves the private schema",
        "set local pgrst.db_schemas = 'public, ingest,ingest_private';",
        "exposed schemas",
        "ingest_private",
    ),
    Broken(
        "the Data API serves what searches are made of",
        "set local pgrst.db_schemas = 'public, ingest, ingest_search';",
        "exposed schemas",
        "ingest_search",
    ),
    Broken(
        "the Data API is told to serve the private schema",
        """alter role authenticator set pgrst.db_schemas = 'public,"ingest_private"';""",
        "exposed schemas",
        "ingest_private",
        by_superuser=True,
    ),
    Broken(
        "policies do not hold for users",
        "alter role authenticated bypassrls;",
        "reads",
        "ingest.chunks",
        by_superuser=True,
    ),
    Broken(
        "users are members of the owner",
        "create role mighty; alter schema ingest owner to mighty; grant mighty to authenticated;",
        "roles",
        "authenticated",
        by_superuser=True,
    ),
    Broken(
        "users own a table",
        "alter table ingest.documents owner to authenticated;",
        "row-level security",
        "ingest.documents",
        by_superuser=True,
    ),
]


class TestABrokenSchema:
    @pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.name)
    def test_is_caught_and_named(
        self,
        broken: Broken,
        admins_connection: Connection,
        postgres_role: Connection,
    ):
        connection = admins_connection if broken.by_superuser else postgres_role
        expected = SHORT.get(broken.subject, broken.subject)
        seen: list[tuple[str, str]] = []
        with connection.transaction(force_rollback=True):
            connection.execute(broken.statement.encode())
            # Later checks take seconds and add nothing.
            with closing(verify_rls(connection)) as findings:
                for check, subject in leaks(findings):
                    seen.append((check, subject))
                    if check == broken.check and subject.startswith(expected):
                        return
        pytest.fail(f"not among what was found: {sorted(seen)}")


SHORT = {"MATCH": "ingest.match_chunks(", "NEAREST": "ingest_search.nearest_chunks("}

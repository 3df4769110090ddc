"""Supabase's database linter finds nothing in a project with docmill, except a known list.

Each rule is a query of our own under the linter's name. To prove that a rule can find its fault, it
also runs on a schema with that fault.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest

from tests.support.database import Database

Connection = psycopg.Connection[Any]

OURS = "('ingest', 'ingest_private', 'ingest_search')"
#: Schemas that the Data API serves after following docs/hosted.md.
EXPOSED = "('public', 'ingest')"
TABLES = f"""pg_class as c join pg_namespace as n on n.oid = c.relnamespace
              and n.nspname in {OURS}"""
POLICIES = f"""(select *, coalesce(qual, '') || ' ' || coalesce(with_check, '') as said
                  from pg_policies where schemaname in {OURS}) as p"""
FUNCTIONS = f"""pg_proc as f join pg_namespace as n on n.oid = f.pronamespace
                 and n.nspname in {OURS}"""
ASKED = r"(auth\.(uid|jwt|role|email)\(\)|current_setting\([^)]*\))"
CLIENT_READS = """(has_any_column_privilege('anon', c.oid, 'select')
                   or has_any_column_privilege('authenticated', c.oid, 'select'))"""


@dataclass(frozen=True)
class Rule:
    """A query that finds the fault, and a statement that makes it."""

    name: str
    query: str
    broken_by: str


RULES = (
    Rule(
        "unindexed_foreign_keys",
        f"""select k.conname from pg_constraint as k join {TABLES} on c.oid = k.conrelid
             where k.contype = 'f'
               and not exists (
                   select from pg_index as i
                    where i.indrelid = k.conrelid and i.indisvalid
                      and (string_to_array(i.indkey::text, ' ')::smallint[])
                              [1:cardinality(k.conkey)] = k.conkey)""",
        """create table ingest.more (version integer references ingest.index_versions (id))""",
    ),
    Rule(
        "auth_users_exposed",
        f"""select c.relname from {TABLES}
              join pg_rewrite as r on r.ev_class = c.oid
              join pg_depend as d on d.classid = 'pg_rewrite'::regclass and d.objid = r.oid
                                 and d.refobjid = 'auth.users'::regclass
             where c.relkind in ('v', 'm') and {CLIENT_READS}""",
        """create view ingest.people as select id, email from auth.users;
           grant select on ingest.people to authenticated""",
    ),
    Rule(
        "auth_rls_initplan",
        # A call outside a SELECT of its own: the planner runs it for every row.
        rf"""select policyname from {POLICIES}
             where regexp_replace(said, 'select\s+{ASKED}', '', 'gi') ~* '{ASKED}'""",
        """alter policy jobs_select on ingest.jobs using (owner_id = auth.uid()::text)""",
    ),
    Rule(
        "no_primary_key",
        f"""select c.relname from {TABLES}
             where c.relkind in ('r', 'p')
               and not exists (select from pg_index where indrelid = c.oid and indisprimary)""",
        "create table ingest_private.more (id integer)",
    ),
    Rule(
        "multiple_permissive_policies",
        f"""select tablename from {POLICIES} cross join lateral unnest(roles) as role
             where permissive = 'PERMISSIVE' group by tablename, role, cmd having count(*) > 1""",
        "create policy more on ingest.jobs for select to authenticated using (false)",
    ),
    Rule(
        "policy_exists_rls_disabled",
        f"""select c.relname from {TABLES} where not c.relrowsecurity
               and exists (select from pg_policy where polrelid = c.oid)""",
        "alter table ingest.jobs disable row level security",
    ),
    Rule(
        "rls_enabled_no_policy",
        f"""select c.relname from {TABLES} where c.relrowsecurity
               and not exists (select from pg_policy where polrelid = c.oid)""",
        "alter table ingest_private.leases enable row level security",
    ),
    Rule(
        "duplicate_index",
        f"""select min(x.relname) from pg_index as i join pg_class as x on x.oid = i.indexrelid
              join {TABLES} on c.oid = i.indrelid
             group by i.indrelid, i.indkey, i.indclass, i.indoption, x.relam,
                      pg_get_expr(i.indexprs, i.indrelid), pg_get_expr(i.indpred, i.indrelid)
            having count(*) > 1""",
        "create index more on ingest.jobs (owner_id, created_at desc)",
    ),
    Rule(
        "security_definer_view",
        f"""select c.relname from {TABLES} where c.relkind = 'v'
               and not coalesce((select option_value::boolean
                                   from pg_options_to_table(c.reloptions)
                                  where option_name = 'security_invoker'), false)""",
        "create view ingest.more as select * from ingest.jobs",
    ),
    Rule(
        "function_search_path_mutable",
        f"""select f.proname from {FUNCTIONS}
             where not exists (select from unnest(f.proconfig) as setting
                                where setting like 'search\\_path=%')""",
        "alter function ingest.cancel_job reset search_path",
    ),
    Rule(
        "rls_disabled_in_public",
        f"""select c.relname from {TABLES} where c.relkind in ('r', 'p') and not c.relrowsecurity
               and n.nspname in {EXPOSED}""",
        "create table ingest.more (id integer primary key)",
    ),
    Rule(
        "extension_in_public",
        """select extname from pg_extension as e join pg_namespace as n on n.oid = e.extnamespace
             where n.nspname in ('public', 'ingest', 'ingest_private') and extname <> 'plpgsql'""",
        "drop extension vector cascade; create extension vector schema public",
    ),
    Rule(
        "rls_references_user_metadata",
        f"""select policyname from {POLICIES} where said ~ 'user_metadata'""",
        """alter policy jobs_select on ingest.jobs
               using (owner_id = (select auth.jwt()) -> 'user_metadata' ->> 'owner')""",
    ),
    Rule(
        "materialized_view_in_api",
        f"""select c.relname from {TABLES} where c.relkind = 'm' and n.nspname in {EXPOSED}
               and {CLIENT_READS}""",
        """create materialized view ingest.more as select 1 as one;
           grant select on ingest.more to authenticated""",
    ),
    Rule(
        "foreign_table_in_api",
        f"""select c.relname from {TABLES} where c.relkind = 'f' and n.nspname in {EXPOSED}
               and {CLIENT_READS}""",
        """create foreign data wrapper far; create server away foreign data wrapper far;
           create foreign table ingest.more (id integer) server away;
           grant select on ingest.more to authenticated""",
    ),
    Rule(
        "rls_policy_always_true",
        f"""select policyname from {POLICIES}
             where permissive = 'PERMISSIVE' and (qual = 'true' or with_check = 'true')""",
        "alter policy jobs_select on ingest.jobs using (true)",
    ),
    Rule(
        "anon_security_definer_function_executable",
        f"""select f.proname from {FUNCTIONS} where f.prosecdef and n.nspname in {EXPOSED}
               and has_function_privilege('anon', f.oid, 'execute')""",
        "grant execute on function ingest.cancel_job to anon",
    ),
    Rule(
        "authenticated_security_definer_function_executable",
        f"""select f.proname from {FUNCTIONS} where f.prosecdef and n.nspname in {EXPOSED}
               and has_function_privilege('authenticated', f.oid, 'execute')""",
        "grant execute on function ingest.withdrawn_documents to authenticated",
    ),
)

#: The known findings, each with its reason.
ACCEPTED: Mapping[tuple[str, str], str] = {
    ("rls_enabled_no_policy", "chunks_1"): "shows nothing by itself, whoever is let in",
    ("rls_enabled_no_policy", "chunk_positions_1"): "as chunks_1",
    ("rls_enabled_no_policy", "sketches_1"): "as chunks_1",
    ("rls_policy_always_true", "index_versions_select"): "which models there are is no secret",
    **{
        ("authenticated_security_definer_function_executable", name): (
            "asks first whose job it is; verify-rls calls it with others' jobs"
        )
        for name in ("cancel_job", "explain_job", "retry_job")
    },
    **{
        ("authenticated_security_definer_function_executable", name): (
            "of the caller alone, by the subject of the token; verify-rls calls it with others' ids"
        )
        for name in ("ask_question", "record_answer", "delete_conversation", "record_query")
    },
}


def found(connection: Connection, rule: Rule) -> set[tuple[str, str]]:
    return {(rule.name, row[0]) for row in connection.execute(rule.query.encode()).fetchall()}


def test_nothing_is_found_but_what_is_accepted(any_database: Database):
    with any_database.connect() as connection:
        everything = set[tuple[str, str]]().union(*(found(connection, rule) for rule in RULES))
    assert everything == set(ACCEPTED)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_a_rule_finds_what_it_is_for(shared: Connection, rule: Rule):
    before = found(shared, rule)
    shared.execute(rule.broken_by.encode())
    assert found(shared, rule) - before

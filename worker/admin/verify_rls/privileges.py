"""Checks of the catalog: grants, policies, search paths, publications, exposed schemas."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, Final, LiteralString

from docmill.worker.admin.rows import fetch_rows
from docmill.worker.admin.verify_rls.catalog import (
    CALLED,
    CLIENTS,
    SCHEMAS,
    UNEXPOSED,
    WORKER,
    Catalog,
    Function,
    Relation,
)
from docmill.worker.admin.verify_rls.findings import APPLY, Finding, Outcome
from docmill.worker.admin.verify_rls.tenants import SHARED
from docmill.worker.store.database import Connection

_READERS: Final = ("authenticated", "service_role")
#: The privileges that COPY needs, and no more.
_WORKERS_INSERT: Final = ("ingest_private.staged_chunks", "INSERT")

ROLES: Final[LiteralString] = """
    select r.rolname::text as role, r.rolsuper or r.rolbypassrls as passes_policies,
           array(select pg_get_userbyid(n.nspowner)::text from pg_namespace as n
                  where n.nspname = any(%(schemas)s)
                    and pg_has_role(r.oid, n.nspowner, 'member')) as owners
      from pg_roles as r where r.rolname = any(%(roles)s) order by r.rolname
"""
SCHEMA_PRIVILEGES: Final[LiteralString] = """
    select n.nspname::text as schema, r.rolname::text as role, p.privilege
      from pg_namespace as n
           cross join pg_roles as r
           cross join unnest(array['USAGE', 'CREATE']) as p(privilege)
     where n.nspname = any(%(schemas)s) and r.rolname = any(%(roles)s)
       and has_schema_privilege(r.oid, n.oid, p.privilege)
"""
RELATION_PRIVILEGES: Final[LiteralString] = """
    select c.oid::integer as oid, r.rolname::text as role, p.privilege
      from unnest(%(relations)s::oid[]) as c(oid)
           cross join pg_roles as r
           cross join unnest(array['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE',
                                   'REFERENCES', 'TRIGGER']
                             || case when current_setting('server_version_num')::integer >= 170000
                                     then array['MAINTAIN'] end) as p(privilege)
     where r.rolname = any(%(roles)s)
       and case when p.privilege in ('SELECT', 'INSERT', 'UPDATE', 'REFERENCES')
                then has_any_column_privilege(r.oid, c.oid, p.privilege)
                else has_table_privilege(r.oid, c.oid, p.privilege) end
"""
SEQUENCE_PRIVILEGES: Final[LiteralString] = """
    select c.oid::integer as oid, r.rolname::text as role, p.privilege
      from unnest(%(relations)s::oid[]) as c(oid)
           cross join pg_roles as r
           cross join unnest(array['USAGE', 'SELECT', 'UPDATE']) as p(privilege)
     where r.rolname = any(%(roles)s) and has_sequence_privilege(r.oid, c.oid, p.privilege)
"""
# The project's own roles: docmill does not know who uses them.
STRANGERS: Final[LiteralString] = """
    select c.oid::integer as oid, string_agg(distinct pg_get_userbyid(a.grantee)::text, ', ') as who
      from pg_class as c cross join lateral aclexplode(c.relacl) as a
     where c.oid = any(%(relations)s::oid[]) and a.grantee <> 0 and a.grantee <> c.relowner
       and pg_get_userbyid(a.grantee) <> all(%(roles)s)
       and not (select rolsuper from pg_roles where oid = a.grantee)
     group by c.oid
"""
FUNCTION_PRIVILEGES: Final[LiteralString] = """
    select f.oid::integer as oid, r.rolname::text as role
      from unnest(%(functions)s::oid[]) as f(oid) cross join pg_roles as r
     where r.rolname = any(%(roles)s) and has_function_privilege(r.oid, f.oid, 'execute')
"""
DEFAULTS: Final[LiteralString] = """
    select coalesce(n.nspname::text, '') as schema, pg_get_userbyid(d.defaclrole)::text as maker,
           case d.defaclobjtype when 'r' then 'tables' when 'S' then 'sequences'
                when 'f' then 'functions' when 'T' then 'types' else 'schemas' end as what,
           string_agg(distinct case a.grantee when 0 then 'public'
                                    else pg_get_userbyid(a.grantee)::text end, ', ') as who
      from pg_default_acl as d left join pg_namespace as n on n.oid = d.defaclnamespace
           cross join lateral aclexplode(d.defaclacl) as a
     where (n.nspname = any(%(schemas)s)
            or d.defaclnamespace = 0
               and d.defaclrole in (
                   select nspowner from pg_namespace where nspname = any(%(schemas)s)))
       and (a.grantee = 0 or pg_get_userbyid(a.grantee) = any(%(roles)s))
       and d.defaclobjtype in ('r', 'S', 'f')
     group by 1, 2, 3
"""
POLICIES: Final[LiteralString] = """
    select c.oid::integer as oid, p.polname::text as name, p.polcmd::text as command,
           p.polpermissive as is_permissive,
           pg_get_expr(p.polqual, p.polrelid) as condition,
           array(select case role when 0 then 'public' else pg_get_userbyid(role)::text end
                   from unnest(p.polroles) as role) as roles
      from pg_policy as p join pg_class as c on c.oid = p.polrelid
     where c.oid = any(%(relations)s::oid[])
"""
# Schemas in which many roles may create objects, which could then replace other objects.
OPEN_SCHEMAS: Final[LiteralString] = """
    select array_agg(distinct n.nspname::text) as schemas
      from pg_namespace as n cross join pg_roles as r
     where r.rolname = any(%(roles)s) and n.nspname not like 'pg\\_%%'
       and has_schema_privilege(r.oid, n.oid, 'CREATE')
"""
PUBLISHED: Final[LiteralString] = """
    select pubname::text as publication, schemaname::text || '.' || tablename::text as title
      from pg_publication_tables where schemaname = any(%(schemas)s)
"""
# The places where PostgREST reads it; hosted projects keep it in the Data API instead.
EXPOSED: Final[LiteralString] = """
    select current_setting('pgrst.db_schemas', true) as value, 'this session' as place
     where coalesce(current_setting('pgrst.db_schemas', true), '') <> ''
    union all
    select split_part(setting, '=', 2),
           coalesce(pg_get_userbyid(nullif(setrole, 0))::text, 'the database')
      from pg_db_role_setting cross join unnest(setconfig) as setting
     where setting like 'pgrst.db\\_schemas=%%'
       and setdatabase in (0, (select oid from pg_database where datname = current_database()))
"""

_ROLES: Final = (*CLIENTS, WORKER)


def check_privileges(connection: Connection, catalog: Catalog) -> Iterator[Finding]:
    """All checks that only read the catalog."""
    scope: dict[str, Any] = {
        "schemas": list(SCHEMAS),
        "roles": list(_ROLES),
        "relations": [one.oid for one in catalog.relations if one.kind != "S"],
        "functions": [one.oid for one in catalog.functions],
    }
    yield from _roles(connection, scope)
    yield from _schemas(connection, scope)
    yield from _exposed(connection)
    yield from _relations(connection, catalog, scope)
    yield from _sequences(connection, catalog, scope)
    yield from _functions(connection, catalog, scope)
    yield from _search_paths(connection, catalog, scope)
    yield from _defaults(connection, scope)
    yield from _row_security(connection, catalog, scope)
    yield from _policies(connection, catalog, scope)
    yield from _publications(connection, catalog, scope)


def _finding(
    check: str, subject: str, problems: Sequence[str], remedy: str, outcome: Outcome = "leak"
) -> Finding:
    if problems:
        return Finding(check, subject, outcome, "; ".join(problems), remedy)
    return Finding(check, subject, "ok")


def _roles(connection: Connection, scope: dict[str, Any]) -> Iterator[Finding]:
    for role in fetch_rows(connection, ROLES, scope):
        name, problems = role["role"], []
        if role["passes_policies"] and name != "service_role":
            problems.append("it bypasses every policy")
        if role["owners"]:
            problems.append(f"it may become {', '.join(sorted(set(role['owners'])))}")
        remedy = f"alter role {name} nosuperuser nobypassrls; revoke its memberships"
        yield _finding("roles", name, problems, remedy)


def _schemas(connection: Connection, scope: dict[str, Any]) -> Iterator[Finding]:
    allowed = {
        *((schema, role, "USAGE") for schema in CALLED for role in _READERS),
        ("ingest_private", WORKER, "USAGE"),
    }
    problems = defaultdict(list)
    for row in fetch_rows(connection, SCHEMA_PRIVILEGES, scope):
        if tuple(row.values()) not in allowed:
            problems[row["schema"]].append(f"{row['role']} has {row['privilege']}")
    for schema in SCHEMAS:
        yield _finding("schema grants", schema, problems[schema], APPLY)


def _exposed(connection: Connection) -> Iterator[Finding]:
    places = fetch_rows(connection, EXPOSED, {})
    if not places:
        schemas = " and ".join(UNEXPOSED)
        seen = f"not visible from here: check that the Data API does not list {schemas}"
        yield Finding("exposed schemas", schemas, "warning", seen)
        return
    for schema in UNEXPOSED:
        problems = [
            f"the Data API serves it (pgrst.db_schemas of {place['place']})"
            for place in places
            if schema in [name.strip(' "') for name in place["value"].split(",")]
        ]
        remedy = f"take {schema} out of the Data API's exposed schemas"
        yield _finding("exposed schemas", schema, problems, remedy)


def _may(relation: Relation, role: str, privilege: str) -> bool:
    """Docmill's own grants: users and the service role read `ingest`, the worker may COPY."""
    if role == WORKER:
        return (relation.title, privilege) == _WORKERS_INSERT
    return relation.schema == "ingest" and role in _READERS and privilege == "SELECT"


def _relations(
    connection: Connection, catalog: Catalog, scope: dict[str, Any]
) -> Iterator[Finding]:
    ours = [one for one in catalog.relations if one.schema in SCHEMAS and one.kind != "S"]
    granted = defaultdict(list)
    for row in fetch_rows(connection, RELATION_PRIVILEGES, scope):
        granted[row["oid"]].append((row["role"], row["privilege"]))
    strangers = {row["oid"]: row["who"] for row in fetch_rows(connection, STRANGERS, scope)}
    for relation in ours:
        problems = [
            f"{role} has {privilege}"
            for role, privilege in granted[relation.oid]
            if not _may(relation, role, privilege)
        ]
        yield _finding("table grants", relation.title, problems, APPLY)
        if relation.oid in strangers:
            seen = f"granted to {strangers[relation.oid]}, whom docmill does not know"
            yield Finding(
                "table grants", relation.title, "warning", seen, "revoke what you do not want"
            )


def _sequences(
    connection: Connection, catalog: Catalog, scope: dict[str, Any]
) -> Iterator[Finding]:
    sequences = [one for one in catalog.relations if one.kind == "S"]
    held = defaultdict(list)
    query = {**scope, "relations": [one.oid for one in sequences]}
    for row in fetch_rows(connection, SEQUENCE_PRIVILEGES, query):
        held[row["oid"]].append(f"{row['role']} has {row['privilege']}")
    for sequence in sequences:
        yield _finding("table grants", sequence.title, held[sequence.oid], APPLY)


def _functions(
    connection: Connection, catalog: Catalog, scope: dict[str, Any]
) -> Iterator[Finding]:
    held = defaultdict(set)
    for row in fetch_rows(connection, FUNCTION_PRIVILEGES, scope):
        held[row["oid"]].add(row["role"])
    for function in catalog.functions:
        problems = [
            f"{role} may execute it"
            for role in sorted(held[function.oid] & set(CLIENTS))
            if not _may_execute(function, role)
        ]
        yield _finding("function grants", function.signature, problems, APPLY)


def _may_execute(function: Function, role: str) -> bool:
    if function.schema in CALLED:
        return role in _READERS
    # Clients cannot name these functions. But a reader executes the functions in policies, and a
    # caller those in a function's body.
    if role == "service_role":
        return function.in_body
    return role == "authenticated" and (function.in_policy or function.in_body)


def _search_paths(
    connection: Connection, catalog: Catalog, scope: dict[str, Any]
) -> Iterator[Finding]:
    row = fetch_rows(connection, OPEN_SCHEMAS, scope)[0]
    open_schemas = {*(row["schemas"] or ()), '"$user"', "$user"}
    for function in catalog.functions:
        paths = [s.split("=", 1)[1] for s in function.settings if s.startswith("search_path=")]
        problems = _path_problems(paths[0] if paths else None, open_schemas)
        # Without the owner's rights it can do nothing more than its caller.
        outcome: Outcome = "leak" if function.is_definer else "warning"
        yield _finding("search_path", function.signature, problems, APPLY, outcome)


def _path_problems(path: str | None, open_schemas: set[str]) -> list[str]:
    if path is None:
        return ["none is fixed, so its caller decides which objects it uses"]
    names = [name.strip() for name in path.split(",")]
    problems = [f"others may create in {name}" for name in names if name.strip('"') in open_schemas]
    if names[-1].strip('"') != "pg_temp":
        problems.append("pg_temp is not last, so a temporary type of the caller comes first")
    return problems


def _defaults(connection: Connection, scope: dict[str, Any]) -> Iterator[Finding]:
    rows = fetch_rows(connection, DEFAULTS, scope)
    for row in rows:
        where = f"schema {row['schema']}" if row["schema"] else "every schema"
        yield Finding(
            "default privileges",
            f"{row['what']} of {row['maker']} in {where}",
            "leak" if row["schema"] else "warning",
            f"new objects there are open to {row['who']}",
            f"alter default privileges for role {row['maker']}"
            + (f" in schema {row['schema']}" if row["schema"] else "")
            + f" revoke all on {row['what']} from {row['who']}",
        )
    if not rows:
        yield Finding("default privileges", ", ".join(SCHEMAS), "ok")


def _row_security(
    connection: Connection, catalog: Catalog, scope: dict[str, Any]
) -> Iterator[Finding]:
    readers = {
        row["oid"]
        for row in fetch_rows(connection, RELATION_PRIVILEGES, scope)
        if row["role"] in CLIENTS and row["privilege"] == "SELECT"
    }
    for relation in catalog.relations:
        if relation.kind == "S":
            continue
        problems = _bare(relation, is_readable=relation.oid in readers)
        yield _finding("row-level security", relation.title, problems, APPLY)


def _bare(relation: Relation, *, is_readable: bool) -> list[str]:
    if relation.kind == "v":
        is_open = is_readable and not relation.is_invoker
        return [f"it reads with the rights of {relation.owner}: no security_invoker"] * is_open
    if relation.kind in ("m", "f"):
        return ["clients may read it, and it has no policies"] * is_readable
    needs_it = is_readable or relation.schema == "ingest" or relation.is_partition
    if needs_it and not relation.has_rls:
        return ["row-level security is off"]
    # Policies do not apply to a table's owner unless they are forced.
    if relation.owner in (*CLIENTS, WORKER) and not relation.is_forced:
        return [f"it belongs to {relation.owner}, and row-level security is not forced"]
    return []


def _policies(connection: Connection, catalog: Catalog, scope: dict[str, Any]) -> Iterator[Finding]:
    by_oid = {relation.oid: relation for relation in catalog.relations}
    problems = defaultdict(list)
    for row in fetch_rows(connection, POLICIES, scope):
        relation, name = by_oid[row["oid"]], row["name"]
        if row["command"] != "r":
            problems[relation.oid].append(f"policy {name} is for writing")
        if set(row["roles"]) - {"authenticated"}:
            problems[relation.oid].append(f"policy {name} is for {', '.join(row['roles'])}")
        if relation.is_private:
            problems[relation.oid].append(f"policy {name} opens a closed table")
        is_true = row["condition"] == "true" and row["is_permissive"]
        if is_true and relation.title not in SHARED:
            problems[relation.oid].append(f"policy {name} lets everybody read everything")
    for relation in catalog.tables:
        yield _finding("policies", relation.title, problems[relation.oid], APPLY)
    for relation in catalog.relations:
        if relation.is_partition and problems[relation.oid]:
            yield _finding("policies", relation.title, problems[relation.oid], APPLY)


def _publications(
    connection: Connection, catalog: Catalog, scope: dict[str, Any]
) -> Iterator[Finding]:
    by_title = {relation.title: relation for relation in catalog.relations}
    rows = fetch_rows(connection, PUBLISHED, scope)
    for row in rows:
        relation = by_title.get(row["title"])
        is_open = relation is not None and not relation.is_private and relation.has_rls
        # Realtime asks the policies of published tables. Any other publication is read by a
        # replication login, without policies: that is the operator's decision.
        of_realtime = row["publication"].startswith("supabase_realtime")
        outcome: Outcome = "leak" if of_realtime else "warning"
        seen = [] if is_open and of_realtime else [f"published by {row['publication']}"]
        remedy = f"alter publication {row['publication']} drop table {row['title']}"
        yield _finding("publications", row["title"], seen, remedy, outcome)
    if not rows:
        yield Finding("publications", ", ".join(SCHEMAS), "ok", "nothing is published")

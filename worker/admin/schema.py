"""Apply and check the database schema. For the schema's owner, over a session-mode connection."""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Final, LiteralString

import psycopg
from psycopg import errors as pg
from psycopg import sql
from psycopg.rows import scalar_row

from docmill.worker.errors import SchemaError
from docmill.worker.models import IndexSettings

OLDEST_SERVER: Final = 15
OLDEST_PGVECTOR: Final = (0, 8)
#: Key of the advisory lock that allows only one `schema apply` at a time; any constant works.
LOCK_KEY: Final = 0x646F636D696C6C
_LOCK_TRIES: Final = 5

_PRECONDITIONS: Final[LiteralString] = """
    select current_setting('server_version_num')::integer / 10000 as major,
           (select extversion from pg_extension where extname = 'vector') as pgvector,
           (select n.nspname from pg_extension as e
                   join pg_namespace as n on n.oid = e.extnamespace
             where e.extname = 'vector') as pgvector_schema,
           to_regclass('storage.objects') is not null as has_storage,
           to_regprocedure('auth.jwt()') is not null as has_auth,
           array(select role from unnest(array['anon', 'authenticated', 'service_role']) as role
                  where to_regrole(role) is null) as missing_roles,
           -- Not by to_regclass, which may not look into a schema that is somebody else's.
           exists (select from pg_class as c join pg_namespace as n on n.oid = c.relnamespace
                    where n.nspname = 'ingest_private' and c.relname = 'migrations')
               as is_installed
"""

_OWNER: Final[LiteralString] = """
    select pg_get_userbyid(nspowner)::text from pg_namespace where nspname = 'ingest_private'
"""

# Everything that the re-applied files make, as the catalog has it now. Functions with other names
# belong to the project. Partitions come and go with index versions: they count only if something is
# wrong with them. Names are written without their schema if the search_path has it, so the
# search_path must be empty.
_FINGERPRINT: Final[LiteralString] = """
    with ours as (
        select oid, nspname, nspacl from pg_namespace
         where nspname in ('ingest', 'ingest_private', 'ingest_search'))
    select md5(string_agg(item, E'\n' order by item)) from (
        select pg_get_functiondef(p.oid) || coalesce(p.proacl::text, '') as item
          from pg_proc as p join ours on ours.oid = p.pronamespace
         where ours.nspname || '.' || p.proname = any({functions})
        union all
        select format('%s %s %s %s %s %s %s',
                      policyname, tablename, permissive, roles, cmd, qual, with_check)
          from pg_policies where schemaname in (select nspname from ours)
        union all
        select format('%s %s %s', c.oid::regclass, c.relacl, c.relrowsecurity)
          from pg_class as c
         where c.relnamespace in (select oid from ours)
           and c.relkind in ('r', 'p', 'S', 'v') and not c.relispartition
        union all
        select format('partition %s %s %s', c.oid::regclass, c.relacl, c.relrowsecurity)
          from pg_class as c
         where c.relnamespace = to_regnamespace('ingest_private')
           and c.relkind = 'r' and c.relispartition
           and (not c.relrowsecurity
                or exists (select from aclexplode(c.relacl) where grantee <> c.relowner))
        union all
        select format('%s.%s %s', a.attrelid::regclass, a.attname, a.attacl)
          from pg_attribute as a join pg_class as c on c.oid = a.attrelid
         where c.relnamespace in (select oid from ours)
           and a.attacl is not null and cardinality(a.attacl) > 0
        union all
        select format('%s %s', nspname, nspacl) from ours
        union all
        select pg_get_triggerdef(t.oid) || t.tgenabled::text from pg_trigger as t
         where t.tgrelid = to_regclass('storage.objects') and t.tgname like 'docmill\\_object%'
        union all
        select format('%s %s %s %s', code, kind, message, remedy)
          from ingest_private.error_codes
    ) as items
"""


_CREATED_FUNCTION: Final = re.compile(r"create (?:or replace )?function (ingest\w*\.\w+)")


@dataclass(frozen=True)
class SqlFile:
    """One file of schema/."""

    name: str
    text: str

    @property
    def checksum(self) -> str:
        """sha256 of the text, hexadecimal."""
        return hashlib.sha256(self.text.encode()).hexdigest()


@dataclass(frozen=True)
class AppliedSchema:
    """What `apply_schema` changed."""

    migrations: tuple[str, ...]
    reapplied: bool
    index_version_created: int | None
    role_created: bool

    @property
    def changed(self) -> bool:
        """False if the database was up to date."""
        return bool(self.migrations or self.reapplied or self.index_version_created)


def sql_files(folder: str) -> list[SqlFile]:
    """The SQL files of one folder of schema/, in order of their names."""
    entries = files("docmill.schema").joinpath(folder).iterdir()
    return sorted(
        (
            SqlFile(entry.name, entry.read_text())
            for entry in entries
            if entry.name.endswith(".sql")
        ),
        key=lambda file: file.name,
    )


def reapplied_files() -> list[SqlFile]:
    """The files that are applied again whenever one of them, or the catalog, has changed."""
    return [*sql_files("functions"), *sql_files("policies")]


def apply_schema(connection: psycopg.Connection, index: IndexSettings) -> AppliedSchema:
    """Bring the schema up to date, in one transaction. Repeatable; changes nothing the second time.

    Runs as a superuser or as a hosted project's `postgres`. Raises SchemaError that names what is
    missing or was edited. Waits at most 3 s for a lock, several times, so that no upload waits long
    behind it; a deadlock with a worker is also tried again.
    """
    return _retry_on_lock(lambda: _apply_once(connection, index))


def _retry_on_lock(action: Callable[[], AppliedSchema]) -> AppliedSchema:
    for attempt in range(_LOCK_TRIES):
        try:
            return action()
        except (pg.LockNotAvailable, pg.DeadlockDetected):
            if attempt == _LOCK_TRIES - 1:
                raise SchemaError(
                    "a table stayed locked: try again when fewer uploads are running"
                ) from None
    raise AssertionError


def _apply_once(connection: psycopg.Connection, index: IndexSettings) -> AppliedSchema:
    with connection.transaction():
        connection.execute("set local lock_timeout = '3s'")
        connection.execute("set local statement_timeout = '10min'")
        connection.execute("set local search_path = ''")
        connection.execute("select pg_advisory_xact_lock(%s)", [LOCK_KEY])
        vector_schema, is_installed = _check_preconditions(connection)
        _become_owner(connection)
        had_role = _scalar(connection, "select to_regrole('docmill_worker') is not null")
        done = _done_migrations(connection) if is_installed else {}
        migrations = _run_migrations(connection, done, vector_schema)
        reapplied = bool(migrations) or not _is_current(connection)
        if reapplied:
            for file in reapplied_files():
                _execute(connection, file, vector_schema)
            _remember_state(connection)
        created = _ensure_index_version(connection, index)
    return AppliedSchema(tuple(migrations), reapplied, created, not had_role)


def check_schema(connection: psycopg.Connection) -> list[str]:
    """The problems of the schema, each with its remedy; empty if there are none."""
    try:
        with connection.transaction():
            connection.execute("set local search_path = ''")
            _vector_schema, is_installed = _check_preconditions(connection, create_extension=False)
            if not is_installed:
                return ["the schema is not installed: run docmill schema apply"]
            _become_owner(connection)
            done = _done_migrations(connection)
            pending = [f.name for f in sql_files("migrations") if f.name not in done]
            if pending:
                return [f"migrations are missing ({', '.join(pending)}): run docmill schema apply"]
            if not _is_current(connection):
                return [
                    (
                        "functions, policies or grants differ from this version's: "
                        "run docmill schema apply"
                    )
                ]
    except SchemaError as error:
        return [str(error)]
    return []


def _check_preconditions(
    connection: psycopg.Connection, *, create_extension: bool = True
) -> tuple[str, bool]:
    row = connection.execute(_PRECONDITIONS).fetchone()
    assert row is not None
    major, version, vector_schema, has_storage, has_auth, missing_roles, is_installed = row
    if major < OLDEST_SERVER:
        raise SchemaError(f"PostgreSQL {major} is too old: docmill needs {OLDEST_SERVER} or newer")
    if missing_roles or not has_storage or not has_auth:
        raise SchemaError(
            "this is not the database of a Supabase project (no "
            + ", ".join(
                [
                    *missing_roles,
                    *["storage.objects"] * (not has_storage),
                    *["auth.jwt()"] * (not has_auth),
                ]
            )
            + "): check DOCMILL_ADMIN_DATABASE_URL"
        )
    if version is None and create_extension:
        return _create_vector(connection), is_installed
    if version is None:
        raise SchemaError("pgvector is not enabled: run docmill schema apply")
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST_PGVECTOR:
        raise SchemaError(
            f"pgvector {version} is too old: run `alter extension vector update` (needs 0.8)"
        )
    return vector_schema, is_installed


def _become_owner(connection: psycopg.Connection) -> None:
    """As a superuser, become the schema's owner, who must own everything to continue later."""
    owner = _scalar(connection, _OWNER)
    if owner is None or owner == _scalar(connection, "select current_user::text"):
        return
    try:
        connection.execute("select set_config('role', %s, true)", [owner])
    except pg.InsufficientPrivilege:
        raise SchemaError(
            f"the schema belongs to its owner {owner}: set DOCMILL_ADMIN_DATABASE_URL to that role"
        ) from None


def _create_vector(connection: psycopg.Connection) -> str:
    try:
        connection.execute("create schema if not exists extensions")
        connection.execute("create extension vector with schema extensions")
    except pg.Error as error:
        raise SchemaError(
            "pgvector is not enabled and could not be: enable the extension `vector` in the "
            f"dashboard, then run docmill schema apply ({error.diag.message_primary})"
        ) from None
    return "extensions"


def _done_migrations(connection: psycopg.Connection) -> dict[str, str]:
    rows = connection.execute("select name, checksum from ingest_private.migrations").fetchall()
    done: dict[str, str] = dict(rows)
    check_done(done, where="the database")
    return done


def check_done(done: Mapping[str, str], *, where: str) -> None:
    """Raise SchemaError unless these migrations (name and checksum) equal docmill's own."""
    known = {file.name: file.checksum for file in sql_files("migrations")}
    newer = sorted(set(done) - set(known))
    if newer:
        raise SchemaError(
            f"{where} is newer than this docmill (it has {', '.join(newer)}): upgrade docmill"
        )
    edited = sorted(name for name, checksum in done.items() if known[name] != checksum)
    if edited:
        raise SchemaError(
            f"released migrations were edited ({', '.join(edited)}): restore the files"
        )


def _run_migrations(
    connection: psycopg.Connection, done: dict[str, str], vector_schema: str
) -> list[str]:
    ran = []
    for file in sql_files("migrations"):
        if file.name in done:
            continue
        _execute(connection, file, vector_schema)
        connection.execute(
            "insert into ingest_private.migrations (name, checksum) values (%s, %s)",
            [file.name, file.checksum],
        )
        ran.append(file.name)
    return ran


def in_vector_schema(text: str, vector_schema: str) -> str:
    """SQL of schema/ for the real schema of pgvector; the files are written for `extensions`."""
    if not re.fullmatch(r"[a-z_][a-z0-9_]*", vector_schema):
        raise SchemaError(f"pgvector lies in schema {vector_schema!r}: move it to `extensions`")
    return re.sub(r"\bextensions\b", vector_schema, text)


def _execute(connection: psycopg.Connection, file: SqlFile, vector_schema: str) -> None:
    try:
        connection.execute(in_vector_schema(file.text, vector_schema).encode())
    except (pg.LockNotAvailable, pg.DeadlockDetected):
        raise
    except pg.Error as error:
        raise SchemaError(f"{file.name}: {error.diag.message_primary or error}") from error


def fingerprint() -> str:
    """The query for one checksum over everything of docmill in the catalog."""
    made = sorted(
        {name for file in reapplied_files() for name in _CREATED_FUNCTION.findall(file.text)}
    )
    return sql.SQL(_FINGERPRINT).format(functions=sql.Literal(made)).as_string()


def reapplied_checksum() -> str:
    """One checksum over all re-applied files."""
    return hashlib.sha256("".join(file.checksum for file in reapplied_files()).encode()).hexdigest()


def _is_current(connection: psycopg.Connection) -> bool:
    known = _scalar(
        connection, "select value from ingest_private.settings where name = 'applied_schema'"
    )
    return known == {"files": reapplied_checksum(), "catalog": _catalog(connection)}


def _remember_state(connection: psycopg.Connection) -> None:
    state = {"files": reapplied_checksum(), "catalog": _catalog(connection)}
    connection.execute(
        "insert into ingest_private.settings (name, value) values ('applied_schema', %s)"
        " on conflict (name) do update set value = excluded.value",
        [json.dumps(state)],
    )


def _catalog(connection: psycopg.Connection) -> object:
    row = connection.execute(fingerprint().encode()).fetchone()
    assert row is not None
    return row[0]


def _ensure_index_version(connection: psycopg.Connection, index: IndexSettings) -> int | None:
    if _scalar(connection, "select exists (select from ingest.index_versions)"):
        return None
    created = _scalar(
        connection,
        "select ingest_private.create_index_version(%s, %s, %s, %s, %s)",
        [
            *(index.model, index.dimensions, json.dumps(index.chunking)),
            *(index.provider, index.sends_dimensions),
        ],
    )
    assert isinstance(created, int)
    return created


def _scalar(
    connection: psycopg.Connection, query: LiteralString, parameters: list[object] | None = None
) -> object:
    with connection.cursor(row_factory=scalar_row) as cursor:
        value: object = cursor.execute(query, parameters).fetchone()
        return value

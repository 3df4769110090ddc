"""Makes examples/javascript/database.types.ts: the schema `ingest` as types for supabase-js.

The form is that of `supabase gen types typescript --schema ingest`. Made from a database by python
-m tests.support.database_types URL
"""

import sys
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any, Final, LiteralString

import psycopg
from psycopg.rows import dict_row

FILE: Final = Path(__file__).parents[2] / "examples" / "javascript" / "database.types.ts"
COMMAND: Final = "python -m tests.support.database_types"

# Lists tables that clients may read, and functions that they may call: clients write nothing.
COLUMNS: Final[LiteralString] = """
    select c.relname as relation, a.attname as name, not a.attnotnull as is_nullable,
           format_type(a.atttypid, null) as type
      from pg_class as c join pg_attribute as a on a.attrelid = c.oid
     where c.relnamespace = 'ingest'::regnamespace and c.relkind in ('r', 'p')
       and a.attnum > 0 and not a.attisdropped
       and has_table_privilege('authenticated', c.oid, 'select')
     order by c.relname, a.attname
"""
ARGUMENTS: Final[LiteralString] = """
    select p.proname as function, p.proretset as is_set,
           format_type(p.prorettype, null) as returned,
           a.name, coalesce(a.mode, 'i') as mode, format_type(a.type, null) as type,
           a.place > p.pronargs - p.pronargdefaults as is_optional
      from pg_proc as p
           left join lateral unnest(
               p.proargnames, p.proargmodes, coalesce(p.proallargtypes, p.proargtypes::oid[]))
               with ordinality as a (name, mode, type, place) on a.type is not null
     where p.pronamespace = 'ingest'::regnamespace
       and has_function_privilege('authenticated', p.oid, 'execute')
     order by p.proname, a.place
"""
_TYPES: Final[Mapping[str, str]] = {
    **dict.fromkeys(("smallint", "integer", "bigint", "real", "double precision"), "number"),
    "numeric": "number",
    "boolean": "boolean",
    "jsonb": "Json",
    "json": "Json",
    "tsvector": "unknown",
    "void": "undefined",
}
#: Columns of results that may be null: for functions, the database does not tell this.
_NULLABLE: Final = frozenset(
    (
        *("title", "page_start", "page_end", "mime_type", "context", "value", "hold_reason"),
        *("next_attempt_at", "progress", "per_second", "seconds_left", "error_code"),
        *("error_message", "remedy", "jobs_before"),
    )
)
HEAD: Final = f"""\
// The schema `ingest` for supabase-js: createClient<Database>(url, key).schema("ingest").
// Made by: {COMMAND}

export type Json =
  | string
  | number
  | boolean
  | null
  | {{ [key: string]: Json | undefined }}
  | Json[]

export type Database = {{
  ingest: {{
"""
TAIL: Final = """\
    Views: {
      [_ in never]: never
    }
    Enums: {
      [_ in never]: never
    }
    CompositeTypes: {
      [_ in never]: never
    }
  }
}
"""


def database_types(connection: psycopg.Connection[Any]) -> str:
    """The file for the schema of this database."""
    with connection.cursor(row_factory=dict_row) as cursor:
        columns = cursor.execute(COLUMNS).fetchall()
        arguments = cursor.execute(ARGUMENTS).fetchall()
    lines = ["    Tables: {", *_tables(columns), "    }", "    Functions: {"]
    return HEAD + "\n".join([*lines, *_functions(arguments), "    }", ""]) + TAIL


def _tables(columns: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    for table, group in groupby(columns, key=lambda row: row["relation"]):
        yield f"      {table}: {{"
        yield "        Row: {"
        for row in group:
            yield f"          {row['name']}: {_type(row['type'], is_nullable=row['is_nullable'])}"
        yield "        }"
        # Row-level security and grants allow no client to write.
        yield "        Insert: never"
        yield "        Update: never"
        yield "        Relationships: []"
        yield "      }"


def _functions(arguments: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    for function, group in groupby(arguments, key=lambda row: row["function"]):
        rows = list(group)
        given = [row for row in rows if row["mode"] in ("i", "b") and row["name"]]
        returned = [row for row in rows if row["mode"] in ("t", "o", "b")]
        yield f"      {function}: {{"
        if given:
            yield "        Args: {"
            for row in given:
                mark = "?" if row["is_optional"] else ""
                # A search without words uses the embedding; without a count, the default count.
                kind = _type(row["type"], is_nullable=mark == "?" or row["name"] == "query_text")
                yield f"          {row['name']}{mark}: {kind}"
            yield "        }"
        else:
            yield "        Args: never"
        yield from _returns(rows[0], returned)
        yield "      }"


def _returns(function: Mapping[str, Any], columns: list[Mapping[str, Any]]) -> Iterator[str]:
    end = "[]" if function["is_set"] else ""
    if not columns:
        yield f"        Returns: {_type(function['returned'])}{end}"
        return
    yield "        Returns: {"
    for row in columns:
        kind = _type(row["type"], is_nullable=row["name"] in _NULLABLE)
        yield f"          {row['name']}: {kind}"
    yield f"        }}{end}"


def _type(name: str, *, is_nullable: bool = False) -> str:
    """How a value of this type arrives in JSON. Vectors, ids and times are text."""
    inner = name.rsplit(".", 1)[-1]
    made = f"{_type(inner[:-2])}[]" if inner.endswith("[]") else _TYPES.get(inner, "string")
    return f"{made} | null" if is_nullable else made


if __name__ == "__main__":
    with psycopg.connect(sys.argv[1]) as made_from:
        FILE.write_text(database_types(made_from))

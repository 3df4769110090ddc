"""Databases for tests: one embedded server for the session, one database for each test."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any
from uuid import UUID, uuid4

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from docmill.embedded.postgres import PostgresServer
from docmill.embedded.supabase import LOGIN_ROLES, bootstrap_supabase, set_password
from docmill.worker.admin.schema import apply_schema
from docmill.worker.models import IndexSettings

PASSWORD = "test"
INDEX = IndexSettings("wordllama-l2-supercat-256", 256, {"max_tokens": 400})
_numbers = count()


@dataclass(frozen=True)
class Database:
    """One database, with a URL for each role that can log in."""

    server: PostgresServer
    name: str

    @property
    def superuser_url(self) -> str:
        """The URL of the platform's superuser."""
        return self.server.url(self.name)

    def url(self, role: str) -> str:
        """The URL of a role: `postgres` (the project's admin), `docmill_worker`, ..."""
        return self.server.url(self.name, role, PASSWORD)

    def connect(self, role: str | None = None, **options: Any) -> psycopg.Connection[Any]:
        """An autocommit connection; as the superuser if no role is given."""
        url = self.url(role) if role else self.superuser_url
        return psycopg.connect(url, autocommit=True, **options)


def make_template(server: PostgresServer) -> None:
    """Make the templates for `make_database`: a project with docmill's schema, and an empty one."""
    bootstrap_supabase(server)
    for role in LOGIN_ROLES:
        set_password(server, role, PASSWORD)
    with psycopg.connect(server.url("template1"), autocommit=True) as connection:
        connection.execute("create database project template postgres owner postgres")
        connection.execute("create database docmill template postgres owner postgres")
    with psycopg.connect(server.url("docmill", "postgres", PASSWORD)) as connection:
        apply_schema(connection, INDEX)
    set_password(server, "docmill_worker", PASSWORD)


@contextmanager
def make_database(server: PostgresServer, template: str = "docmill") -> Iterator[Database]:
    """A copy of a template, dropped at the end. `project` has no docmill schema yet."""
    name = sql.Identifier(made := f"test_{os.getpid()}_{next(_numbers)}")
    _as_platform(
        server,
        sql.SQL("create database {} template {} owner postgres").format(
            name, sql.Identifier(template)
        ),
    )
    try:
        yield Database(server, made)
    finally:
        _as_platform(server, sql.SQL("drop database {} with (force)").format(name))


def _as_platform(server: PostgresServer, statement: sql.Composed) -> None:
    # Connect for each use: the server may have been restarted since the last one.
    with psycopg.connect(server.url("template1"), autocommit=True) as connection:
        connection.execute(statement)


@contextmanager
def as_client(
    database: Database, claims: Mapping[str, Any] | None, *, read_only: bool = False
) -> Iterator[psycopg.Connection[Any]]:
    """One transaction exactly as PostgREST runs it: `authenticator`, then role and claims.

    If claims is None, the request has no token, and the role is anon.
    """
    role = (claims or {}).get("role", "authenticated" if claims else "anon")
    full = {"role": role, **(claims or {})}
    timeout = {"anon": "3s", "authenticated": "8s"}.get(role, "0")
    with psycopg.connect(database.url("authenticator")) as connection:
        if read_only:
            connection.execute("set transaction read only")
        connection.execute(
            """select set_config('search_path', '"ingest", "public", "extensions"', true),
                      set_config('statement_timeout', %s, true),
                      set_config('role', %s, true),
                      set_config('request.jwt.claims', %s, true),
                      set_config('request.method', %s, true),
                      set_config('request.path', '/', true),
                      set_config('request.headers', '{}', true),
                      set_config('request.cookies', '{}', true)""",
            [timeout, role, json.dumps(full), "GET" if read_only else "POST"],
        )
        yield connection


def watch_bucket(database: Database, bucket: str = "docs", **source: Any) -> None:
    """Make a bucket and a source on it, if they are missing. Keywords are columns of the source."""
    columns = {"bucket_id": bucket, **source}
    with database.connect() as connection:
        connection.execute(
            "insert into storage.buckets (id, name) values (%s, %s) on conflict do nothing",
            [bucket, bucket],
        )
        connection.execute(
            sql.SQL(
                "insert into ingest_private.sources ({}) values ({}) on conflict do nothing"
            ).format(
                sql.SQL(", ").join(map(sql.Identifier, columns)),
                sql.SQL(", ").join(sql.Placeholder() * len(columns)),
            ),
            list(columns.values()),
        )


def put_object(
    connection: psycopg.Connection[Any],
    name: str,
    *,
    bucket: str = "docs",
    owner: str | None = None,
    size: int = 10,
    user_metadata: Mapping[str, Any] | None = None,
) -> UUID:
    """Write a row like a completed upload of Storage (a new version each time); return its id."""
    row = connection.execute(
        """insert into storage.objects (bucket_id, name, version, owner_id, metadata, user_metadata)
           values (%s, %s, %s, %s, %s, %s)
               on conflict (bucket_id, name) do update
                  set version = excluded.version, metadata = excluded.metadata,
                      owner_id = coalesce(excluded.owner_id, storage.objects.owner_id),
                      user_metadata = excluded.user_metadata
           returning id""",
        [
            *(bucket, name, str(uuid4()), owner),
            Jsonb({"size": size, "mimetype": "text/plain", "eTag": '"0"'}),
            Jsonb(dict(user_metadata or {})),
        ],
    ).fetchone()
    assert row is not None
    object_id: UUID = row[0]
    return object_id


def delete_objects(
    connection: psycopg.Connection[Any], names: list[str], *, bucket: str = "docs"
) -> None:
    """Delete rows like Storage does, in one statement."""
    with connection.transaction():
        connection.execute("set local storage.allow_delete_query = 'true'")
        connection.execute(
            "delete from storage.objects where bucket_id = %s and name = any(%s)", [bucket, names]
        )

"""Transactions as PostgREST runs them: logged in as authenticator, then switched to the caller."""

import json
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final, LiteralString

from psycopg import AsyncRawCursor
from psycopg.sql import Identifier

from docmill.embedded.part import Connection, Row, make_pool, opened
from docmill.embedded.rest.settings import RestSettings
from docmill.embedded.rest.statements import Statement
from docmill.embedded.rest.tokens import Caller

#: Settings that `alter role` made for the caller's role, except those that only a superuser may
#: make. Apply them before the switch: afterwards the role may lack the right.
_ROLE_SETTINGS: Final[LiteralString] = """
    select set_config(name, substr(setting, length(name) + 2), true)
      from pg_roles, unnest(rolconfig) as setting, split_part(setting, '=', 1) as name
     where rolname = $1 and name in (select name from pg_settings where context = 'user')
"""
_REQUEST: Final[LiteralString] = """
    select set_config(name, value, true) from json_each_text($1) as settings (name, value)
"""


class RestDatabase:
    """A pool of connections of authenticator, which can switch to any role of the API."""

    def __init__(self, settings: RestSettings) -> None:
        self._settings = settings
        self._pool = make_pool(
            settings.database_url,
            "postgrest",
            settings.connections,
            # placeholders are `$1`, not `%s`, so a percent sign in a name is harmless
            cursor_factory=AsyncRawCursor,
            autocommit=True,  # the catalog is read before the transaction begins
            options="-c search_path=",
        )

    def running(self) -> AbstractAsyncContextManager[None]:
        """Connected to the database."""
        return opened(self._pool)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A connection outside a transaction; commits a transaction that the block has begun."""
        async with self._pool.connection() as connection:
            yield connection

    async def begin(
        self,
        connection: Connection,
        caller: Caller,
        request: dict[str, str],
        *,
        schema: str,
        read_only: bool,
    ) -> None:
        """Begin a transaction as this caller; policies can read `request` and the claims."""
        path = [schema, *self._settings.extra_search_path]
        settings = {
            "search_path": ", ".join(Identifier(name).as_string(connection) for name in path),
            "role": caller.role,
            "request.jwt.claims": json.dumps(caller.claims),
            **request,
        }
        await connection.execute("begin read only" if read_only else "begin")
        await connection.execute(_ROLE_SETTINGS, [caller.role])
        await connection.execute(_REQUEST, [json.dumps(settings)])

    async def run(self, connection: Connection, statement: Statement) -> Row:
        """The single row of a statement."""
        cursor = await connection.execute(statement.query, statement.parameters)
        row = await cursor.fetchone()
        assert row is not None
        return row

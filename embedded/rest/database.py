"""Transactions as PostgREST runs them: logged in as authenticator, then as the caller."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final, LiteralString

from psycopg import AsyncConnection, AsyncRawCursor
from psycopg.rows import dict_row
from psycopg.sql import Identifier
from psycopg_pool import AsyncConnectionPool

from docmill.embedded.rest.settings import RestSettings
from docmill.embedded.rest.statements import Statement
from docmill.embedded.rest.tokens import Caller

Row = dict[str, Any]
Connection = AsyncConnection[Row]

#: PostgREST's own: a database that gives no connection for this long is overloaded or gone.
POOL_SECONDS: Final = 10.0

#: What `alter role` has set for the caller's role, but for what only a superuser may set.
#: Before the role: afterwards it could lack the right to set them.
_ROLE_SETTINGS: Final[LiteralString] = """
    select set_config(name, substr(setting, length(name) + 2), true)
      from pg_roles, unnest(rolconfig) as setting, split_part(setting, '=', 1) as name
     where rolname = $1 and name in (select name from pg_settings where context = 'user')
"""
_REQUEST: Final[LiteralString] = """
    select set_config(name, value, true) from json_each_text($1) as settings (name, value)
"""


class RestDatabase:
    """A pool of connections of authenticator, which may become any role of the API."""

    def __init__(self, settings: RestSettings) -> None:
        self._settings = settings
        self._pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
            settings.database_url,
            connection_class=AsyncConnection[Row],
            min_size=2,
            max_size=settings.connections,
            timeout=POOL_SECONDS,
            kwargs={
                "row_factory": dict_row,
                # `$1` instead of `%s`: a percent sign in a name means nothing.
                "cursor_factory": AsyncRawCursor,
                "autocommit": True,  # the catalog is read before the transaction begins
                "application_name": "postgrest",
                "options": "-c search_path=",
            },
            open=False,
            name="rest",
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Connected. Raises PoolTimeout when the database cannot be reached."""
        await self._pool.open(wait=True)
        try:
            yield
        finally:
            await self._pool.close()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A connection, not in a transaction; commits what the block has begun."""
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
        """Begin a transaction of this caller; policies can read `request` and the claims."""
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
        """The one row of a statement."""
        cursor = await connection.execute(statement.query, statement.parameters)
        row = await cursor.fetchone()
        assert row is not None
        return row

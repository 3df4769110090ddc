"""Transactions as PostgREST runs them: logged in as authenticator, then as the caller."""

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
        self._pool = make_pool(
            settings.database_url,
            "postgrest",
            settings.connections,
            cursor_factory=AsyncRawCursor,  # `$1` for `%s`: a percent sign in a name means nothing
            autocommit=True,  # the catalog is read before the transaction begins
            options="-c search_path=",
        )

    def running(self) -> AbstractAsyncContextManager[None]:
        """Connected to the database."""
        return opened(self._pool)

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

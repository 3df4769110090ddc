"""Transactions as PostgREST runs them: logged in as authenticator, then as the caller."""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, LiteralString

from psycopg import AsyncConnection, AsyncRawCursor
from psycopg.rows import dict_row
from psycopg.sql import SQL, Identifier
from psycopg_pool import AsyncConnectionPool

from docmill.embedded.rest.asked import Asked
from docmill.embedded.rest.clauses import Statement
from docmill.embedded.rest.settings import RestSettings
from docmill.embedded.rest.tokens import Caller

Row = dict[str, Any]
Connection = AsyncConnection[Row]
#: Settings of a transaction, in the order in which they are set.
TransactionSettings = Sequence[tuple[str, str]]

#: PostgREST's own: a database that gives no connection for this long is overloaded or gone.
POOL_SECONDS: Final = 10.0

#: The others would be refused: only a superuser may set them.
_SETTABLE: Final[LiteralString] = "select name from pg_settings where context = 'user'"
_ROLE_SETTINGS: Final[LiteralString] = "select rolconfig from pg_roles where rolname = $1"


class RestDatabase:
    """A pool of connections of authenticator, which may become any role of the API."""

    def __init__(self, settings: RestSettings) -> None:
        self._settings = settings
        self._settable: frozenset[str] = frozenset()
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

    async def open(self) -> None:
        """Connect. Raises PoolTimeout when the database cannot be reached."""
        await self._pool.open(wait=True)
        async with self.connection() as connection:
            rows = await (await connection.execute(_SETTABLE)).fetchall()
        self._settable = frozenset(row["name"] for row in rows)

    async def close(self) -> None:
        """Close all connections."""
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
        request: TransactionSettings,
        *,
        schema: str,
        read_only: bool,
        function_settings: Sequence[str] = (),
    ) -> None:
        """Begin a transaction of this caller, with everything that policies can read."""
        own = await self._role_settings(connection, caller.role)
        path = [schema, *self._settings.extra_search_path]
        settings: TransactionSettings = [
            ("search_path", ", ".join(Identifier(name).as_string(connection) for name in path)),
            # Before the role: afterwards it could lack the right to set them.
            *own,
            ("role", caller.role),
            ("request.jwt.claims", json.dumps(caller.claims)),
            *request,
            *hoisted(function_settings),
        ]
        await connection.execute("begin read only" if read_only else "begin")
        await self.run(connection, _set_all(settings))

    async def run(self, connection: Connection, statement: Statement) -> Row:
        """The one row of a statement."""
        cursor = await connection.execute(statement.query, statement.parameters)
        row = await cursor.fetchone()
        assert row is not None
        return row

    async def _role_settings(self, connection: Connection, role: str) -> TransactionSettings:
        cursor = await connection.execute(_ROLE_SETTINGS, [role])
        row = await cursor.fetchone()
        configured = (row["rolconfig"] if row else None) or []
        return [pair for pair in map(_pair, configured) if pair[0] in self._settable]


def request_settings(
    asked: Asked, headers: Mapping[str, str], cookies: Mapping[str, str]
) -> TransactionSettings:
    """What a policy or function may know of the request. Cookies are apart from the headers."""
    shown = {name: value for name, value in headers.items() if name != "cookie"}
    timezone = asked.preferences.timezone
    return [
        ("request.method", asked.method),
        ("request.path", asked.path),
        ("request.headers", json.dumps(shown)),
        ("request.cookies", json.dumps(dict(cookies))),
        *([] if timezone is None else [("timezone", timezone)]),
    ]


def hoisted(function_settings: Sequence[str]) -> TransactionSettings:
    """Settings of a function that must hold before it is called: its own would come too late."""
    return [pair for pair in map(_pair, function_settings) if pair[0] == "statement_timeout"]


def _pair(setting: str) -> tuple[str, str]:
    name, _equals, value = setting.partition("=")
    return name, value


def _set_all(settings: TransactionSettings) -> Statement:
    places = [
        SQL(f"set_config(${number}, ${number + 1}, true)")
        for number in range(1, 2 * len(settings), 2)
    ]
    parameters = tuple(text for pair in settings for text in pair)
    return Statement(SQL("select {}").format(SQL(", ").join(places)), parameters)

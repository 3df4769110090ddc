"""Transactions as Storage runs them: as the caller, with its claims, under its policies."""

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Final, LiteralString

from docmill.embedded.part import Connection, make_pool, opened
from docmill.embedded.storage.auth import SERVICE, Caller

STATEMENT_TIMEOUT_SECONDS: Final = 30

#: Settings that policies and triggers can read. Storage sets the legacy claims too, and auth.uid()
#: prefers them; only Storage's own deletes pass storage.protect_delete().
_SCOPE: Final[LiteralString] = """
    select set_config('role', %(role)s, true),
           set_config('request.jwt', %(token)s, true),
           set_config('request.jwt.claims', %(claims)s, true),
           set_config('request.jwt.claim.sub', %(sub)s, true),
           set_config('request.jwt.claim.role', %(role)s, true),
           set_config('request.headers', %(headers)s, true),
           set_config('request.method', %(method)s, true),
           set_config('request.path', %(path)s, true),
           set_config('storage.operation', %(operation)s, true),
           set_config('storage.allow_delete_query', 'true', true)
"""


@dataclass(frozen=True)
class Scope:
    """The caller and the operation of a transaction."""

    caller: Caller
    operation: str
    method: str
    path: str
    headers: Mapping[str, str] = field(repr=False)

    def as_service(self) -> "Scope":
        """The same request as service_role: it bypasses all policies and owns nothing."""
        return replace(self, caller=SERVICE)

    def settings(self) -> dict[str, str]:
        """The parameters of _SCOPE."""
        return {
            "role": self.caller.role,
            "token": self.caller.token,
            "claims": json.dumps(self.caller.claims),
            "sub": self.caller.owner or "",
            "headers": json.dumps(dict(self.headers)),
            "method": self.method,
            "path": self.path,
            "operation": self.operation,
        }


class StorageDatabase:
    """A pool of connections of supabase_storage_admin."""

    def __init__(self, url: str, *, connections: int, on_commit: Callable[[], None]) -> None:
        """`on_commit` is called after every commit; it must not wait."""
        self._on_commit = on_commit
        self._pool = make_pool(
            url,
            "storage",
            connections,
            checked=True,
            autocommit=True,  # `_begun` begins
            prepare_threshold=None,
            options=f"-c statement_timeout={STATEMENT_TIMEOUT_SECONDS}s",
        )

    def running(self) -> AbstractAsyncContextManager[None]:
        """Connected to the database."""
        return opened(self._pool)

    @asynccontextmanager
    async def transaction(self, scope: Scope) -> AsyncIterator[Connection]:
        """One transaction as the scope's caller, committed at the end."""
        async with self._begun(scope) as connection:
            yield connection
        self._on_commit()

    @asynccontextmanager
    async def reading(self, scope: Scope) -> AsyncIterator[Connection]:
        """The same for statements that change nothing: `on_commit` is not called."""
        async with self._begun(scope) as connection:
            yield connection

    @asynccontextmanager
    async def rehearsal(self, scope: Scope) -> AsyncIterator[Connection]:
        """One transaction as the scope's caller, always rolled back.

        Storage checks policies this way: it really makes the change, with all triggers.
        """
        async with self._begun(scope) as connection:
            yield connection
            await connection.rollback()

    @asynccontextmanager
    async def unscoped(self) -> AsyncIterator[Connection]:
        """Single statements as the login role, which owns the tables and so bypasses policies."""
        async with self._pool.connection() as connection:
            yield connection

    @asynccontextmanager
    async def _begun(self, scope: Scope) -> AsyncIterator[Connection]:
        async with self._pool.connection() as connection:
            await connection.execute("begin")
            # The server binds parameters; it logs a statement that fails, but not its parameters.
            await connection.execute(_SCOPE, scope.settings())
            yield connection  # the pool ends an open transaction

"""Transactions as Storage runs them: as the caller, with its claims, under its policies."""

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Final, LiteralString

from docmill.embedded.part import Connection, make_pool, opened
from docmill.embedded.storage.auth import SERVICE, Caller

STATEMENT_TIMEOUT_SECONDS: Final = 30

#: What policies and triggers can read. Storage sets the legacy claims too, and they win in
#: auth.uid(); only Storage's own deletes pass storage.protect_delete().
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
    """On whose behalf, and in which operation, a transaction runs."""

    caller: Caller
    operation: str
    method: str
    path: str
    headers: Mapping[str, str] = field(repr=False)

    def as_service(self) -> "Scope":
        """The same request as service_role: past all policies, owned by nobody."""
        return replace(self, caller=SERVICE)

    def settings(self) -> dict[str, str]:
        """Parameters of _SCOPE."""
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
        """The same for statements that change nothing: nobody is told of the commit."""
        async with self._begun(scope) as connection:
            yield connection

    @asynccontextmanager
    async def rehearsal(self, scope: Scope) -> AsyncIterator[Connection]:
        """One transaction as the scope's caller, always rolled back.

        This is how Storage asks the policies: it really does it, once, with all triggers.
        """
        async with self._begun(scope) as connection:
            yield connection
            await connection.rollback()

    @asynccontextmanager
    async def unscoped(self) -> AsyncIterator[Connection]:
        """Single statements as the login role, which owns the tables: past all policies."""
        async with self._pool.connection() as connection:
            yield connection

    @asynccontextmanager
    async def _begun(self, scope: Scope) -> AsyncIterator[Connection]:
        async with self._pool.connection() as connection:
            await connection.execute("begin")
            # Bound by the server, which logs a statement that fails, but not its parameters.
            await connection.execute(_SCOPE, scope.settings())
            yield connection  # the pool ends what began

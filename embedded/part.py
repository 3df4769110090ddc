"""What the parts of the API have in common, as the process that serves them sees it."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from psycopg import AsyncConnection
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

Row = dict[str, Any]
Connection = AsyncConnection[Row]
Pool = AsyncConnectionPool[Connection]
Handler = Callable[[Request], Awaitable[Response]]

#: A database that gives no connection for this long is overloaded or gone. PostgREST's own.
POOL_SECONDS: Final = 10.0


@dataclass(frozen=True)
class Part:
    """One of Supabase's services: what answers its requests, and what runs meanwhile."""

    app: ASGIApp  #: routes what follows the part's prefix; sees paths undecoded
    running: Callable[[], AbstractAsyncContextManager[None]]


def make_app(
    routes: Iterable[tuple[str, str, Handler]],
    answer: Callable[[Exception], Response],
    missing: Callable[[Request, int], Exception],
) -> Starlette:
    """Methods, paths and what answers them; the first match counts.

    Every error has an answer. `missing` is the error of what is not there, by its status.
    """

    def endpoint(handler: Handler) -> Handler:
        async def answering(request: Request) -> Response:
            try:
                return await handler(request)
            except Exception as error:
                return answer(error)  # the unforeseen ones are logged there

        return answering

    async def refuse(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return answer(missing(request, error.status_code))

    app = Starlette(
        routes=[
            Route(path, endpoint(handler), methods=[method]) for method, path, handler in routes
        ],
        exception_handlers={404: refuse, 405: refuse},
    )
    app.router.redirect_slashes = False
    return app


def make_pool(
    url: str, name: str, connections: int, *, checked: bool = False, **options: Any
) -> Pool:
    """Connections to the project's database, of one login role. `options` are psycopg's.

    Checked ones are tried before use: a database that was started again must not fail the next
    request of each connection.
    """
    return AsyncConnectionPool(
        url,
        connection_class=AsyncConnection[Row],
        min_size=min(2, connections),
        max_size=connections,
        timeout=POOL_SECONDS,
        check=AsyncConnectionPool.check_connection if checked else None,
        kwargs={"row_factory": dict_row, "application_name": name, **options},
        open=False,
        name=name,
    )


@asynccontextmanager
async def opened(pool: Pool) -> AsyncIterator[None]:
    """Connected. Raises PoolTimeout when the database cannot be reached."""
    await pool.open(wait=True)
    try:
        yield
    finally:
        await pool.close()

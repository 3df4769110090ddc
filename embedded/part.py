"""Code that all parts of the API share, to be served by one process."""

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

#: If the database gives no connection for this long, it is overloaded or gone. PostgREST's value.
POOL_SECONDS: Final = 10.0


@dataclass(frozen=True)
class Part:
    """One of Supabase's services: the app that answers requests, and its background work."""

    app: ASGIApp  #: routes the path after the part's prefix, undecoded
    running: Callable[[], AbstractAsyncContextManager[None]]


def make_app(
    routes: Iterable[tuple[str, str, Handler]],
    answer: Callable[[Exception], Response],
    missing: Callable[[Request, int], Exception],
) -> Starlette:
    """Make an app from methods, paths and their endpoints; the first match counts.

    Every error gets an answer. `missing` makes the error for an unknown route, from its status.
    """

    def endpoint(handler: Handler) -> Handler:
        async def answering(request: Request) -> Response:
            try:
                return await handler(request)
            except Exception as error:
                return answer(error)  # logs unexpected errors

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
    """A pool of connections to the project's database, for one login role. `options` are psycopg's.

    Each connection is tested before use, so that after a restart of the database no request fails.
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
    """Open and close a pool. Raises PoolTimeout if the database cannot be reached."""
    await pool.open(wait=True)
    try:
        yield
    finally:
        await pool.close()

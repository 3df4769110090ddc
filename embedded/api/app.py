"""One server for the parts of Supabase, beside the database, that docmill's users need."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Final

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from docmill.embedded.api.gateway import Gateway
from docmill.embedded.api.settings import ApiSettings
from docmill.embedded.auth import create_auth
from docmill.embedded.console import create_console
from docmill.embedded.functions import create_functions
from docmill.embedded.part import Part
from docmill.embedded.rest import create_rest
from docmill.embedded.storage import create_storage

STATUS_PATH: Final = "/status"
AUTH_PREFIX: Final = "/auth/v1"
CONSOLE_PREFIX: Final = "/console"
FUNCTIONS_PREFIX: Final = "/functions/v1"
REST_PREFIX: Final = "/rest/v1"
STORAGE_PREFIX: Final = "/storage/v1"


def create_app(settings: ApiSettings) -> ASGIApp:
    """The API as an ASGI app; it connects to the database when its lifespan begins."""
    return _undecoded(create_router(settings))


def create_router(settings: ApiSettings) -> Starlette:
    """The routes of all parts, for paths that are not decoded yet."""
    keys = settings.keys
    storage = create_storage(settings.storage, keys)
    rest = create_rest(settings.rest, keys)
    auth = create_auth(settings.auth, keys, issuer=settings.url + AUTH_PREFIX)
    functions = create_functions(
        keys,
        url=settings.url,
        asking=settings.asking,
        embedding=settings.embedding.settings(),
        own=settings.own_functions,
    )
    app = Starlette(
        routes=[
            Route(STATUS_PATH, _status),
            Mount(STORAGE_PREFIX, app=storage.app),
            Mount(REST_PREFIX, app=Gateway(rest.app, keys)),
            Mount(AUTH_PREFIX, app=Gateway(auth.app, keys)),
            Mount(FUNCTIONS_PREFIX, app=Gateway(functions.app, keys)),
            Route("/", _to_console),
            Route(CONSOLE_PREFIX, _to_console),
            Mount(
                CONSOLE_PREFIX,
                app=create_console(
                    settings.url,
                    keys,
                    bucket=settings.console_bucket,
                    hint=settings.console_hint,
                    asks=bool(settings.asking.chat.model),
                ),
            ),
        ],
        middleware=[
            # Like Supabase's gateway: a page from any origin may send requests and read every
            # header.
            Middleware(
                CORSMiddleware,
                allow_origins=["*"],
                allow_methods=["*"],
                allow_headers=["*"],
                expose_headers=["*"],
            )
        ],
        lifespan=_lifespan([storage, rest, auth, functions]),
    )
    app.router.redirect_slashes = False
    return app


def _lifespan(parts: Sequence[Part]) -> Callable[[Starlette], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for part in parts:
                await stack.enter_async_context(part.running())
            yield

    return lifespan


async def _to_console(_request: Request) -> Response:
    return RedirectResponse(f"{CONSOLE_PREFIX}/")


async def _status(_request: Request) -> Response:
    """Answers once the lifespan has begun, that is once the database was reached."""
    return Response()


def _undecoded(app: ASGIApp) -> ASGIApp:
    """Route by the undecoded path: names are cut out first and decoded once."""

    async def with_raw_path(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope = {**scope, "path": scope["raw_path"].decode("latin-1")}
        await app(scope, receive, send)

    return with_raw_path

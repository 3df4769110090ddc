"""The console of the embedded mode: the static page in examples/console, and its settings."""

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Final

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from docmill.embedded.keys import ApiKeys

#: The page runs and shows only content from this server; no other page may frame it.
_HEADERS: Final[Mapping[str, str]] = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}


def console_folder() -> Path:
    """The folder of the page: in the installed package, or else in the checkout."""
    packaged = Path(str(files("docmill.embedded"))) / "console"
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "examples" / "console"


def create_console(url: str, keys: ApiKeys, *, bucket: str, hint: str, asks: bool) -> ASGIApp:
    """Serve the page at the address of its API; `asks` says whether there is a chat model."""
    config = {
        "url": url,
        "publishable_key": keys.publishable_key,
        "bucket": bucket,
        "hint": hint,
        "asks": asks,
    }

    async def configuration(_request: Request) -> Response:
        return JSONResponse(config)

    return Starlette(
        routes=[
            Route("/config.json", configuration),
            Mount("/", app=StaticFiles(directory=console_folder(), html=True)),
        ],
        middleware=[Middleware(_WithHeaders)],
    )


class _WithHeaders:
    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                extra = [(name.encode(), value.encode()) for name, value in _HEADERS.items()]
                message = {**message, "headers": [*message["headers"], *extra]}
            await send(message)

        await self._app(scope, receive, with_headers)

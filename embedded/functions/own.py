"""The user's own functions: each request goes to the process that runs the function."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import httpx
import jwt
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from docmill.embedded.keys import ApiKeys

#: Supabase ends a function that sends nothing for this long.
_SECONDS: Final = 150.0
#: For opening one connection, not for the request or answer.
_HOP: Final = frozenset(
    {"connection", "content-length", "host", "keep-alive", "transfer-encoding", "upgrade"}
)
METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")


@dataclass(frozen=True)
class OwnFunction:
    """One function: its port, and whether it accepts only requests with a token of the project."""

    name: str
    port: int | None  #: None: Deno is not installed
    needs_token: bool


class OwnFunctions:
    """Passes requests to the functions. The gateway has put a token into `Authorization`."""

    def __init__(self, functions: Mapping[str, OwnFunction], keys: ApiKeys) -> None:
        self._functions = functions
        self._keys = keys
        self._client: httpx.AsyncClient | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keep connections to the functions open."""
        timeout = httpx.Timeout(_SECONDS, connect=5)
        async with httpx.AsyncClient(timeout=timeout, trust_env=False) as self._client:
            yield

    def find(self, request: Request) -> OwnFunction | None:
        """The function that a request names."""
        return self._functions.get(request.path_params["name"])

    async def answer(self, request: Request, function: OwnFunction) -> Response:
        """The function's answer, streamed; or an error that says why there is none."""
        if function.needs_token and not self._is_ours(request):
            return JSONResponse({"code": 401, "message": "Invalid JWT"}, 401)
        if function.port is None:
            return _unavailable(
                f"{function.name} needs Deno: pip install deno, then docmill up again"
            )
        assert self._client is not None
        rest = request.path_params.get("rest", "")
        url = f"http://127.0.0.1:{function.port}/{function.name}" + (f"/{rest}" if rest else "")
        passed = self._client.build_request(
            request.method,
            f"{url}?{request.url.query}" if request.url.query else url,
            headers=[(n, v) for n, v in request.headers.items() if n not in _HOP],
            content=await request.body(),
        )
        try:
            answer = await self._client.send(passed, stream=True)
        except httpx.HTTPError:
            return _unavailable(
                f"{function.name} does not answer: see function-{function.name}.log of the stack"
            )
        headers = {n: v for n, v in answer.headers.items() if n not in _HOP}
        return StreamingResponse(
            answer.aiter_raw(),
            answer.status_code,
            headers,
            background=BackgroundTask(answer.aclose),
        )

    def _is_ours(self, request: Request) -> bool:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        try:
            self._keys.decode(token)
        except jwt.PyJWTError:
            return False
        return True


def _unavailable(message: str) -> Response:
    return JSONResponse({"code": "BOOT_ERROR", "message": message}, 503)

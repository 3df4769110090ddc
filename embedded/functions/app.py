"""POST /embed: the vector of a query, for users who are signed in."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import jwt
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from docmill.embedded.keys import ApiKeys
from docmill.embedded.part import Part, make_app
from docmill.worker.embedding.local import LocalEmbedder
from docmill.worker.webhook.request_body import read_bounded

#: A query, not a document.
MAX_CHARACTERS: Final = 8000
_MAX_BODY_BYTES: Final = 64 * 1024
#: Who may ask: whoever pays for it in a project.
_ROLES: Final = ("authenticated", "service_role")


class _RefusedError(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def create_functions(keys: ApiKeys) -> Part:
    """The functions; the model is read when they begin to run."""
    service = _Functions(keys)
    app = make_app([("POST", "/embed", service.embed)], _answer, _missing)
    return Part(app, service.running)


def _missing(_request: Request, status: int) -> Exception:
    return _RefusedError(status, "send a POST request" if status == 405 else "")


def _answer(error: Exception) -> Response:
    if not isinstance(error, _RefusedError):
        raise error
    if error.status == 404:
        body = {"code": "NOT_FOUND", "message": "Requested function was not found"}
        return JSONResponse(body, 404)
    return JSONResponse({"error": str(error)}, error.status)


class _Functions:
    def __init__(self, keys: ApiKeys) -> None:
        self._keys = keys
        self._embedder: LocalEmbedder | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Read the model."""
        self._embedder = LocalEmbedder()
        yield

    async def embed(self, request: Request) -> Response:
        """`{"input": text}` to `{"model": name, "embedding": [numbers]}`."""
        self._check_caller(request)
        text = await _input(request)
        assert self._embedder is not None
        vectors, _tokens = self._embedder.embed([text])
        return JSONResponse({"model": self._embedder.model, "embedding": vectors[0].tolist()})

    def _check_caller(self, request: Request) -> None:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        try:
            role = self._keys.decode(token).get("role")
        except jwt.PyJWTError:
            role = None
        if role not in _ROLES:
            raise _RefusedError(401, "sign in to search")


async def _input(request: Request) -> str:
    body = await _body(request)
    text = body.get("input") if isinstance(body, dict) else None
    if not isinstance(text, str) or not text.strip() or len(text) > MAX_CHARACTERS:
        raise _RefusedError(400, f"input is a text of 1 to {MAX_CHARACTERS} characters")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise _RefusedError(400, "input is not valid Unicode") from None
    return text


async def _body(request: Request) -> Any:
    too_large = _RefusedError(413, "the body is too large")
    try:
        return json.loads(await read_bounded(request, _MAX_BODY_BYTES, too_large=too_large))
    except ClientDisconnect:
        raise _RefusedError(400, "the body did not arrive") from None
    except (ValueError, RecursionError):
        raise _RefusedError(400, "the body is not JSON") from None

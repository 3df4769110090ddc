"""POST /embed and POST /ask, for users who are signed in."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

import jwt
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from docmill.embedded.functions.ask import Asking
from docmill.embedded.functions.incoming import RefusedError, body_of, text_of
from docmill.embedded.functions.own import METHODS, OwnFunction, OwnFunctions
from docmill.embedded.functions.project import CallersProject, QueryEmbedder
from docmill.embedded.keys import ApiKeys
from docmill.embedded.part import Part, make_app
from docmill.worker.asking import AskingServers
from docmill.worker.settings.parts import EmbedderSettings

#: Enough for a query, but not for a document.
MAX_CHARACTERS: Final = 8000
#: Only signed-in users may ask, because each question costs money in a real project.
_ROLES: Final = ("authenticated", "service_role")


def create_functions(
    keys: ApiKeys,
    *,
    url: str,
    asking: AskingServers,
    embedding: EmbedderSettings,
    own: Sequence[OwnFunction] = (),
) -> Part:
    """Make the functions of the project at `url`; the local model is read when they start."""
    passed_on = OwnFunctions({function.name: function for function in own}, keys)
    service = _Functions(keys, url, asking, QueryEmbedder(embedding), passed_on)
    routes = [("POST", "/embed", service.embed), ("POST", "/ask", service.ask)]
    if own:
        paths = ("/{name}", "/{name}/{rest:path}")
        routes += [(method, path, service.own) for method in METHODS for path in paths]
    return Part(make_app(routes, _answer, _missing), service.running)


def _missing(request: Request, status: int) -> Exception:
    message = "send a POST request" if status == 405 else ""
    return _error_of(request, RefusedError(status, message, "method_not_allowed"))


class _AskRefusedError(RefusedError):
    """A refusal by /ask, whose answer has a code."""


def _error_of(request: Request, error: RefusedError) -> RefusedError:
    if not request.url.path.endswith("/ask"):
        return error
    return _AskRefusedError(error.status, str(error), error.code, error.retry_after)


def _answer(error: Exception) -> Response:
    if not isinstance(error, RefusedError):
        raise error
    if error.status == 404 and not isinstance(error, _AskRefusedError):
        body = {"code": "NOT_FOUND", "message": "Requested function was not found"}
        return JSONResponse(body, 404)
    content = {"error": str(error)}
    if isinstance(error, _AskRefusedError):
        content["code"] = error.code
    headers = {"retry-after": error.retry_after} if error.retry_after else None
    return JSONResponse(content, error.status, headers)


class _Functions:
    def __init__(
        self,
        keys: ApiKeys,
        url: str,
        asking: AskingServers,
        embedder: QueryEmbedder,
        own: OwnFunctions,
    ) -> None:
        self._own = own
        self._keys = keys
        self._url = url
        self._servers = asking
        self._embedder = embedder

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Read the model at the start."""
        self._embedder.load()
        async with self._own.running():
            yield

    async def own(self, request: Request) -> Response:
        """Call one of the user's own functions."""
        function = self._own.find(request)
        if function is None:
            raise _error_of(request, RefusedError(404, "", "not_found"))
        return await self._own.answer(request, function)

    async def embed(self, request: Request) -> Response:
        """`{"input": text}` to `{"model": name, "embedding": [numbers]}`."""
        self._check_caller(request)
        text = text_of(await body_of(request), "input", MAX_CHARACTERS)
        project = CallersProject(self._url, request.headers)
        index = await project.index()
        embedding = await self._embedder.embed(text, index, project)
        return JSONResponse({"model": index.model, "embedding": embedding.tolist()})

    async def ask(self, request: Request) -> Response:
        """`{"question": text, "conversation_id": id}` to server-sent events."""
        try:
            self._check_caller(request)
            project = CallersProject(self._url, request.headers)
            asking = Asking(project, self._embedder, self._servers)
            return await asking.response(await body_of(request))
        except RefusedError as error:
            raise _error_of(request, error) from None

    def _check_caller(self, request: Request) -> None:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        try:
            role = self._keys.decode(token).get("role")
        except jwt.PyJWTError:
            role = None
        if role not in _ROLES:
            raise RefusedError(401, "sign in to search", "sign_in")

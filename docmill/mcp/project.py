"""A Supabase project as one user sees it: its Data API and the function `embed`."""

from dataclasses import dataclass
from http.cookiejar import DefaultCookiePolicy
from typing import Any, Final

import httpx
from mcp.server.mcpserver.exceptions import ToolError

from docmill.mcp.tokens import NO_ANSWER, TokenSource

_TIMEOUT_SECONDS: Final = 30.0
#: The function may wait for a provider; a caller that can search by words waits less.
_EMBED_SECONDS: Final = 15.0
_SIGN_IN: Final = (
    "the user's access token is not accepted: it has expired, or belongs to another project. "
    "Sign in again and give the new one"
)
_NOT_SERVED: Final = (
    "the project's Data API does not serve docmill's schema ingest, or an old one: expose "
    "it, and run docmill schema apply"
)
#: Messages by SQLSTATE.
_SAID: Final = {
    "57014": "the search took too long: ask for less, or try again later",
    "42501": _NOT_SERVED,
}


def open_project(url: str, publishable_key: str) -> httpx.AsyncClient:
    """Open HTTP to a project. It keeps no cookies, so nothing of one user reaches the next."""
    http = httpx.AsyncClient(
        base_url=url.rstrip("/"),
        headers={"apikey": publishable_key},
        timeout=_TIMEOUT_SECONDS,
        follow_redirects=False,
    )
    http.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    return http


class BadValueError(ToolError):
    """A function of docmill refuses a value; the text says which value."""


class NotEmbeddedError(Exception):
    """The function `embed` made no embedding; the text says why."""


@dataclass(frozen=True)
class Embedded:
    """The embedding of a query, as text that the Data API takes, and the model that made it."""

    model: str
    embedding: str


@dataclass(frozen=True)
class UserProject:
    """A project as one user sees it. Every method raises ToolError, with a text for the model."""

    http: httpx.AsyncClient
    tokens: TokenSource

    async def rows(self, table: str, **query: str) -> list[dict[str, Any]]:
        """Rows of a table of the schema `ingest`; the query is PostgREST's."""
        headers = {"accept-profile": "ingest"}
        answer = await self._send("GET", f"/rest/v1/{table}", params=query, headers=headers)
        return _rows(answer)

    async def call(self, function: str, **arguments: Any) -> list[dict[str, Any]]:
        """Rows that a function of the schema `ingest` returns."""
        headers = {"content-profile": "ingest"}
        path = f"/rest/v1/rpc/{function}"
        return _rows(await self._send("POST", path, json=arguments, headers=headers))

    async def embed(self, query: str, *, anew: bool = False) -> Embedded:
        """Embed a query. Raises NotEmbeddedError if that is not possible.

        The function caches the active index for a minute; `anew` tells it to read the index again.
        """
        how: dict[str, Any] = {"json": {"input": query}, "timeout": _EMBED_SECONDS}
        if anew:
            how["headers"] = {"cache-control": "no-cache"}
        try:
            answer = await self._request("POST", "/functions/v1/embed", **how)
        except httpx.HTTPError:
            raise NotEmbeddedError("the Edge Function embed did not answer") from None
        if answer.status_code != 200:
            raise NotEmbeddedError(f"the Edge Function embed answered {answer.status_code}")
        try:
            body = answer.json()
            return Embedded(str(body["model"]), str([float(x) for x in body["embedding"]]))
        except (ValueError, TypeError, KeyError):
            raise NotEmbeddedError("the Edge Function embed answered no embedding") from None

    async def _send(self, method: str, path: str, **how: Any) -> httpx.Response:
        try:
            answer = await self._request(method, path, **how)
        except httpx.TimeoutException:
            raise ToolError("the Supabase project took too long to answer: try again") from None
        except httpx.HTTPError:
            raise ToolError(NO_ANSWER) from None
        if answer.is_success:
            return answer
        raise _refusal(answer)

    async def _request(self, method: str, path: str, **how: Any) -> httpx.Response:
        token = await self.tokens.token()
        answer = await self._request_as(token, method, path, **how)
        if answer.status_code == 401:
            another = await self.tokens.renewed(token)
            if another is not None:
                answer = await self._request_as(another, method, path, **how)
        return answer

    async def _request_as(self, token: str, method: str, path: str, **how: Any) -> httpx.Response:
        headers = {**how.pop("headers", {}), "authorization": f"Bearer {token}"}
        return await self.http.request(method, path, headers=headers, **how)


def _rows(answer: httpx.Response) -> list[dict[str, Any]]:
    try:
        rows = answer.json()
    except ValueError:
        rows = None
    if not isinstance(rows, list):
        raise ToolError("the server at SUPABASE_URL is not a Data API")
    return rows


def _refusal(answer: httpx.Response) -> ToolError:
    """The error for the caller of the tool. It repeats only texts that docmill wrote."""
    code, message = _error_of(answer)
    if code.startswith("22"):
        return BadValueError(message)
    if answer.status_code == 401:
        return ToolError(_SIGN_IN)
    if code.startswith(("PGRST1", "PGRST2")):
        return ToolError(_NOT_SERVED)
    if answer.status_code >= 500 and code not in _SAID:
        return ToolError(NO_ANSWER)
    return ToolError(_SAID.get(code, f"the Data API refused it ({code or answer.status_code})"))


def _error_of(answer: httpx.Response) -> tuple[str, str]:
    """PostgREST's code and message; empty if something else answered."""
    try:
        body = answer.json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        return "", ""
    return str(body.get("code", "")), str(body.get("message", ""))

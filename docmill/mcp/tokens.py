"""Users' access tokens: reading them, and renewing those of a session."""

import base64
import fcntl
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

import anyio
import anyio.to_thread
import httpx
from mcp.server.auth.provider import AccessToken
from mcp.server.mcpserver.exceptions import ToolError

from docmill.embedded.stack import write_private

#: A token that ends within this time is renewed before use.
_SPARE_SECONDS: Final = 30
NO_ANSWER: Final = "the Supabase project does not answer: try again later"
SESSION_ENDED: Final = (
    "the session of this user has ended: sign in again and start docmill mcp with the new "
    "DOCMILL_MCP_REFRESH_TOKEN"
)


class TokenSource(Protocol):
    """Provides the access token of one user."""

    async def token(self) -> str:
        """The current token. Raises ToolError if the session has ended."""
        ...

    async def renewed(self, refused: str) -> str | None:
        """Another token after one was refused; None if there is no other."""
        ...


@dataclass(frozen=True)
class FixedToken:
    """A token that something else renews."""

    value: str = field(repr=False)

    async def token(self) -> str:
        """The token."""
        return self.value

    async def renewed(self, refused: str) -> None:
        """Return None: there is no other token."""


@dataclass(frozen=True)
class Minted:
    """Tokens that are made on demand, in the embedded mode."""

    mint: Callable[[], str]

    async def token(self) -> str:
        """A new token."""
        return self.mint()

    async def renewed(self, refused: str) -> None:
        """Return None: a new token was already refused."""


def claims_of(token: str) -> dict[str, Any] | None:
    """The claims of a user's token, not verified; None if it is not a user's token.

    A user's token is a JWT with the role `authenticated` and a subject. The project's keys are not.
    """
    try:
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (IndexError, ValueError):
        return None
    if not isinstance(claims, dict) or claims.get("role") != "authenticated":
        return None
    return claims if isinstance(claims.get("sub"), str) and claims["sub"] else None


def ends_soon(token: str) -> bool:
    """Whether a token has ended, or is about to."""
    end = (claims_of(token) or {}).get("exp")
    return isinstance(end, int | float) and end < time.time() + _SPARE_SECONDS


class Session:
    """The tokens of one user, renewed with a refresh token.

    Each refresh token can be used once. With a file, the newest pair is stored there: later
    processes continue with it, and several at once share it.
    """

    def __init__(
        self, http: httpx.AsyncClient, *, refresh_token: str | None, file: Path | None
    ) -> None:
        self._http = http
        self._refresh_token = refresh_token
        self._file = file
        self._access_token = ""
        self._one_at_a_time = anyio.Lock()

    async def token(self) -> str:
        """The access token. Raises ToolError if it cannot be renewed."""
        if not self._access_token or ends_soon(self._access_token):
            return await self.renewed(self._access_token)
        return self._access_token

    async def renewed(self, refused: str) -> str:
        """Another access token. Raises ToolError if the session has ended."""
        async with self._one_at_a_time, _locked(self._file):
            if self._access_token == refused:
                self._access_token = await self._another(refused)
            return self._access_token

    async def _another(self, refused: str) -> str:
        kept = _read(self._file)
        access = kept.get("access_token", "")
        # Another process has already renewed it.
        if access and access != refused and not ends_soon(access):
            return access
        for refresh_token in filter(None, (kept.get("refresh_token"), self._refresh_token)):
            pair = await self._refresh(refresh_token)
            if pair is not None:
                self._refresh_token = pair["refresh_token"]
                if self._file is not None:
                    write_private(self._file, json.dumps(pair))
                return pair["access_token"]
        raise ToolError(SESSION_ENDED)

    async def _refresh(self, refresh_token: str) -> dict[str, str] | None:
        try:
            answer = await self._http.post(
                "/auth/v1/token",
                params={"grant_type": "refresh_token"},
                json={"refresh_token": refresh_token},
            )
        except httpx.HTTPError:
            raise ToolError(NO_ANSWER) from None
        if answer.status_code in (400, 401, 403):
            return None
        if answer.status_code != 200:
            raise ToolError(NO_ANSWER)
        body = answer.json()
        return {name: str(body[name]) for name in ("access_token", "refresh_token")}


def _read(file: Path | None) -> dict[str, str]:
    """The stored pair; empty if there is none, or the file does not hold a pair."""
    try:
        kept = json.loads(file.read_text()) if file is not None else {}
    except (OSError, ValueError):
        return {}
    return kept if isinstance(kept, dict) else {}


@asynccontextmanager
async def _locked(file: Path | None) -> AsyncIterator[None]:
    """Keep other processes from renewing the same session: a second renewal would end it."""
    if file is None:
        yield
        return
    with file.with_name(f"{file.name}.lock").open("w") as lock:
        await anyio.to_thread.run_sync(fcntl.flock, lock, fcntl.LOCK_EX)
        yield


class UserVerifier:
    """Recognises users' tokens, for the HTTP transport.

    The result only decides which requests get a 401. All data comes from the Data API, which
    verifies the token again at each request. So if the project does not answer here, the request is
    let through, and the tool then reports the error.
    """

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def verify_token(self, token: str) -> AccessToken | None:
        """The user of a token; None if it is no user's, has expired, or the project refuses it."""
        claims = claims_of(token)
        if claims is None or not await self._is_accepted(token):
            return None
        end = claims.get("exp")
        return AccessToken(
            token=token,
            client_id=claims["sub"],
            scopes=[],
            subject=claims["sub"],
            expires_at=int(end) if isinstance(end, int | float) else None,
        )

    async def _is_accepted(self, token: str) -> bool:
        headers = {"authorization": f"Bearer {token}", "accept-profile": "ingest"}
        try:
            answer = await self._http.get(
                "/rest/v1/index_versions", params={"select": "id", "limit": "1"}, headers=headers
            )
        except (httpx.HTTPError, UnicodeEncodeError):
            return token.isascii()
        return answer.status_code not in (401, 403)

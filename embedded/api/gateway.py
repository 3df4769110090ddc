"""Supabase's gateway in front of PostgREST and Auth: it turns API keys into tokens.

Storage's part does this itself, because Storage accepts a key only in some places.
"""

from typing import Final

import jwt
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from docmill.embedded.keys import ANON, SERVICE_ROLE, ApiKeys, is_browser

#: A key's token serves one request; this is long enough for the longest one.
_TOKEN_SECONDS: Final = 3600


#: Message and hint.
_NO_KEY: Final = (
    "No API key found in request",
    "No `apikey` request header or url param was found.",
)
_BAD_KEY: Final = (
    "Invalid API key",
    "Double check your Supabase `anon` or `service_role` API key.",
)
_SECRET_IN_BROWSER: Final = (
    "Forbidden use of secret API key in browser",
    (
        "Secret API keys can only be used in a protected environment and should never be used in a "
        "browser. Delete this secret API key immediately."
    ),
)


class Gateway:
    """Accepts requests with one of the project's keys in `apikey`.

    After it `Authorization` holds a token: the caller's own, or a token with the key's role.
    """

    def __init__(self, app: ASGIApp, keys: ApiKeys) -> None:
        self.app = app
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        headers = Headers(scope=scope)
        key = headers.get("apikey")
        refusal = self._refusal(key, headers.get("user-agent", ""))
        if refusal is not None:
            message, hint = refusal
            answer = JSONResponse({"message": message, "hint": hint}, status_code=401)
            await answer(scope, receive, send)
            return
        assert key is not None
        scope = {**scope, "headers": list(scope["headers"])}
        if _holds_key(headers.get("authorization")):
            MutableHeaders(scope=scope)["authorization"] = f"Bearer {self._token_of(key)}"
        await self.app(scope, receive, send)

    def _refusal(self, key: str | None, user_agent: str) -> tuple[str, str] | None:
        if key is None:
            return _NO_KEY
        role = self._keys.role_of(key)
        if role == SERVICE_ROLE and is_browser(user_agent):
            return _SECRET_IN_BROWSER
        if role is None and not self._is_legacy_key(key):
            return _BAD_KEY
        return None

    def _is_legacy_key(self, key: str) -> bool:
        """The old anon and service_role keys are tokens; a user's token does not count as a key."""
        try:
            return self._keys.decode(key).get("role") in {ANON, SERVICE_ROLE}
        except jwt.PyJWTError:
            return False

    def _token_of(self, key: str) -> str:
        role = self._keys.role_of(key)
        if role is None:
            return key
        return self._keys.sign({"iss": "supabase", "role": role}, seconds=_TOKEN_SECONDS)


def _holds_key(authorization: str | None) -> bool:
    return authorization is None or authorization.startswith("Bearer sb_")

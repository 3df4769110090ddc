"""Routes of Auth: sign in with a password, refresh, read the user, sign out. Nobody can sign up."""

import json
import re
import time
from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

import jwt
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from docmill.embedded.auth import errors
from docmill.embedded.auth.errors import AuthError
from docmill.embedded.auth.sessions import SCOPES, Grant, Sessions
from docmill.embedded.auth.settings import AuthSettings
from docmill.embedded.auth.users import shown_user
from docmill.embedded.keys import ApiKeys, same
from docmill.embedded.part import Part, Row, make_app
from docmill.worker.webhook.request_body import read_bounded

ACCESS_SECONDS: Final = 3600
MAX_BODY_BYTES: Final = 1024 * 1024
_BEARER: Final = re.compile(r"bearer (\S+)", re.IGNORECASE)


def create_auth(settings: AuthSettings, keys: ApiKeys, *, issuer: str) -> Part:
    """Make Auth; it connects when it starts to run. `issuer` is its own address."""
    sessions = Sessions(settings)
    service = AuthService(settings, keys, sessions, issuer)
    routes = (
        ("POST", "/token", service.token),
        ("GET", "/user", service.user),
        ("POST", "/logout", service.logout),
    )
    return Part(make_app(routes, errors.answer, _missing), sessions.running)


def _missing(request: Request, _status: int) -> AuthError:
    message = f"The embedded mode's Auth does not have {request.method} {request.url.path}"
    return AuthError(404, "feature_disabled", message)


class AuthService:
    """The parts of one running Auth."""

    def __init__(
        self, settings: AuthSettings, keys: ApiKeys, sessions: Sessions, issuer: str
    ) -> None:
        self._settings = settings
        self._keys = keys
        self._sessions = sessions
        self._issuer = issuer

    async def token(self, request: Request) -> Response:
        """POST /token: tokens for a password or for a refresh token."""
        grant_type = request.query_params.get("grant_type")
        if grant_type == "password":
            grant = await self._password_grant(await _body(request))
        elif grant_type == "refresh_token":
            grant = await self._refresh_grant(await _body(request))
        else:
            raise errors.validation_failed("unsupported_grant_type")
        return JSONResponse(self._tokens(grant))

    async def user(self, request: Request) -> Response:
        """GET /user: the user of the access token."""
        user, _session_id = await self._caller(request)
        return JSONResponse(shown_user(user))

    async def logout(self, request: Request) -> Response:
        """POST /logout: end sessions, and so their refresh tokens. Access tokens stay valid."""
        user, session_id = await self._caller(request)
        scope = request.query_params.get("scope") or "global"
        if scope not in SCOPES:
            raise errors.validation_failed(f'Unsupported logout scope "{scope}"')
        await self._sessions.end(scope, user["id"], session_id)
        return Response(status_code=204)

    async def _password_grant(self, body: Mapping[str, Any]) -> Grant:
        email, password = _text(body, "email"), _text(body, "password")
        user = await self._sessions.user_by_email(email)
        is_right = same(password, self._settings.password)
        if user is None or not is_right:
            raise errors.invalid_credentials()
        return await self._sessions.begin(user["id"])

    async def _refresh_grant(self, body: Mapping[str, Any]) -> Grant:
        return await self._sessions.refresh(_text(body, "refresh_token"))

    def _tokens(self, grant: Grant) -> dict[str, Any]:
        now = int(time.time())
        user = shown_user(grant.user)
        claims = {
            "iss": self._issuer,
            "sub": user["id"],
            "aud": user["aud"],
            "role": user["role"],
            "email": user["email"],
            "phone": user["phone"],
            "app_metadata": user["app_metadata"],
            "user_metadata": user["user_metadata"],
            "aal": "aal1",
            "amr": [{"method": "password", "timestamp": int(grant.signed_in_at.timestamp())}],
            "session_id": str(grant.session_id),
            "is_anonymous": user["is_anonymous"],
        }
        return {
            "access_token": self._keys.sign(claims, seconds=ACCESS_SECONDS, issued_at=now),
            "token_type": "bearer",
            "expires_in": ACCESS_SECONDS,
            "expires_at": now + ACCESS_SECONDS,
            "refresh_token": grant.refresh_token,
            "user": user,
        }

    async def _caller(self, request: Request) -> tuple[Row, UUID | None]:
        """User and session of the access token.

        Raises AuthError if the token does not prove them.
        """
        bearer = _BEARER.fullmatch(request.headers.get("authorization", ""))
        if bearer is None:
            message = "This endpoint requires a valid Bearer token"
            raise AuthError(401, "no_authorization", message)
        try:
            claims = self._keys.decode(bearer[1])
        except jwt.PyJWTError as error:
            reason = "token is expired" if isinstance(error, jwt.ExpiredSignatureError) else error
            message = f"invalid JWT: unable to parse or verify signature, {reason}"
            raise errors.bad_jwt(message) from None
        try:
            user_id, session = UUID(str(claims.get("sub"))), claims.get("session_id")
            session_id = UUID(str(session)) if session else None
        except ValueError:
            raise errors.bad_jwt("invalid claim: missing sub claim") from None
        return await self._sessions.user_of(user_id, session_id), session_id


async def _body(request: Request) -> dict[str, Any]:
    message = f"Request body too large (max {MAX_BODY_BYTES} bytes)"
    too_large = AuthError(413, "request_entity_too_large", message)
    body = await read_bounded(request, MAX_BODY_BYTES, too_large=too_large)
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError):
        parsed = None
    if not isinstance(parsed, dict):
        raise AuthError(400, "bad_json", "Could not parse request body as JSON: not an object")
    return parsed


def _text(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name)
    if value is None:
        return ""
    if not isinstance(value, str) or not _is_storable(value):
        message = f"Could not parse request body as JSON: {name} is not a text"
        raise AuthError(400, "bad_json", message)
    return value


def _is_storable(text: str) -> bool:
    """PostgreSQL stores no NUL in texts, and UTF-8 cannot encode half of a surrogate pair."""
    return "\0" not in text and not any("\ud800" <= char <= "\udfff" for char in text)

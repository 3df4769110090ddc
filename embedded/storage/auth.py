"""The caller of a request: API keys, users' tokens and the tokens of signed URLs."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import jwt

from docmill.embedded.keys import ANON, SERVICE_ROLE, ApiKeys, is_browser, same
from docmill.embedded.storage.errors import StorageError, access_denied, invalid_request

_BEARER: Final = re.compile(r"^Bearer\s+", re.IGNORECASE)

#: Storage passes on the messages of its JWT library, jose.
_TOKEN_ERRORS: Final[Mapping[type[jwt.PyJWTError], str]] = {
    jwt.ExpiredSignatureError: '"exp" claim timestamp check failed',
    jwt.InvalidSignatureError: "signature verification failed",
}


@dataclass(frozen=True)
class Caller:
    """The role and claims that a request's statements run with."""

    role: str
    claims: Mapping[str, Any]
    token: str = field(default="", repr=False)  #: the user's JWT; empty for an API key

    @property
    def owner(self) -> str | None:
        """The `sub` that becomes the owner of new objects; None for an API key."""
        return self.claims.get("sub")


SERVICE: Final = Caller(SERVICE_ROLE, {"role": SERVICE_ROLE})


class Authenticator:
    """Knows the project's keys. Reads and signs tokens."""

    def __init__(self, keys: ApiKeys) -> None:
        self._keys = keys

    def identify(self, headers: Mapping[str, str]) -> Caller:
        """The sender of these headers. Raises StorageError if they name or prove nobody."""
        authorization = headers.get("authorization")
        if authorization is None:
            raise invalid_request("headers must have required property 'authorization'")
        token = _BEARER.sub("", authorization)
        key = headers.get("apikey")
        if key is not None:
            key_holder = self._key_holder(key, headers.get("user-agent", ""))
            # The gateway accepts an opaque key only in the apikey header; in Authorization it may
            # only repeat that key. Storage alone takes it for a broken JWT.
            if same(token, key):
                return key_holder
        return self._user(token)

    def sign(self, path: str, *, seconds: int) -> str:
        """Sign a token for a URL that reads one object."""
        return self._keys.sign({"url": path, "scope": "download"}, seconds=seconds)

    def read_signed(self, token: str, path: str) -> dict[str, Any]:
        """Claims of a signed URL's token. Raises InvalidJWT or InvalidSignature."""
        try:
            claims = self._keys.decode(token)
        except jwt.PyJWTError as error:
            raise StorageError(400, "InvalidJWT", _explain(error)) from None
        if (claims.get("scope"), claims.get("url")) != ("download", path):
            raise StorageError(400, "InvalidSignature", "Invalid signature")
        return claims

    def _key_holder(self, key: str, user_agent: str) -> Caller:
        role = self._keys.role_of(key)
        if role is None:
            return self._user(key)  # the legacy anon and service_role keys are JWTs
        if role == SERVICE_ROLE and is_browser(user_agent):
            message = "Forbidden use of secret API key in browser"
            raise StorageError(401, "AccessDenied", message, http_status=401)
        return Caller(role, {"role": role})

    def _user(self, token: str) -> Caller:
        try:
            claims = self._keys.decode(token)
        except jwt.PyJWTError as error:
            raise access_denied(_explain(error)) from None
        return Caller(str(claims.get("role") or ANON), claims, token)


def _explain(error: jwt.PyJWTError) -> str:
    return _TOKEN_ERRORS.get(type(error), "Invalid Compact JWS")

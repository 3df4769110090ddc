"""A project's API keys and tokens, which every part of the API needs."""

import hmac
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import jwt

ANON: Final = "anon"
SERVICE_ROLE: Final = "service_role"
_ALGORITHM: Final = "HS256"

#: Neither jose, PostgREST nor Auth checks the audience, and users' tokens have their own.
_OPTIONS: Final[Any] = {"verify_aud": False, "verify_iat": False}


@dataclass(frozen=True)
class ApiKeys:
    """Two opaque keys, and the secret that signs tokens. Secrets are left out of the repr."""

    jwt_secret: str = field(repr=False)
    publishable_key: str
    secret_key: str = field(repr=False)

    def role_of(self, key: str) -> str | None:
        """The role of an opaque key; None for any other text, also for a legacy key."""
        if same(key, self.secret_key):
            return SERVICE_ROLE
        return ANON if same(key, self.publishable_key) else None

    def sign(self, claims: Mapping[str, Any], *, seconds: int, issued_at: int | None = None) -> str:
        """Sign a token with these claims, valid from now or from the second `issued_at`."""
        begin = int(time.time()) if issued_at is None else issued_at
        payload = {**claims, "iat": begin, "exp": begin + seconds}
        return jwt.encode(payload, self.jwt_secret, _ALGORITHM)

    def decode(self, token: str) -> dict[str, Any]:
        """The claims of a valid token that this project signed. Raises jwt.PyJWTError."""
        claims: dict[str, Any] = jwt.decode(token, self.jwt_secret, [_ALGORITHM], options=_OPTIONS)
        return claims


def is_browser(user_agent: str) -> bool:
    """Whether the User-Agent is a browser, where a secret key would be public and is refused."""
    return user_agent.startswith("Mozilla/")


def same(left: str, right: str) -> bool:
    """Compare texts in constant time."""
    return hmac.compare_digest(left.encode(errors="replace"), right.encode())

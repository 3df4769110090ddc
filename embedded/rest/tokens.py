"""Whose request it is: the role and claims of the token in `Authorization`."""

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import jwt

from docmill.embedded.keys import ANON, ApiKeys
from docmill.embedded.rest.errors import RestError, encode, invalid_token

_BEARER: Final = re.compile(r"^bearer(?=[ \t]|$)", re.IGNORECASE)
#: Clocks of two machines may differ by this much.
_SKEW_SECONDS: Final = 30


@dataclass(frozen=True)
class Caller:
    """Who a request's statements run as."""

    role: str
    claims: Mapping[str, Any]  #: with the role inserted, as PostgREST passes them on

    @property
    def is_anonymous(self) -> bool:
        """Whether a refusal means: prove who you are (401), or: you may not (403)."""
        return self.role == ANON


def identify(keys: ApiKeys, headers: Mapping[str, str]) -> Caller:
    """The caller whom the token names; anon without one. Raises RestError PGRST301 or PGRST303."""
    authorization = headers.get("authorization", "")
    scheme = _BEARER.match(authorization)
    claims = _read(keys, authorization[scheme.end() :].strip()) if scheme else {}
    role = claims.get("role", ANON)
    if not isinstance(role, str):
        role = encode(role).decode()
    return Caller(role, {**claims, "role": role})


def _read(keys: ApiKeys, token: str) -> dict[str, Any]:
    if not token:
        raise invalid_token("PGRST301", "Empty JWT is sent in Authorization header")
    parts = token.count(".") + 1
    if parts != 3:
        raise invalid_token("PGRST301", f"Expected 3 parts in JWT; got {parts}")
    try:
        claims = keys.decode(token, signature_only=True)
    except jwt.PyJWTError as error:
        raise _undecodable(error) from None
    _check(claims, time.time())
    return claims


def _undecodable(error: jwt.PyJWTError) -> RestError:
    if isinstance(error, jwt.InvalidAlgorithmError):
        return invalid_token(
            "PGRST301",
            "Wrong or unsupported encoding algorithm",
            details="Tokens of the embedded mode are signed with HS256",
        )
    if isinstance(error, jwt.InvalidSignatureError):
        return invalid_token(
            "PGRST301",
            "No suitable key or wrong key type",
            details="None of the keys was able to decode the JWT",
        )
    if str(error).startswith("Invalid payload"):
        return invalid_token("PGRST303", "Parsing claims failed")
    return invalid_token("PGRST301", "JWT cryptographic operation failed")


def _check(claims: Mapping[str, Any], now: float) -> None:
    """Raise PGRST303 for the first claim that does not hold; absent and null ones do."""
    times: dict[str, tuple[Callable[[float], bool], str]] = {
        "exp": (lambda at: at < now - _SKEW_SECONDS, "JWT expired"),
        "nbf": (lambda at: at > now + _SKEW_SECONDS, "JWT not yet valid"),
        "iat": (lambda at: at > now + _SKEW_SECONDS, "JWT issued at future"),
    }
    for name, (fails, message) in times.items():
        value = claims.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise invalid_token("PGRST303", f"The JWT '{name}' claim must be a number")
        if fails(value):
            raise invalid_token("PGRST303", message)
    if not _is_audience(claims.get("aud")):
        message = "The JWT 'aud' claim must be a string or an array of strings"
        raise invalid_token("PGRST303", message)


def _is_audience(value: object) -> bool:
    values = value if isinstance(value, list) else [value]
    return value is None or all(isinstance(item, str) for item in values)

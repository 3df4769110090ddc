"""The caller of a request: the role and claims of the token in `Authorization`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jwt

from docmill.embedded.keys import ANON, ApiKeys
from docmill.embedded.rest.errors import RestError


@dataclass(frozen=True)
class Caller:
    """The role and claims that a request's statements run with."""

    role: str
    claims: Mapping[str, Any]  #: with the role inserted, as PostgREST passes claims on

    @property
    def is_anonymous(self) -> bool:
        """Whether a refusal means "prove who you are" (401) or "you may not" (403)."""
        return self.role == ANON


def identify(keys: ApiKeys, headers: Mapping[str, str]) -> Caller:
    """The caller of the token; anon if there is none. Raises RestError PGRST301 or PGRST303."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    claims = _read(keys, token.strip()) if scheme.lower() == "bearer" else {}
    role = str(claims.get("role", ANON))
    return Caller(role, {**claims, "role": role})


def _read(keys: ApiKeys, token: str) -> dict[str, Any]:
    try:
        return keys.decode(token)
    except jwt.ExpiredSignatureError:
        raise _invalid("PGRST303", "JWT expired") from None
    except jwt.ImmatureSignatureError:
        raise _invalid("PGRST303", "JWT not yet valid") from None
    except jwt.InvalidSignatureError:
        raise _invalid("PGRST301", "No suitable key or wrong key type") from None
    except jwt.PyJWTError:
        raise _invalid("PGRST301", "JWT cryptographic operation failed") from None


def _invalid(code: str, message: str) -> RestError:
    challenge = f'Bearer error="invalid_token", error_description="{message}"'
    return RestError(401, code, message, headers={"WWW-Authenticate": challenge})

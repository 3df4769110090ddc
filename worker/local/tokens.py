"""Access tokens of the embedded mode's users, as its Auth would sign them."""

import time

import jwt

from worker.local.stack import StackInfo

LIFETIME_SECONDS = 3600


def user_token(info: StackInfo, sub: str) -> str:
    """A token of role authenticated for this subject, valid for an hour."""
    now = int(time.time())
    claims = {
        "sub": sub,
        "role": "authenticated",
        "aud": "authenticated",
        "iat": now,
        "exp": now + LIFETIME_SECONDS,
    }
    return jwt.encode(claims, info.keys.jwt_secret, algorithm="HS256")

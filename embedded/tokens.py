"""Access tokens of the embedded mode's users, like those that its Auth signs."""

from docmill.embedded.keys import ApiKeys
from docmill.embedded.stack import StackInfo

LIFETIME_SECONDS = 3600


def api_keys(info: StackInfo) -> ApiKeys:
    """The keys of this stack's API."""
    return ApiKeys(info.keys.jwt_secret, info.keys.publishable_key, info.keys.secret_key)


def user_token(info: StackInfo, sub: str) -> str:
    """A token of role authenticated for this subject, valid for an hour."""
    claims = {"sub": sub, "role": "authenticated", "aud": "authenticated"}
    return api_keys(info).sign(claims, seconds=LIFETIME_SECONDS)

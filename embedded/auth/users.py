"""Users: rows of auth.users, and the fields that clients see."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, LiteralString

import psycopg
from psycopg.types.json import Jsonb

from docmill.embedded.part import Row

ROLE: Final = "authenticated"
#: The provider of all users: they sign in with an address and a password.
_APP_METADATA: Final = {"provider": "email", "providers": ["email"]}

_INSTALL: Final[LiteralString] = """
    insert into auth.users (id, aud, role, email, email_confirmed_at, raw_app_meta_data,
                            raw_user_meta_data, created_at, updated_at)
    values (%(id)s, %(role)s, %(role)s, %(email)s, now(), %(app)s, %(user)s, now(), now())
        on conflict do nothing
"""


def install_users(connection: psycopg.Connection[Any], users: Mapping[str, str]) -> None:
    """Create these users (address by id) unless they exist. Repeatable."""
    for user_id, email in users.items():
        connection.execute(
            _INSTALL,
            {
                "id": user_id,
                "role": ROLE,
                "email": email,
                "app": Jsonb(_APP_METADATA),
                "user": Jsonb({"email_verified": True}),
            },
        )


def shown_user(row: Row) -> dict[str, Any]:
    """A user in the form of Auth's answers. Identities of other providers do not exist here."""
    return {
        "id": str(row["id"]),
        "aud": row["aud"],
        "role": row["role"],
        "email": row["email"] or "",
        "email_confirmed_at": _time(row["email_confirmed_at"]),
        "phone": row["phone"] or "",
        "confirmed_at": _time(row["email_confirmed_at"]),
        "last_sign_in_at": _time(row["last_sign_in_at"]),
        "app_metadata": row["raw_app_meta_data"] or {},
        "user_metadata": row["raw_user_meta_data"] or {},
        "identities": [],
        "created_at": _time(row["created_at"]),
        "updated_at": _time(row["updated_at"]),
        "is_anonymous": row["is_anonymous"],
    }


def _time(at: datetime | None) -> str | None:
    return None if at is None else at.astimezone(UTC).isoformat().replace("+00:00", "Z")

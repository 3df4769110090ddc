"""Sessions and their refresh tokens, in the tables and by the rules of Auth.

They are in the database, so that a restart signs nobody out. A refresh token can be used once. The
second newest token returns the newest again, because a client may have lost the answer. If an older
token is used again, more than a moment after its first use, the session ends.
"""

import secrets
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, LiteralString
from uuid import UUID, uuid4

from docmill.embedded.auth.errors import AuthError
from docmill.embedded.auth.settings import AuthSettings
from docmill.embedded.part import Connection, Row, make_pool, opened

#: For this long, requests that were sent at the same time may use the same refresh token.
REUSE_SECONDS: Final = 10

_USER: Final[LiteralString] = "select * from auth.users where id = %s"
_USER_BY_EMAIL: Final[LiteralString] = "select * from auth.users where email = lower(%s)"
_NOTE_SIGN_IN: Final[LiteralString] = """
    update auth.users set last_sign_in_at = now(), updated_at = now() where id = %s returning *
"""
_BEGIN_SESSION: Final[LiteralString] = """
    insert into auth.sessions (id, user_id, created_at, updated_at)
    values (%s, %s, now(), now())
"""
_ADD: Final[LiteralString] = """
    insert into auth.refresh_tokens
           (token, user_id, revoked, created_at, updated_at, parent, session_id)
    values (%(token)s, %(user_id)s, false, now(), now(), %(parent)s, %(session_id)s)
"""
#: Lock the session's row, so that refreshes of one session run one after the other.
_FIND: Final[LiteralString] = """
    select token.revoked, session.id as session_id, session.user_id, session.created_at,
           token.updated_at < clock_timestamp() - make_interval(secs => %(reuse)s) as is_old
      from auth.refresh_tokens as token
      join auth.sessions as session on session.id = token.session_id
     where token.token = %(token)s
       for update of session
"""
_NEWEST: Final[LiteralString] = """
    select token, parent from auth.refresh_tokens
     where session_id = %s and not revoked order by id desc limit 1
"""
_USE_UP: Final[LiteralString] = """
    update auth.refresh_tokens set revoked = true, updated_at = clock_timestamp() where token = %s
"""
_NOTE_REFRESH: Final[LiteralString] = """
    update auth.sessions set refreshed_at = now(), updated_at = now() where id = %s
"""
_SESSION: Final[LiteralString] = "select id from auth.sessions where id = %s and user_id = %s"
_END: Final[dict[str, LiteralString]] = {
    "local": "delete from auth.sessions where user_id = %(user_id)s and id = %(session_id)s",
    "others": "delete from auth.sessions where user_id = %(user_id)s and id <> %(session_id)s",
    "global": "delete from auth.sessions where user_id = %(user_id)s",
}
#: The sessions of a user that one request can end.
SCOPES: Final = tuple(_END)


@dataclass(frozen=True)
class Grant:
    """A session for which the client may get tokens."""

    user: Row
    session_id: UUID
    signed_in_at: datetime
    refresh_token: str


class Sessions:
    """Users and their sessions, through connections of supabase_auth_admin."""

    def __init__(self, settings: AuthSettings) -> None:
        self._pool = make_pool(settings.database_url, "auth", settings.connections, checked=True)

    def running(self) -> AbstractAsyncContextManager[None]:
        """Connected to the database."""
        return opened(self._pool)

    async def user_by_email(self, email: str) -> Row | None:
        """The user with this address, however it is written."""
        async with self._pool.connection() as connection:
            return await _one(connection, _USER_BY_EMAIL, [email])

    async def user_of(self, user_id: UUID, session_id: UUID | None) -> Row:
        """The user of an access token. Raises AuthError if the user or the session is gone."""
        async with self._pool.connection() as connection:
            user = await _one(connection, _USER, [user_id])
            if user is None:
                message = "User from sub claim in JWT does not exist"
                raise AuthError(403, "user_not_found", message)
            if session_id and not await _one(connection, _SESSION, [session_id, user_id]):
                message = "Session from session_id claim in JWT does not exist"
                raise AuthError(403, "session_not_found", message)
            return user

    async def begin(self, user_id: UUID) -> Grant:
        """Begin a session of this user."""
        session_id = uuid4()
        async with self._pool.connection() as connection:
            await connection.execute(_BEGIN_SESSION, [session_id, user_id])
            token = await _add_token(connection, user_id, session_id, parent=None)
            user = await _one(connection, _NOTE_SIGN_IN, [user_id])
            assert user is not None
            return Grant(user, session_id, user["last_sign_in_at"], token)

    async def refresh(self, token: str) -> Grant:
        """The next refresh token of a session. Raises AuthError if the token is not valid."""
        async with self._pool.connection() as connection:
            parameters = {"token": token, "reuse": REUSE_SECONDS}
            found = await _one(connection, _FIND, parameters)
            if found is not None:
                next_token = await _next_token(connection, token, found)
                user = await _one(connection, _USER, [found["user_id"]])
        if found is None:
            message = "Invalid Refresh Token: Refresh Token Not Found"
            raise AuthError(400, "refresh_token_not_found", message)
        # Raise only now, because the end of the session must be committed first.
        if next_token is None:
            message = "Invalid Refresh Token: Already Used"
            raise AuthError(400, "refresh_token_already_used", message)
        assert user is not None
        return Grant(user, found["session_id"], found["created_at"], next_token)

    async def end(self, scope: str, user_id: UUID, session_id: UUID | None) -> None:
        """End sessions of a user: `local` this one, `others` all but this, `global` all."""
        if session_id is None:
            scope = "global"
        async with self._pool.connection() as connection:
            await connection.execute(_END[scope], {"user_id": user_id, "session_id": session_id})


async def _next_token(connection: Connection, token: str, found: Row) -> str | None:
    """The refresh token after this one; None if this one was used before: that ends the session."""
    session_id = found["session_id"]
    if found["revoked"]:
        active = await _one(connection, _NEWEST, [session_id])
        if active is not None and active["parent"] == token:
            newest: str = active["token"]
            return newest
        if found["is_old"]:
            parameters = {"user_id": found["user_id"], "session_id": session_id}
            await connection.execute(_END["local"], parameters)
            return None
    await connection.execute(_USE_UP, [token])
    await connection.execute(_NOTE_REFRESH, [session_id])
    return await _add_token(connection, found["user_id"], session_id, parent=token)


async def _add_token(
    connection: Connection, user_id: UUID, session_id: UUID, *, parent: str | None
) -> str:
    token = secrets.token_urlsafe(18)
    await connection.execute(
        _ADD,
        {"token": token, "user_id": str(user_id), "parent": parent, "session_id": session_id},
    )
    return token


async def _one(connection: Connection, query: LiteralString, parameters: Any) -> Row | None:
    return await (await connection.execute(query, parameters)).fetchone()

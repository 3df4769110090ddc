"""Auth's error answers: codes, texts and statuses as in supabase/auth.

They have the form of the API version that supabase-js and supabase-py request.
"""

from typing import Final

import psycopg
from psycopg_pool import PoolTimeout
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response

from docmill.worker.log import get_logger

log = get_logger(__name__)

_API_VERSION: Final = "2024-01-01"


class AuthError(Exception):
    """A refusal, as it is answered."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


def validation_failed(message: str) -> AuthError:
    """The request as a whole is not valid."""
    return AuthError(400, "validation_failed", message)


def invalid_credentials() -> AuthError:
    """The answer does not tell whether the address or the password is wrong."""
    return AuthError(400, "invalid_credentials", "Invalid login credentials")


def bad_jwt(message: str) -> AuthError:
    """The access token is not valid."""
    return AuthError(403, "bad_jwt", message)


def answer(error: Exception) -> Response:
    """Answer a failed request. Unexpected errors are logged, and the client gets no details."""
    if isinstance(error, ClientDisconnect):
        return Response(status_code=499)  # the client is gone
    refusal = error if isinstance(error, AuthError) else _unexpected(error)
    headers = {"x-sb-error-code": refusal.code, "X-Supabase-Api-Version": _API_VERSION}
    body = {"code": refusal.code, "message": refusal.message}
    return JSONResponse(body, refusal.status, headers)


def _unexpected(error: Exception) -> AuthError:
    if isinstance(error, PoolTimeout):
        return AuthError(504, "request_timeout", "The database does not answer")
    if isinstance(error, psycopg.Error):
        log.error("auth_database_failed", sqlstate=error.sqlstate)
    else:
        log.error("auth_request_failed", exc_info=error)
    message = "Unexpected failure, please check server logs for more information"
    return AuthError(500, "unexpected_failure", message)

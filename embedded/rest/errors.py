"""PostgREST's error answers: codes, texts and statuses as in its version 16.

Clients branch on them. Errors of PostgreSQL are passed on unchanged; their SQLSTATE decides the
status.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import psycopg
from psycopg_pool import PoolTimeout
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from docmill.worker.log import get_logger

log = get_logger(__name__)

JSON_TYPE: Final = "application/json; charset=utf-8"


class RestError(Exception):
    """A refusal, in the form of the answer."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        details: str | None = None,
        hint: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.body = {"code": code, "details": details, "hint": hint, "message": message}
        self.headers = dict(headers or {})

    def response(self) -> Response:
        """The answer with its body."""
        return Response(encode(self.body), self.status, self.headers, media_type=JSON_TYPE)


def encode(value: Any) -> bytes:
    """JSON as PostgREST writes it: compact, UTF-8."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode(errors="replace")


def unparsable(what: str, text: str, column: int, details: str) -> RestError:
    """A parameter of the query string cannot be parsed here."""
    place = f'"failed to parse {what} ({text})" (line 1, column {column})'
    return RestError(400, "PGRST100", place, details=details)


def invalid_body(message: str, *, status: int = 400) -> RestError:
    """The body does not fit a function."""
    return RestError(status, "PGRST102", message)


def range_not_satisfiable(details: str, *, total: int | None = None) -> RestError:
    """The requested rows cannot exist."""
    headers = {} if total is None else {"Content-Range": f"*/{total}"}
    message = "Requested range not satisfiable"
    return RestError(416, "PGRST103", message, details=details, headers=headers)


def invalid_schema(name: str, exposed: Sequence[str]) -> RestError:
    """The profile header names a schema that is not exposed."""
    hint = f"Only the following schemas are exposed: {', '.join(exposed)}"
    return RestError(406, "PGRST106", f"Invalid schema: {name}", hint=hint)


def unknown_media_type(accepted: str) -> RestError:
    """No media type of the Accept header is supported."""
    return RestError(406, "PGRST107", f"None of these media types are available: {accepted}")


def not_singular(rows: int) -> RestError:
    """The request wants one object, but there is none or more than one."""
    return RestError(
        406,
        "PGRST116",
        "Cannot coerce the result to a single JSON object",
        details=f"The result contains {rows} rows",
    )


def unsupported_method(method: str, allowed: Sequence[str]) -> RestError:
    """Here tables can only be read, and functions only posted to."""
    return RestError(
        405,
        "PGRST117",
        f"Unsupported HTTP method: {method}",
        hint="The embedded mode's Data API reads tables and posts to functions.",
        headers={"Allow": ", ".join(allowed)},
    )


def invalid_preferences(names: Sequence[str]) -> RestError:
    """With handling=strict an unknown preference is an error."""
    return RestError(
        400,
        "PGRST122",
        "Invalid preferences given with handling=strict",
        details=f"Invalid preferences: {', '.join(names)}",
    )


def invalid_path() -> RestError:
    """The path names neither a table nor a function."""
    return RestError(404, "PGRST125", "Invalid path specified in request URL")


def no_relationship(embedded: str) -> RestError:
    """Here a request cannot embed other tables."""
    return RestError(
        400,
        "PGRST200",
        f"Could not find a relationship to '{embedded}' in the schema cache",
        hint="The embedded mode's Data API does not embed tables: ask for each by itself.",
    )


def no_function(name: str, arguments: Sequence[str]) -> RestError:
    """No function of this name, or more than one, takes exactly these arguments."""
    called = f"({', '.join(arguments)})" if arguments else " without parameters"
    message = f"Could not find the function {name}{called} in the schema cache"
    return RestError(404, "PGRST202", message)


def no_table(name: str) -> RestError:
    """There is no such table or view in this schema."""
    return RestError(404, "PGRST205", f"Could not find the table '{name}' in the schema cache")


def query_too_long(limit: int) -> RestError:
    """The query string is so long that a gateway would refuse it."""
    return RestError(414, "PGRST100", f"The query string is over {limit} bytes")


def invalid_text() -> RestError:
    """A text holds characters that PostgreSQL cannot store."""
    return RestError(400, "22021", 'invalid byte sequence for encoding "UTF8"')


#: SQLSTATEs, or the classes that they begin with, by status. All others are the client's fault:
#: 400.
_SQLSTATES: Final[Mapping[int, Sequence[str]]] = {
    400: ("P0001",),
    403: ("0L", "0P", "28"),
    404: ("42883", "42P01"),
    405: ("25006",),
    409: ("23503", "23505"),
    500: ("21000", "25", "40", "42P17", "53400", "54", "55", "57", "58", "P0", "XX"),
    503: ("08", "53", "57P01"),
}
_STATUSES: Final = {state: status for status, states in _SQLSTATES.items() for state in states}


def status_of(sqlstate: str, message: str, *, anonymous: bool) -> int:
    """The HTTP status of a PostgreSQL error."""
    if sqlstate == "42501":
        return 401 if anonymous else 403
    if sqlstate.startswith("PT"):  # `raise sqlstate 'PT404'` answers 404
        digits = sqlstate[2:]
        is_status = digits.isascii() and digits.isdigit() and 200 <= int(digits) <= 599
        return int(digits) if is_status else 500
    if sqlstate == "22023" and message.startswith("role") and message.endswith("does not exist"):
        return 401  # the caller has no right and no token
    return _STATUSES.get(sqlstate) or _STATUSES.get(sqlstate[:2]) or 400


def from_database(error: psycopg.Error, *, anonymous: bool) -> RestError:
    """The client's answer for an error of the database."""
    if isinstance(error, PoolTimeout):
        message = "Timed out acquiring connection from connection pool."
        return RestError(504, "PGRST003", message)
    if error.sqlstate is None:
        # The server did not report this: the connection broke, or the value cannot be sent (a NUL).
        if isinstance(error, psycopg.DataError):
            return invalid_text()
        return RestError(503, "PGRST001", "Database client error. Retrying the connection.")
    message = error.diag.message_primary or ""
    return RestError(
        status_of(error.sqlstate, message, anonymous=anonymous),
        error.sqlstate,
        message,
        details=error.diag.message_detail,
        hint=error.diag.message_hint,
    )


def answer(error: Exception) -> Response:
    """Answer a failed request. Unexpected errors are logged, and the client gets no details."""
    if isinstance(error, RestError):
        return error.response()
    if isinstance(error, ClientDisconnect):
        return Response(status_code=499)  # the client is gone
    log.error("rest_request_failed", exc_info=error)
    return RestError(500, "PGRSTX00", "Internal Server Error").response()

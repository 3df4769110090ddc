"""PostgREST's error answers: codes, texts and statuses as in its version 16.

Clients branch on them. What PostgreSQL says is passed on as it is; its SQLSTATE decides the
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
    """A refusal, as it is answered."""

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
        self.headers = headers or {}

    def response(self) -> Response:
        """The answer with its body."""
        return Response(
            encode(self.body),
            self.status,
            {"Proxy-Status": f"PostgREST; error={self.code}", **self.headers},
            media_type=JSON_TYPE,
        )


def encode(value: Any) -> bytes:
    """JSON as PostgREST writes it: compact, UTF-8."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode(errors="replace")


def unparsable(what: str, text: str, column: int, details: str) -> RestError:
    """A parameter of the query string does not follow its grammar."""
    place = f'"failed to parse {what} ({text})" (line 1, column {column})'
    return RestError(400, "PGRST100", place, details=details)


def wrong_rpc_method(method: str) -> RestError:
    """Functions are called with GET, HEAD or POST."""
    return RestError(405, "PGRST101", f"Cannot use the {method} method on RPC")


def invalid_body(message: str) -> RestError:
    """The body is not what a function takes."""
    return RestError(400, "PGRST102", message)


def range_not_satisfiable(details: str, *, content_range: str | None = None) -> RestError:
    """The rows that were asked for cannot exist."""
    return RestError(
        416,
        "PGRST103",
        "Requested range not satisfiable",
        details=details,
        headers={"Content-Range": content_range} if content_range else {},
    )


def invalid_schema(name: str, exposed: Sequence[str]) -> RestError:
    """The profile header names a schema that is not exposed."""
    hint = f"Only the following schemas are exposed: {', '.join(exposed)}"
    return RestError(406, "PGRST106", f"Invalid schema: {name}", hint=hint)


def unknown_media_type(accepted: str) -> RestError:
    """Nothing that the Accept header names can be produced."""
    return RestError(406, "PGRST107", f"None of these media types are available: {accepted}")


def not_embedded(name: str) -> RestError:
    """A filter or an order concerns a table that is not embedded."""
    return RestError(
        400,
        "PGRST108",
        f"'{name}' is not an embedded resource in this request",
        hint=f"Verify that '{name}' is included in the 'select' query parameter.",
    )


def not_singular(rows: int) -> RestError:
    """One object was asked for, and there is none or more than one."""
    return RestError(
        406,
        "PGRST116",
        "Cannot coerce the result to a single JSON object",
        details=f"The result contains {rows} rows",
    )


def unsupported_method(method: str) -> RestError:
    """A method that tables do not have here: this Data API only reads them."""
    return RestError(
        405,
        "PGRST117",
        f"Unsupported HTTP method: {method}",
        hint="The embedded mode's Data API reads tables; write through a function or SQL.",
        headers={"Allow": "GET, HEAD"},
    )


def invalid_preferences(names: Sequence[str]) -> RestError:
    """With handling=strict an unknown preference is an error."""
    return RestError(
        400,
        "PGRST122",
        "Invalid preferences given with handling=strict",
        details=f"Invalid preferences: {', '.join(names)}",
    )


def aggregates_disabled() -> RestError:
    """Aggregates are off, as they are on Supabase unless switched on."""
    return RestError(400, "PGRST123", "Use of aggregate functions is not allowed")


def too_many_affected(rows: int) -> RestError:
    """The result has more rows than the max-affected preference allows."""
    return RestError(
        400,
        "PGRST124",
        "Query result exceeds max-affected preference constraint",
        details=f"The query affects {rows} rows",
    )


def invalid_path() -> RestError:
    """The path is neither a table's nor a function's."""
    return RestError(404, "PGRST125", "Invalid path specified in request URL")


def no_root() -> RestError:
    """There is no OpenAPI description here."""
    return RestError(404, "PGRST126", "Root endpoint metadata is disabled")


def max_affected_needs_set() -> RestError:
    """A max-affected preference makes no sense for a function that returns one value."""
    return RestError(
        400,
        "PGRST128",
        "Function must return SETOF or TABLE when max-affected preference is used with "
        "handling=strict",
    )


def no_relationship(schema: str, table: str, embedded: str) -> RestError:
    """Other tables cannot be embedded here."""
    return RestError(
        400,
        "PGRST200",
        f"Could not find a relationship between '{table}' and '{embedded}' in the schema cache",
        details=f"Searched for a foreign key relationship between '{table}' and '{embedded}' in "
        f"the schema '{schema}', but no matches were found.",
        hint="The embedded mode's Data API does not embed tables: ask for each by itself.",
    )


def no_function(
    name: str, arguments: Sequence[str], *, posted: bool, hint: str | None
) -> RestError:
    """No function of this name takes exactly these arguments."""
    listed = ", ".join(arguments)
    called = f"({listed})" if arguments else " without parameters"
    plural = "s" if len(arguments) > 1 else ""
    searched = f" with parameter{plural} {listed}" if arguments else called
    or_else = " or with a single unnamed json/jsonb parameter" if posted else ""
    return RestError(
        404,
        "PGRST202",
        f"Could not find the function {name}{called} in the schema cache",
        details=f"Searched for the function {name}{searched}{or_else}, but no matches were found "
        "in the schema cache.",
        hint=hint and f"Perhaps you meant to call the function {hint}",
    )


def ambiguous_function(signatures: Sequence[str]) -> RestError:
    """Several functions of this name take these arguments."""
    candidates = ", ".join(signatures)
    return RestError(
        300,
        "PGRST203",
        f"Could not choose the best candidate function between: {candidates}",
        hint="Try renaming the parameters or the function itself in the database so function "
        "overloading can be resolved",
    )


def no_table(schema: str, name: str, *, hint: str | None) -> RestError:
    """There is no such table or view in this schema."""
    return RestError(
        404,
        "PGRST205",
        f"Could not find the table '{schema}.{name}' in the schema cache",
        hint=hint and f"Perhaps you meant the table '{schema}.{hint}'",
    )


def invalid_token(code: str, message: str, *, details: str | None = None) -> RestError:
    """The token is not one (PGRST301) or its claims do not hold (PGRST303)."""
    challenge = f'Bearer error="invalid_token", error_description="{message}"'
    return RestError(401, code, message, details=details, headers={"WWW-Authenticate": challenge})


def query_too_long(limit: int) -> RestError:
    """What a gateway would refuse before PostgREST reads it."""
    return RestError(414, "PGRST100", f"The query string is over {limit} bytes")


def body_too_large(limit: int) -> RestError:
    """The same for a body."""
    return RestError(413, "PGRST102", f"The body is over {limit} bytes")


def invalid_text() -> RestError:
    """A text holds what PostgreSQL cannot store."""
    return RestError(400, "22021", 'invalid byte sequence for encoding "UTF8"')


#: By SQLSTATE, the longest prefix that fits; whatever is not here is the client's fault: 400.
_STATUSES: Final[Mapping[str, int]] = {
    "08": 503,
    "09": 500,
    "0L": 403,
    "0P": 403,
    "21000": 500,
    "23503": 409,
    "23505": 409,
    "25": 500,
    "25006": 405,
    "28": 403,
    "2D": 500,
    "38": 500,
    "39": 500,
    "3B": 500,
    "40": 500,
    "42883": 404,
    "42P01": 404,
    "42P17": 500,
    "53": 503,
    "53400": 500,
    "54": 500,
    "55": 500,
    "57": 500,
    "57P01": 503,
    "58": 500,
    "F0": 500,
    "HV": 500,
    "P0": 500,
    "P0001": 400,
    "XX": 500,
}


def status_of(sqlstate: str, message: str, *, anonymous: bool) -> int:
    """The HTTP status of a PostgreSQL error."""
    if sqlstate == "42501":
        return 401 if anonymous else 403
    if sqlstate.startswith("PT"):
        return _status_in(sqlstate)
    if sqlstate == "22023" and message.startswith("role") and message.endswith("does not exist"):
        return 401  # the role of a token
    found = _STATUSES.get(sqlstate) or _STATUSES.get(sqlstate[:2])
    return found or 400


def _status_in(sqlstate: str) -> int:
    """`raise sqlstate 'PT404'` answers 404."""
    digits = sqlstate[2:]
    is_status = digits.isascii() and digits.isdigit() and 200 <= int(digits) <= 599
    return int(digits) if is_status else 500


def from_database(error: psycopg.Error, *, anonymous: bool) -> RestError:
    """What a client is told about an error of the database."""
    if isinstance(error, PoolTimeout):
        message = "Timed out acquiring connection from connection pool."
        return RestError(504, "PGRST003", message)
    if error.sqlstate is None:
        # No server said it: the connection broke, or the value cannot be sent (a NUL in a text).
        if isinstance(error, psycopg.DataError):
            return invalid_text()
        return RestError(503, "PGRST001", "Database client error. Retrying the connection.")
    message = error.diag.message_primary or ""
    status = status_of(error.sqlstate, message, anonymous=anonymous)
    return RestError(
        status,
        error.sqlstate,
        message,
        details=error.diag.message_detail,
        hint=error.diag.message_hint,
        headers={"WWW-Authenticate": "Bearer"} if status == 401 else {},
    )


def answer(error: Exception) -> Response:
    """The answer to a request that failed. What was not foreseen is logged and told to nobody."""
    if isinstance(error, RestError):
        return error.response()
    if isinstance(error, ClientDisconnect):
        return Response(status_code=499)  # nobody reads it
    log.error("rest_request_failed", exc_info=error)
    return RestError(500, "PGRSTX00", "Internal Server Error").response()

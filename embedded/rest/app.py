"""Answers requests of the Data API: parse, look up, run as the caller, answer."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NoReturn
from urllib.parse import unquote_to_bytes

import psycopg
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from docmill.embedded.keys import ApiKeys
from docmill.embedded.part import Connection, Part
from docmill.embedded.rest import errors
from docmill.embedded.rest.catalog import Target, check_table, find_function
from docmill.embedded.rest.database import RestDatabase
from docmill.embedded.rest.query import Query, read_query
from docmill.embedded.rest.settings import RestSettings
from docmill.embedded.rest.statements import Page, call_function, read_table
from docmill.embedded.rest.tokens import Caller, identify
from docmill.worker.webhook.request_body import read_bounded

#: The allowed methods of a table or view, and of a function.
METHODS: Final = {"/{table}": ("GET", "HEAD"), "/rpc/{function}": ("POST",)}
#: More than any gateway in front of PostgREST accepts.
MAX_QUERY_BYTES: Final = 32 * 1024
#: An embedding of a few thousand numbers takes some tens of kilobytes.
MAX_BODY_BYTES: Final = 1024 * 1024

_JSON: Final = "application/json"
_OBJECT: Final = "application/vnd.pgrst.object+json"
#: Here every kind of count is exact. The other preferences do nothing in a request that writes
#: nothing.
_PREFERENCES: Final = re.compile(
    r"count=(exact|planned|estimated)|handling=(strict|lenient)|tx=commit"
    r"|return=(minimal|representation|headers-only)|missing=default"
)


def create_rest(settings: RestSettings, keys: ApiKeys) -> Part:
    """Make the Data API; it connects when it starts to run."""
    database = RestDatabase(settings)
    return Part(_Rest(settings, keys, database).serve, database.running)


@dataclass(frozen=True)
class _Asked:
    """A request, parsed as far as possible without the database."""

    target: Target
    query: Query
    accept: str  #: the one media type of the answer
    counted: bool
    body: str  #: a JSON object with the arguments of a function
    names: frozenset[str]  #: the names of its members


class _Rest:
    def __init__(self, settings: RestSettings, keys: ApiKeys, database: RestDatabase) -> None:
        self._settings = settings
        self._keys = keys
        self._database = database

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI app."""
        request = Request(scope, receive)
        try:
            response = await self._answer(request)
        except Exception as error:
            # Every error gets an answer; `answer` logs unexpected ones.
            response = errors.answer(error)
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        caller = identify(self._keys, request.headers)
        # Read it before taking a connection: a body may arrive slowly.
        asked = await _understand(request, self._settings.schemas)
        try:
            async with self._database.connection() as connection:
                return await self._run(connection, caller, request, asked)
        except psycopg.Error as error:
            raise errors.from_database(error, anonymous=caller.is_anonymous) from error

    async def _run(
        self, connection: Connection, caller: Caller, request: Request, asked: _Asked
    ) -> Response:
        target, single = asked.target, asked.accept == _OBJECT
        page = Page(asked.query, single, asked.counted, self._settings.max_rows)
        function = None
        if target.is_function:
            function = await find_function(connection, target, asked.names)
            statement = call_function(function, asked.body, asked.names, page)
        else:
            await check_table(connection, target)
            statement = read_table(target, page)
        await self._database.begin(
            connection,
            caller,
            _shown(request),
            schema=target.schema,
            read_only=function is None or function.changes_nothing,
        )
        row = await self._database.run(connection, statement)
        if single and row["page_rows"] != 1:
            raise errors.not_singular(row["page_rows"])  # rolls back
        status, content_range = _range(asked.query, row["page_rows"], row["total_rows"])
        headers = {"Content-Range": content_range}
        if function is not None and function.returns_void:
            return Response(status_code=204, headers=headers)
        media_type = f"{asked.accept}; charset=utf-8"
        return Response(row["body"], status, headers, media_type)


def _shown(request: Request) -> dict[str, str]:
    """The facts about the request that policies and functions may read."""
    shown = {name: value for name, value in request.headers.items() if name != "cookie"}
    return {
        "request.method": request.method,
        "request.path": _path(request),
        "request.headers": json.dumps(shown),
    }


def _range(query: Query, rows: int, total: int | None) -> tuple[int, str]:
    """Status and Content-Range. Raises RestError PGRST103 for an offset after the last row."""
    shown = f"{query.first}-{query.first + rows - 1}" if rows and total != 0 else "*"
    if total is None:
        return 200, f"{shown}/*"
    if query.first > total:
        details = f"An offset of {query.first} was requested, but there are only {total} rows."
        raise errors.range_not_satisfiable(details, total=total)
    return 206 if rows < total else 200, f"{shown}/{total}"


async def _understand(request: Request, schemas: Sequence[str]) -> _Asked:
    target = _target(request, schemas)
    query = read_query(_pairs(request.scope["query_string"]))
    return _Asked(
        target,
        query,
        _form(request.headers.get("accept", "*/*")),
        _is_counted(request.headers.getlist("prefer")),
        *(await _arguments(request) if target.is_function else ("{}", frozenset())),
    )


def _path(request: Request) -> str:
    path: str = request.scope["path"]
    return path.removeprefix(request.scope["root_path"])


def _target(request: Request, schemas: Sequence[str]) -> Target:
    segments = [_decode(part.encode("latin-1")) for part in _path(request).split("/")[1:]]
    is_function = len(segments) == 2 and segments[0] == "rpc"
    if segments in ([], [""]) or (len(segments) != 1 and not is_function):
        raise errors.invalid_path()
    posts = request.method not in {"GET", "HEAD"}
    schema = request.headers.get("content-profile" if posts else "accept-profile", schemas[0])
    if schema not in schemas:
        raise errors.invalid_schema(schema, schemas)
    allowed = METHODS["/rpc/{function}" if is_function else "/{table}"]
    if request.method not in allowed:
        raise errors.unsupported_method(request.method, allowed)
    return Target(schema, segments[-1], is_function)


def _pairs(query_string: bytes) -> list[tuple[str, str]]:
    """Names and values; a name without `=` is ignored."""
    if len(query_string) > MAX_QUERY_BYTES:
        raise errors.query_too_long(MAX_QUERY_BYTES)
    parts = [part.partition(b"=") for part in query_string.replace(b"+", b" ").split(b"&")]
    return [(_decode(name), _decode(value)) for name, equals, value in parts if equals]


def _decode(encoded: bytes) -> str:
    try:
        text = unquote_to_bytes(encoded).decode()
    except UnicodeDecodeError:
        raise errors.invalid_text() from None
    if "\0" in text:
        raise errors.invalid_text()
    return text


def _form(accept: str) -> str:
    """The first accepted media type that is supported. Raises RestError PGRST107."""
    for accepted in accept.lower().split(","):
        kind = accepted.strip()
        if kind == _OBJECT:
            return _OBJECT
        if kind.partition(";")[0] in {"*/*", _JSON}:
            return _JSON
    raise errors.unknown_media_type(accept)


def _is_counted(headers: Sequence[str]) -> bool:
    """Whether to count all rows. Raises RestError PGRST122 for an unknown preference if strict."""
    wishes = [wish.strip() for header in headers for wish in header.split(",")]
    unknown = [wish for wish in wishes if not _PREFERENCES.fullmatch(wish)]
    if unknown and "handling=strict" in wishes:
        raise errors.invalid_preferences(unknown)
    return any(wish.startswith("count=") for wish in wishes if wish not in unknown)


async def _arguments(request: Request) -> tuple[str, frozenset[str]]:
    """The posted object and its members. Raises RestError PGRST102 for any other body."""
    kind = request.headers.get("content-type", _JSON).partition(";")[0].strip()
    if kind.lower() != _JSON:
        raise errors.invalid_body(f"Content-Type not acceptable: {kind}")
    message = f"The body is over {MAX_BODY_BYTES} bytes"
    too_large = errors.invalid_body(message, status=413)
    body = await read_bounded(request, MAX_BODY_BYTES, too_large=too_large)
    try:
        text = body.decode() or "{}"
        parsed = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        parsed = None
    if not isinstance(parsed, dict):
        raise errors.invalid_body("Empty or invalid json")
    return text, frozenset(parsed)


def _refuse_constant(name: str) -> NoReturn:
    """Refuse NaN and Infinity, which Python's JSON reader accepts but JSON does not have."""
    raise ValueError(name)

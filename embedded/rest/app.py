"""Answers requests of the Data API: understand, look up, run as the caller, answer."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import quote

import psycopg
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from docmill.embedded.keys import ApiKeys
from docmill.embedded.part import Part
from docmill.embedded.rest import errors
from docmill.embedded.rest.arguments import Arguments, TextArguments, read_json
from docmill.embedded.rest.asked import Asked, read_request
from docmill.embedded.rest.catalog import Function, find_function, find_table
from docmill.embedded.rest.database import Connection, RestDatabase, request_settings
from docmill.embedded.rest.media import Media, negotiate
from docmill.embedded.rest.ranges import content_range, range_status
from docmill.embedded.rest.settings import RestSettings
from docmill.embedded.rest.statements import Page, call_function, plan_table, read_table
from docmill.embedded.rest.tokens import Caller, identify


def create_rest(settings: RestSettings, keys: ApiKeys) -> Part:
    """The Data API; it connects when it begins to run."""
    service = RestService(settings, keys)
    return Part(service.serve, service.running)


@dataclass(frozen=True)
class _Result:
    """What the database answered."""

    media: Media
    body: str
    rows: int  #: of this page
    total: int | None  #: of the whole, when it was to be counted
    is_void: bool = False  #: of a function that returns nothing


class RestService:
    """The parts of one running Data API."""

    def __init__(self, settings: RestSettings, keys: ApiKeys) -> None:
        self._settings = settings
        self._keys = keys
        self._database = RestDatabase(settings)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Connected to the database."""
        await self._database.open()
        try:
            yield
        finally:
            await self._database.close()

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI app."""
        request = Request(scope, receive)
        try:
            response = await self._answer(request)
        except Exception as error:
            # Every error has an answer; the unforeseen ones are logged there.
            response = errors.answer(error)
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        caller = identify(self._keys, request.headers)
        asked = read_request(
            request.method,
            request.scope["path"].removeprefix(request.scope["root_path"]),
            request.scope["query_string"],
            request.headers,
            self._settings.schemas,
        )
        # Before a connection is taken: a body may come slowly.
        arguments = await _arguments(request, asked)
        try:
            async with self._database.connection() as connection:
                work = _Work(self._database, connection, caller, asked, request)
                if arguments is None:
                    result = await work.read_table(self._settings.max_rows)
                else:
                    result = await work.call_function(arguments, self._settings.max_rows)
        except psycopg.Error as error:
            raise errors.from_database(error, anonymous=caller.is_anonymous) from error
        return _respond(asked, result)


async def _arguments(request: Request, asked: Asked) -> Arguments | None:
    if asked.target.kind == "table":
        return None
    return TextArguments(asked.query.arguments) if asked.reads else await read_json(request)


@dataclass(frozen=True)
class _Work:
    """One request on its connection."""

    database: RestDatabase
    connection: Connection
    caller: Caller
    asked: Asked
    request: Request

    async def read_table(self, max_rows: int) -> _Result:
        """A page of a table, and how many rows there are if that is wanted."""
        table = await find_table(self.connection, self.asked.target)
        page = self._page(max_rows, counts=self.asked.preferences.count)
        await self._begin(read_only=True)
        row = await self.database.run(self.connection, read_table(table, page))
        rows, total = row["page_rows"], row["total_rows"]
        self._check(page.media, rows)
        if page.count == "planned" or (page.count == "estimated" and total > max_rows):
            plan = await self.database.run(self.connection, plan_table(table, page))
            total = max(total or 0, plan["QUERY PLAN"][0]["Plan"]["Plan Rows"])
        return _Result(page.media, row["body"], rows, total)

    async def call_function(self, arguments: Arguments, max_rows: int) -> _Result:
        """What a function returns; read only unless it is posted to and may change something."""
        function = await find_function(
            self.connection, self.asked.target, arguments.names, posted=not self.asked.reads
        )
        # The planner knows nothing of functions: an estimate is a count, a plan is no number.
        counts = self.asked.preferences.count
        page = self._page(max_rows, counts="exact" if counts == "estimated" else counts)
        limit = self._affected_limit(function)
        await self._begin(
            read_only=self.asked.reads or function.changes_nothing,
            function_settings=function.settings,
        )
        statement = call_function(function, arguments, page)
        row = await self.database.run(self.connection, statement)
        self._check(page.media, row["page_rows"], limit)
        return _Result(
            page.media, row["body"], row["page_rows"], row["total_rows"], function.returns_void
        )

    def _page(self, max_rows: int, *, counts: str | None) -> Page:
        media = negotiate(self.request.headers.get("accept"))
        preferences = self.asked.preferences
        if preferences.strict and preferences.unknown:
            raise errors.invalid_preferences(preferences.unknown)
        with_body = self.asked.method != "HEAD"
        return Page(self.asked.query, self.asked.range, media, counts, max_rows, with_body)

    def _affected_limit(self, function: Function) -> int | None:
        preferences = self.asked.preferences
        if preferences.max_affected is None or not preferences.strict:
            return None
        if not function.returns_set:
            raise errors.max_affected_needs_set()
        return preferences.max_affected

    async def _begin(self, *, read_only: bool, function_settings: Sequence[str] = ()) -> None:
        request, asked = self.request, self.asked
        await self.database.begin(
            self.connection,
            self.caller,
            request_settings(asked, request.headers, request.cookies),
            schema=asked.target.schema,
            read_only=read_only,
            function_settings=function_settings,
        )

    def _check(self, media: Media, rows: int, limit: int | None = None) -> None:
        """Refuse, hence roll back, what is not the one row or the few rows that were wanted."""
        if media.single and rows != 1:
            raise errors.not_singular(rows)
        if limit is not None and rows > limit:
            raise errors.too_many_affected(rows)


def _respond(asked: Asked, result: _Result) -> Response:
    status = range_status(asked.range, result.rows, result.total)
    to_function = asked.target.kind == "function"
    headers = {
        "Content-Range": content_range(asked.range, result.rows, result.total),
        "Vary": "Accept, Prefer, Range",
    }
    applied = asked.preferences.applied(to_function=to_function)
    if applied:
        headers["Preference-Applied"] = applied
    if result.is_void:
        return Response(status_code=204, headers=headers)
    headers["Content-Profile"] = asked.target.schema
    if not to_function:
        headers["Content-Location"] = _location(asked)
    response = Response(result.body, status, headers, media_type=result.media.content_type)
    if asked.method == "HEAD":
        del response.headers["content-length"]
    return response


def _location(asked: Asked) -> str:
    query = asked.query.canonical
    return f"/{quote(asked.target.name)}{'?' + query if query else ''}"

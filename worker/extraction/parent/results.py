"""Reads the lines of a child, and trusts none of them.

A parser that a document has taken over may write anything: every line is checked for its shape,
its sizes and its place in the order before it becomes an element.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NoReturn

from docmill.worker.errors import DocmillError
from docmill.worker.extraction.shared import profiles
from docmill.worker.extraction.shared.parts import Bounds, PageEnd, Summary, windows_between
from docmill.worker.extraction.shared.protocol import (
    CATEGORIES,
    MAX_CHUNK_CHARACTERS,
    MAX_CHUNK_LINKS,
    MAX_CONTEXT_BYTES,
    MAX_ELEMENT_CHARACTERS,
    MAX_FORMULAS,
    MAX_HEADING_CHARACTERS,
    MAX_HEADINGS,
    MAX_LINE_BYTES,
    MAX_LINKS_CHARACTERS,
    MAX_NAME_CHARACTERS,
    MAX_PAGES,
    MAX_STATE_CHARACTERS,
    MAX_WINDOWS,
    METADATA_LIMITS,
)
from docmill.worker.extraction.shared.sanitize import sanitize
from docmill.worker.models import Chunk, Element

#: The errors that a child may report. It cannot know how it was ended itself.
CHILD_CODES = frozenset(
    {
        "archive_too_large",
        "corrupt",
        "document_too_large",
        "empty_document",
        "encrypted",
        "internal_error",
        "no_space",
        # Only for a program that it ran: a child cannot know how it was ended itself.
        "parse_memory",
        "parse_timeout",
        "unsupported_type",
    }
)
_MAX_DEPTH = 100
_MAX_PLACE = 2**40
_MAX_TITLE_CHARACTERS = 300
#: The form of the state that a child packs for the next one: base64.
_STATE = re.compile(r"[A-Za-z0-9+/]*={0,2}")
_MEDIA_TYPE = re.compile(r"[a-z]+/[a-z0-9.+-]{1,100}")
#: The characters that are removed from a detail. Names of types and numbers remain, but no path and
#: no key.
_NOT_IN_DETAIL = re.compile(r"[^A-Za-z0-9 _.,:-]|[A-Za-z0-9_-]{40,}")
_MAX_DETAIL_CHARACTERS = 120


class MalformedResultError(DocmillError):
    """A child wrote something that docmill's own code never writes."""


@dataclass(frozen=True)
class Header:
    """Facts about a document that come before its elements."""

    mime_type: str
    page_count: int | None
    title: str | None
    starts: tuple[int, ...] = ()  #: where its windows begin; empty: the document is read in one go
    context: str = ""  #: only for the children that read the other windows

    @property
    def windows(self) -> list[Bounds]:
        """Where the windows after the first begin and end."""
        return windows_between(self.starts)[1:]


@dataclass(frozen=True)
class Failure:
    """The last line of a child that could not read the document."""

    code: str
    detail: str


@dataclass(frozen=True)
class Wanted:
    """The only line of a child if another kind of child must read the document."""

    profile: str
    media_type: str


@dataclass(frozen=True)
class End:
    """The last line of a child that has read the document."""


Item = Header | Element | PageEnd | Chunk | Summary | Failure | Wanted | End


class ResultLines:
    """Turns the bytes of one child into items, and checks their order."""

    def __init__(self, header: Header | None = None) -> None:
        """`header` is given for children that write none."""
        self._rest = b""
        self._header = header
        self._last_page = 0
        self._ended = False

    @property
    def ended(self) -> bool:
        """Whether the last line has arrived."""
        return self._ended

    def feed(self, data: bytes) -> Iterator[Item]:
        """Items of the lines that are now complete. Raises MalformedResultError."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            yield self._item(line)
        if len(self._rest) > MAX_LINE_BYTES or (self._ended and self._rest):
            _refuse("overlong line")

    def _item(self, line: bytes) -> Item:
        if self._ended or len(line) > MAX_LINE_BYTES:
            _refuse("line after the end, or overlong")
        item = self._parsed(_object(line))
        if isinstance(item, Failure | Wanted | End):
            self._ended = True
        return item

    def _parsed(self, message: dict[str, Any]) -> Item:
        kind = next(iter(message), "")
        if kind == "error" and len(message) == 1:
            return _failure(_mapping(message["error"]))
        if kind == "header" and len(message) == 1 and self._header is None:
            self._header = _header(_mapping(message["header"]))
            return self._header
        if kind == "wanted" and len(message) == 1 and self._header is None:
            return _wanted(_mapping(message["wanted"]))
        if self._header is None:
            _refuse("no header yet")
        return self._body_item(kind, message, self._header)

    def _body_item(self, kind: str, message: dict[str, Any], header: Header) -> Item:
        if kind == "element" and len(message) == 1:
            return _element(_mapping(message["element"]))
        if kind == "chunk" and len(message) == 1:
            return _chunk(_mapping(message["chunk"]))
        if kind == "summary" and len(message) == 1:
            return _summary(_mapping(message["summary"]))
        if message.keys() - {"problem", "uncomputed"} == {"page", "read"}:
            return self._page_end(message, header)
        if message != {"end": True}:
            _refuse("unknown line")
        return End()

    def _page_end(self, message: dict[str, Any], header: Header) -> PageEnd:
        page = _integer(message["page"], self._last_page + 1, header.page_count or 0)
        read = message["read"]
        if not isinstance(read, bool):
            _refuse("page")
        self._last_page = page
        problem = _text(message.get("problem", ""), MAX_LINE_BYTES)
        uncomputed = _integer(message.get("uncomputed", 0), 0, MAX_FORMULAS)
        return PageEnd(page, read, _without_secrets(problem), uncomputed)


def _without_secrets(detail: str) -> str:
    return _NOT_IN_DETAIL.sub("", detail)[:_MAX_DETAIL_CHARACTERS]


def _refuse(why: str) -> NoReturn:
    raise MalformedResultError(why)


def _object(line: bytes) -> dict[str, Any]:
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        _refuse("not JSON")
    if not isinstance(message, dict):
        _refuse("not an object")
    return message


def _mapping(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        _refuse("not an object")
    return value


def _header(body: dict[str, Any]) -> Header:
    _keys(body, {"mime_type", "page_count", "title", "starts", "context"})
    mime_type = _text(body["mime_type"], MAX_NAME_CHARACTERS)
    if not _MEDIA_TYPE.fullmatch(mime_type):
        _refuse("media type")
    count, title = body["page_count"], body["title"]
    return Header(
        mime_type=mime_type,
        page_count=None if count is None else _integer(count, 0, MAX_PAGES),
        title=None if title is None else _text(title, MAX_NAME_CHARACTERS),
        starts=_starts(body["starts"]),
        context=_context(body["context"]),
    )


def _starts(value: object) -> tuple[int, ...]:
    if not isinstance(value, list) or len(value) > MAX_WINDOWS:
        _refuse("starts")
    starts = tuple(_integer(start, 0, _MAX_PLACE) for start in value)
    if any(later <= earlier for earlier, later in pairwise(starts)):
        _refuse("starts")
    return starts


def _context(value: object) -> str:
    if not isinstance(value, str) or len(value.encode(errors="ignore")) > MAX_CONTEXT_BYTES:
        _refuse("context")
    return sanitize(value)


def _element(body: dict[str, Any]) -> Element:
    _keys(body, {"category", "text", "page", "depth", "metadata"})
    if not isinstance(body["category"], str) or body["category"] not in CATEGORIES:
        _refuse("category")
    page, depth = body["page"], body["depth"]
    return Element(
        category=body["category"],
        text=_text(body["text"], MAX_ELEMENT_CHARACTERS),
        page=None if page is None else _integer(page, 1, MAX_PAGES),
        depth=None if depth is None else _integer(depth, 0, _MAX_DEPTH),
        metadata=_metadata(body["metadata"]),
    )


def _metadata(value: object) -> dict[str, Any]:
    if not isinstance(value, dict) or not value.keys() <= METADATA_LIMITS.keys():
        _refuse("metadata")
    return {name: _text(item, METADATA_LIMITS[name]) for name, item in value.items()}


def _chunk(body: dict[str, Any]) -> Chunk:
    _keys(body, {"content", "headings", "page_start", "page_end", "token_count", "metadata"})
    start, end = body["page_start"], body["page_end"]
    if (start is None) != (end is None):
        _refuse("pages")
    content = _text(body["content"], MAX_CHUNK_CHARACTERS)
    if not content.strip():
        _refuse("text")
    return Chunk(
        ordinal=0,
        content=content,
        headings=tuple(_texts(body["headings"], MAX_HEADINGS, MAX_HEADING_CHARACTERS)),
        page_start=None if start is None else _integer(start, 1, MAX_PAGES),
        page_end=None if end is None else _integer(end, start, MAX_PAGES),
        # No vocabulary has an empty token; at worst each byte is a token.
        token_count=_integer(body["token_count"], 1, 8 * MAX_CHUNK_CHARACTERS),
        metadata=_chunk_metadata(body["metadata"]),
    )


def _chunk_metadata(value: object) -> dict[str, Any]:
    body = _mapping(value)
    found: dict[str, Any] = {}
    if "category" in body:
        if body["category"] != "Table":
            _refuse("metadata")
        found["category"] = "Table"
    if "links" in body:
        found["links"] = _texts(body["links"], MAX_CHUNK_LINKS, MAX_LINKS_CHARACTERS)
    _keys(body, set(found))
    return found


def _summary(body: dict[str, Any]) -> Summary:
    _keys(body, {"title", "hidden_characters", "state"})
    title, state = body["title"], _text(body["state"], MAX_STATE_CHARACTERS)
    if not _STATE.fullmatch(state):
        _refuse("state")
    return Summary(
        title=None if title is None else _text(title, _MAX_TITLE_CHARACTERS),
        hidden_characters=_integer(body["hidden_characters"], 0, _MAX_PLACE),
        state=state,
    )


def _texts(value: object, most: int, characters: int) -> list[str]:
    if not isinstance(value, list) or len(value) > most:
        _refuse("list")
    return [_text(item, characters) for item in value]


def _wanted(body: dict[str, Any]) -> Wanted:
    _keys(body, {"profile", "mime_type"})
    profile, media_type = body["profile"], body["mime_type"]
    if not isinstance(media_type, str) or not profiles.is_wanted(profile, media_type):
        _refuse("profile")
    return Wanted(profile, media_type)


def _failure(body: dict[str, Any]) -> Failure:
    _keys(body, {"code", "detail"})
    if not isinstance(body["code"], str) or body["code"] not in CHILD_CODES:
        _refuse("code")
    detail = _text(body["detail"], MAX_LINE_BYTES)
    if not _MEDIA_TYPE.fullmatch(detail):
        detail = _without_secrets(detail)
    return Failure(body["code"], detail)


def _keys(body: dict[str, Any], expected: set[str]) -> None:
    if body.keys() != expected:
        _refuse("fields")


def _text(value: object, limit: int) -> str:
    if not isinstance(value, str) or len(value) > limit:
        _refuse("text")
    return sanitize(value)


def _integer(value: object, least: int, most: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        _refuse("number")
    return value

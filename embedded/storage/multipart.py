"""A multipart body read as a stream: the fields before the file, then the file.

Storage reads no further than the first file, so fields after it are never seen.
"""

from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Final

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from docmill.embedded.storage.errors import invalid_request, too_large

MAX_FIELDS: Final = 10
MAX_FIELD_BYTES: Final = 1024 * 1024


@dataclass
class _Part:
    """One part whose headers are known."""

    name: str
    is_file: bool
    content_type: str
    data: deque[bytes] = field(default_factory=deque)
    ended: bool = False


class _Parts:
    """Turns the parser's callbacks into parts."""

    def __init__(self, boundary: bytes) -> None:
        self.parts: deque[_Part] = deque()
        self._headers: dict[bytes, bytes] = {}
        self._name = self._value = b""
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._headers.clear,
                "on_part_data": self._part_data,
                "on_part_end": self._part_end,
                "on_header_field": self._header_field,
                "on_header_value": self._header_value,
                "on_header_end": self._header_end,
                "on_headers_finished": self._headers_finished,
            },
        )

    def feed(self, chunk: bytes) -> None:
        """Take in the next bytes. Raises InvalidRequest when they are no multipart body."""
        try:
            self._parser.write(chunk)
        except FormParserError:
            raise invalid_request("Malformed multipart body") from None

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        self._headers[self._name.lower()] = self._value
        self._name = self._value = b""

    def _headers_finished(self) -> None:
        _, disposition = parse_options_header(self._headers.get(b"content-disposition"))
        content_type, _ = parse_options_header(self._headers.get(b"content-type"))
        self.parts.append(
            _Part(
                disposition.get(b"name", b"").decode("latin-1"),
                b"filename" in disposition or content_type == b"application/octet-stream",
                content_type.decode("latin-1") or "text/plain",
            )
        )

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        self.parts[-1].data.append(data[start:end])

    def _part_end(self) -> None:
        self.parts[-1].ended = True


@dataclass(frozen=True)
class Form:
    """The fields that came before the file, and the file."""

    fields: dict[str, str]
    content_type: str  #: of the file's part, without parameters
    chunks: AsyncIterator[bytes]


async def read_form(content_type: str, stream: AsyncIterator[bytes]) -> Form:
    """Read up to the file. Raises InvalidRequest when there is none.

    At most MAX_FIELDS fields of MAX_FIELD_BYTES are kept, and nothing else.
    """
    _, options = parse_options_header(content_type)
    if b"boundary" not in options:
        raise invalid_request("Multipart: Boundary not found")
    try:
        parts = _Parts(options[b"boundary"])
    except FormParserError:
        raise invalid_request("Malformed multipart body") from None
    fields: dict[str, str] = {}
    async for chunk in stream:
        parts.feed(chunk)
        while parts.parts:
            part = parts.parts[0]
            if part.is_file:
                return Form(fields, part.content_type, _file_chunks(parts, part, stream))
            _check_field(part, fields)
            if not part.ended:
                break
            fields[part.name] = b"".join(part.data).decode(errors="replace")
            parts.parts.popleft()
    raise invalid_request("No content provided")


def _check_field(part: _Part, fields: dict[str, str]) -> None:
    if sum(map(len, part.data)) > MAX_FIELD_BYTES:
        raise too_large("user_metadata")
    if len(fields) >= MAX_FIELDS:
        raise invalid_request("reach fields limit")


async def _file_chunks(
    parts: _Parts, part: _Part, stream: AsyncIterator[bytes]
) -> AsyncIterator[bytes]:
    while True:
        while part.data:
            yield part.data.popleft()
        if part.ended:
            return
        chunk = await anext(stream, None)
        if chunk is None:
            raise invalid_request("Unexpected end of multipart data")
        parts.feed(chunk)

"""The lines that a child writes, and that are kept of it: see results for how they are read."""

import zlib
from collections.abc import Iterator
from dataclasses import asdict

from docmill.worker.extraction.kinds.base import PageEnd, ReadPart
from docmill.worker.extraction.protocol import encode
from docmill.worker.extraction.results import Header, Item, ResultLines
from docmill.worker.models import Element, JsonObject

_BLOCK_BYTES = 256 * 1024
END = encode({"end": True}) + b"\n"


def header_line(header: JsonObject) -> bytes:
    """What is known of a document, or of a window of it, before its elements."""
    return encode({"header": header}) + b"\n"


def part_line(part: ReadPart) -> bytes:
    """An element, or the end of a page."""
    if isinstance(part, PageEnd):
        return encode({"page": part.number, "read": part.has_text}) + b"\n"
    element = {
        "category": part.category,
        "text": part.text,
        "page": part.page,
        "depth": part.depth,
        "metadata": part.metadata,
    }
    return encode({"element": element}) + b"\n"


class Record:
    """What a child said of one window, for a run that need not read it again: its lines, packed."""

    def __init__(self, header: Header) -> None:
        self._packer = zlib.compressobj(level=1)
        self._packed = bytearray(self._packer.compress(header_line(asdict(header))))

    @property
    def size(self) -> int:
        """Bytes so far."""
        return len(self._packed)

    def add(self, part: ReadPart) -> None:
        """Note the next part."""
        self._packed += self._packer.compress(part_line(part))

    def content(self) -> bytes:
        """All of it, once the window is read to its end."""
        self._packed += self._packer.compress(END)
        return bytes(self._packed + self._packer.flush())


def replayed(content: bytes) -> tuple[Header, Iterator[ReadPart]]:
    """The header and the parts of a record."""
    items = _items(content)
    header = next(items)
    assert isinstance(header, Header)
    return header, (item for item in items if isinstance(item, Element | PageEnd))


def _items(content: bytes) -> Iterator[Item]:
    unpacker, lines = zlib.decompressobj(), ResultLines()
    data = unpacker.decompress(content, _BLOCK_BYTES)
    while data:
        yield from lines.feed(data)
        data = unpacker.decompress(unpacker.unconsumed_tail, _BLOCK_BYTES)

"""The lines of a window, packed for later runs, which then need not read the window again."""

import zlib
from collections.abc import Iterator
from dataclasses import asdict

from docmill.worker.extraction.parent.results import Header, Item, ResultLines
from docmill.worker.extraction.shared.lines import END, header_line, part_line
from docmill.worker.extraction.shared.parts import PageEnd, Summary, WindowPart
from docmill.worker.models import Chunk, Element

_BLOCK_BYTES = 256 * 1024


class Record:
    """The lines of one window, packed as they come."""

    def __init__(self, header: Header) -> None:
        self._packer = zlib.compressobj(level=1)
        self._packed = bytearray(self._packer.compress(header_line(asdict(header))))

    @property
    def size(self) -> int:
        """Bytes so far."""
        return len(self._packed)

    def add(self, part: WindowPart) -> None:
        """Note the next part."""
        self._packed += self._packer.compress(part_line(part))

    def content(self) -> bytes:
        """The whole record, after the window was read to its end."""
        self._packed += self._packer.compress(END)
        return bytes(self._packed + self._packer.flush())


def replayed(content: bytes) -> tuple[Header, Iterator[WindowPart]]:
    """The header and the parts of a record."""
    items = _items(content)
    header = next(items)
    assert isinstance(header, Header)
    return header, (item for item in items if isinstance(item, Element | PageEnd | Chunk | Summary))


def _items(content: bytes) -> Iterator[Item]:
    unpacker, lines = zlib.decompressobj(), ResultLines()
    data = unpacker.decompress(content, _BLOCK_BYTES)
    while data:
        yield from lines.feed(data)
        data = unpacker.decompress(unpacker.unconsumed_tail, _BLOCK_BYTES)

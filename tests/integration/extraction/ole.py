"""Writes the container of old Office files and Outlook messages in its smallest form."""

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

Storage: TypeAlias = "Mapping[str, Content]"
Content: TypeAlias = "bytes | Storage"

_SECTOR, _SMALL_SECTOR = 512, 64
#: Shorter streams are in small sectors, which together form the root's stream.
_CUTOFF = 4096
_FREE, _END, _FAT = 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD
_STORAGE, _STREAM, _ROOT = 1, 2, 5
#: Tags of properties: the meaning, then 1F for text or 02 for bytes.
_SUBJECT, _BODY, _FILE_NAME, _FILE_BYTES = 0x0037001F, 0x1000001F, 0x3707001F, 0x37010102


@dataclass
class _Entry:
    name: str
    kind: int
    data: bytes = b""
    child: int = _FREE
    left: int = _FREE
    right: int = _FREE
    start: int = _END


@dataclass
class _Directory:
    entries: list[_Entry] = field(default_factory=list)

    def add(self, name: str, kind: int, content: "Content") -> int:
        entry = _Entry(name, kind)
        self.entries.append(entry)
        number = len(self.entries) - 1
        if isinstance(content, bytes):
            entry.data = content
            return number
        ordered = sorted(content.items(), key=lambda item: (len(item[0]), item[0]))
        entry.child = self._tree(
            [
                self.add(inner, _STREAM if isinstance(value, bytes) else _STORAGE, value)
                for inner, value in ordered
            ]
        )
        return number

    def _tree(self, numbers: list[int]) -> int:
        """Make a balanced tree of these entries, as Office does; returns its root."""
        if not numbers:
            return _FREE
        middle = len(numbers) // 2
        entry = self.entries[numbers[middle]]
        entry.left, entry.right = (
            self._tree(part) for part in (numbers[:middle], numbers[middle + 1 :])
        )
        return numbers[middle]


class _Sectors:
    """Data in sectors of one size, and the table that chains them."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.data = bytearray()
        self.chain: list[int] = []

    def store(self, data: bytes) -> int:
        """The number of the first sector; none if there is no data."""
        if not data:
            return _END
        start = len(self.chain)
        count = -(-len(data) // self.size)
        self.data += data.ljust(count * self.size, b"\0")
        self.chain += [*range(start + 1, start + count), _END]
        return start

    def table(self) -> bytes:
        """The chain as it is stored."""
        return struct.pack(f"<{len(self.chain)}I", *self.chain)


def make_ole(content: Storage) -> bytes:
    """A compound file with these streams and storages."""
    directory = _Directory()
    directory.add("Root Entry", _ROOT, content)
    sectors, small = _Sectors(_SECTOR), _Sectors(_SMALL_SECTOR)
    for entry in directory.entries:
        entry.start = (sectors if len(entry.data) >= _CUTOFF else small).store(entry.data)
    root = directory.entries[0]
    root.data = bytes(small.data)
    root.start = sectors.store(root.data)
    small_start = sectors.store(small.table())
    small_count = -(-4 * len(small.chain) // _SECTOR)
    directory_start = sectors.store(b"".join(map(_packed, directory.entries)))
    count = 1
    while count * _SECTOR // 4 < len(sectors.chain) + count:
        count += 1
    tables = [*range(len(sectors.chain), len(sectors.chain) + count)]
    sectors.chain += [_FAT] * count
    header = (
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
        + bytes(16)
        + struct.pack("<5H6x", 0x3E, 3, 0xFFFE, 9, 6)
        + struct.pack("<5I", 0, count, directory_start, 0, _CUTOFF)
        + struct.pack("<4I", small_start, small_count, _END, 0)
        + struct.pack("<109I", *tables, *[_FREE] * (109 - count))
    )
    return header + bytes(sectors.data) + sectors.table().ljust(count * _SECTOR, b"\xff")


def _packed(entry: _Entry) -> bytes:
    name = entry.name.encode("utf-16-le") + b"\0\0"
    return (
        name.ljust(64, b"\0")
        + struct.pack("<HBB", len(name), entry.kind, 1)
        + struct.pack("<3I", entry.left, entry.right, entry.child)
        + bytes(36)
        + struct.pack("<IQ", entry.start, len(entry.data))
    )


def make_xls(sheets: Mapping[str, list[list[str | float]]], number_format: str = "") -> bytes:
    """A workbook of Excel 97 (BIFF8). The format is that of all cells."""
    bof = _record(0x809, struct.pack("<4H2I", 0x600, 5, 0, 0, 0, 0))
    if number_format:
        code = number_format.encode("utf-16-le")
        bof += _record(0x31, struct.pack("<5HBBBxBB", 200, 0, 8, 400, 0, 0, 0, 0, 1, 1) + b"\0\0")
        bof += _record(0x41E, struct.pack("<HHB", 164, len(number_format), 1) + code)
        bof += _record(0xE0, struct.pack("<2H", 0, 164) + bytes(16))
    bodies = [_sheet(rows) for rows in sheets.values()]
    names = [name.encode("utf-16-le") for name in sheets]
    position = len(bof) + sum(4 + 8 + len(name) for name in names) + 4
    listed = b""
    for name, body in zip(names, bodies, strict=True):
        listed += _record(0x85, struct.pack("<IHBB", position, 0, len(name) // 2, 1) + name)
        position += len(body)
    return make_ole({"Workbook": bof + listed + _record(0x0A, b"") + b"".join(bodies)})


def _sheet(rows: list[list[str | float]]) -> bytes:
    cells = b""
    for row_number, row in enumerate(rows):
        for column, value in enumerate(row):
            place = struct.pack("<3H", row_number, column, 0)
            if isinstance(value, str):
                text = value.encode("utf-16-le")
                cells += _record(0x204, place + struct.pack("<HB", len(value), 1) + text)
            else:
                cells += _record(0x203, place + struct.pack("<d", value))
    bof = _record(0x809, struct.pack("<4H2I", 0x600, 0x10, 0, 0, 0, 0))
    return bof + cells + _record(0x0A, b"")


def _record(number: int, data: bytes) -> bytes:
    return struct.pack("<HH", number, len(data)) + data


def make_msg(subject: str, body: str, attachments: Mapping[str, bytes]) -> bytes:
    """A message of Outlook with attachments."""
    count = len(attachments)
    header = bytes(8) + struct.pack("<4I8x", 0, count, 0, count)
    texts: dict[int, bytes] = {
        _SUBJECT: subject.encode("utf-16-le"),
        _BODY: body.encode("utf-16-le"),
    }
    storages = {
        f"__attach_version1.0_#{number:08X}": properties(
            bytes(8), {_FILE_NAME: name.encode("utf-16-le"), _FILE_BYTES: data}
        )
        for number, (name, data) in enumerate(attachments.items())
    }
    return make_ole({**properties(header, texts), **storages})


def properties(header: bytes, values: Mapping[int, bytes | int]) -> dict[str, Content]:
    """The list of an object's properties, and a stream for each that is not a number."""
    listed = b"".join(
        struct.pack("<IIQ", tag, 6, value if isinstance(value, int) else len(value))
        for tag, value in values.items()
    )
    streams = {
        f"__substg1.0_{tag:08X}": value for tag, value in values.items() if isinstance(value, bytes)
    }
    return {"__properties_version1.0": header + listed, **streams}

"""Reads binary workbooks of Excel (XLSB) as they are shown: [MS-XLSB], record by record."""

import struct
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain, takewhile
from typing import Final

from openpyxl.styles.numbers import BUILTIN_FORMATS

from docmill.worker.errors import JobError
from docmill.worker.extraction.child.kinds.ooxml.cells import (
    MAX_COLUMNS,
    MAX_FILLED_COLUMNS,
    MAX_MERGED,
    MAX_ROWS,
    Book,
    Cells,
    Merged,
    NumberedRow,
    filled,
    without_columns,
)
from docmill.worker.extraction.child.kinds.ooxml.package import targets_of
from docmill.worker.extraction.child.kinds.tables import Figure

#: The numbers of the records that are read.
_ROW, _RK, _ERROR, _BOOLEAN, _REAL, _TEXT, _SHARED = 0, 2, 3, 4, 5, 6, 7
_FORMULA_TEXT, _FORMULA_REAL, _FORMULA_BOOLEAN, _FORMULA_ERROR = 8, 9, 10, 11
_STRING, _FORMAT, _STYLE, _COLUMNS = 19, 44, 47, 60
_ROWS, _END_OF_ROWS, _WORKBOOK, _SHEET, _FILTER_COLUMN, _MERGED = 145, 146, 153, 156, 163, 176
_STYLES, _END_OF_STYLES = 617, 618
_LISTS = 660  # tables, whose filters hide rows
_VISIBLE = 0
#: A byte from here on says that another byte of the number follows; a size has four at most.
_GROUP, _SIZE_BITS = 0x80, 28
_ERRORS = {
    0x00: "#NULL!",
    0x07: "#DIV/0!",
    0x0F: "#VALUE!",
    0x17: "#REF!",
    0x1D: "#NAME?",
    0x24: "#NUM!",
    0x2A: "#N/A",
    0x2B: "#GETTING_DATA",
}
_PLACE: Final = struct.Struct("<II")
_NUMBER: Final = struct.Struct("<I")
_DOUBLE: Final = struct.Struct("<d")
_FOUR: Final = struct.Struct("<IIII")

Record = tuple[int, int, int]  #: kind, and where its data begins and ends


@dataclass(frozen=True)
class BinarySheet:
    """A sheet of a workbook: its name, whether it is shown, and the path of its part."""

    name: str
    is_visible: bool
    path: str


def sheets_of(package: zipfile.ZipFile) -> list[BinarySheet]:
    """The sheets of a workbook in their order. Raises JobError."""
    path = _main_part(package)
    targets = targets_of(package, path)
    data = package.read(path)
    found = []
    for kind, start, _end in _records(data):
        if kind == _SHEET:
            relation, place = _wide(data, start + 8)
            name, _place = _wide(data, place)
            visible = _NUMBER.unpack_from(data, start)[0] == _VISIBLE
            found.append(BinarySheet(name, visible, targets.get(relation, "")))
    return found


def _main_part(package: zipfile.ZipFile) -> str:
    for target in targets_of(package, "").values():
        if target.lower().endswith("workbook.bin"):
            return target
    raise JobError("corrupt", "XLSB without a workbook")


def binary_book(package: zipfile.ZipFile) -> Book:
    """Data that the sheets of a workbook share."""
    path = _main_part(package)
    targets = targets_of(package, path).values()
    parts = {target.rpartition("/")[2].lower(): target for target in targets}
    shared = _part(package, parts.get("sharedstrings.bin"))
    styles = _part(package, parts.get("styles.bin"))
    strings = [
        _wide(shared, start + 1)[0] for kind, start, _end in _records(shared) if kind == _STRING
    ]
    return Book(strings, list(_codes(styles)), from_1904=_is_from_1904(package.read(path)))


def _is_from_1904(workbook: bytes) -> bool:
    facts = (workbook[start] for kind, start, _end in _records(workbook) if kind == _WORKBOOK)
    return bool(next(facts, 0) & 1)


def _part(package: zipfile.ZipFile, path: str | None) -> bytes:
    try:
        return package.read(path) if path is not None else b""
    except KeyError:
        return b""


def _codes(styles: bytes) -> Iterator[tuple[str | None, int]]:
    """The number format of each style of cells, and its number."""
    own: dict[int, str] = {}
    is_of_cells = False
    for kind, start, _end in _records(styles):
        if kind == _FORMAT:
            own[int.from_bytes(styles[start : start + 2], "little")] = _wide(styles, start + 2)[0]
        elif kind in (_STYLES, _END_OF_STYLES):
            is_of_cells = kind == _STYLES
        elif kind == _STYLE and is_of_cells:
            number = int.from_bytes(styles[start + 2 : start + 4], "little")
            yield own.get(number, BUILTIN_FORMATS.get(number)), number


def rows_of_binary(data: bytes, book: Book) -> Iterator[NumberedRow]:
    """The rows of a sheet with content, as they are shown. Raises struct.error if it is broken."""
    merged, hidden, has_filter = _facts(data)
    rows = filled(_rows(data, book, has_filter=has_filter), merged)
    return without_columns(rows, hidden)


def _facts(data: bytes) -> tuple[list[Merged], set[int], bool]:
    """Merged cells, hidden columns, and whether the sheet has a filter."""
    merged: list[Merged] = []
    hidden: set[int] = set()
    has_filter = False
    before = takewhile(lambda record: record[0] != _ROWS, _records(data))
    for kind, start, _end in chain(before, _records(data, _end_of_rows(data))):
        if kind == _MERGED and len(merged) < MAX_MERGED:
            first_row, last_row, first, last = _FOUR.unpack_from(data, start)
            last = min(last, first + MAX_FILLED_COLUMNS)
            merged.append(Merged(first_row + 1, last_row + 1, first, last))
        elif kind == _COLUMNS:
            first, last = _PLACE.unpack_from(data, start)
            # Columns of a folded group are read, because a click shows them.
            if data[start + 16] & 1 and not data[start + 17] & 7:
                hidden.update(range(first, min(last + 1, MAX_COLUMNS)))
        elif kind in (_FILTER_COLUMN, _LISTS):
            has_filter = True
    return merged, hidden, has_filter


def _rows(data: bytes, book: Book, *, has_filter: bool) -> Iterator[NumberedRow]:
    readers = _readers(book)
    number, is_hidden, cells = 0, False, dict[int, str]()
    for kind, start, _end in _records(data):
        if kind == _ROW:
            if number:
                yield number, None if is_hidden else cells
            number, cells = _NUMBER.unpack_from(data, start)[0] + 1, Cells()
            if number > MAX_ROWS:
                return
            level = data[start + 11]
            is_hidden = bool(level & 0x10) and not level & 7 and not has_filter
        elif kind == _END_OF_ROWS:
            break
        elif (read := readers.get(kind)) is not None:
            column, style = _PLACE.unpack_from(data, start)
            if column < MAX_COLUMNS and (text := read(data, start + 8, style & 0xFFFFFF)):
                cells[column] = text
    if number:
        yield number, None if is_hidden else cells


def _readers(book: Book) -> dict[int, Callable[[bytes, int, int], str]]:
    return {
        _RK: partial(_shown_rk, book),
        _REAL: partial(_shown_real, book),
        _FORMULA_REAL: partial(_shown_real, book),
        _SHARED: partial(_shared, book),
        **dict.fromkeys((_TEXT, _FORMULA_TEXT), _own_text),
        **dict.fromkeys((_BOOLEAN, _FORMULA_BOOLEAN), _boolean),
        **dict.fromkeys((_ERROR, _FORMULA_ERROR), _error),
    }


def _shown_rk(book: Book, data: bytes, place: int, style: int) -> str:
    """A number in 30 bits: a whole one, or the larger half of a real one; or a hundred of these."""
    bits = _NUMBER.unpack_from(data, place)[0]
    if bits & 2:
        value = float((bits >> 2) - (1 << 30 if bits & 0x80000000 else 0))
    else:
        value = _DOUBLE.unpack(bytes(4) + (bits & 0xFFFFFFFC).to_bytes(4, "little"))[0]
    return Figure(book.format(style)(value / 100 if bits & 1 else value))


def _shown_real(book: Book, data: bytes, place: int, style: int) -> str:
    return Figure(book.format(style)(_DOUBLE.unpack_from(data, place)[0]))


def _shared(book: Book, data: bytes, place: int, _style: int) -> str:
    number = _NUMBER.unpack_from(data, place)[0]
    return book.strings[number] if number < len(book.strings) else ""


def _own_text(data: bytes, place: int, _style: int) -> str:
    return _wide(data, place)[0]


def _boolean(data: bytes, place: int, _style: int) -> str:
    return Figure("TRUE" if data[place] else "FALSE")


def _error(data: bytes, place: int, _style: int) -> str:
    return _ERRORS.get(data[place], "")


def _wide(data: bytes, place: int) -> tuple[str, int]:
    """The text at a place, and where it ends."""
    end = place + 4 + 2 * _NUMBER.unpack_from(data, place)[0]
    return data[place + 4 : end].decode("utf-16-le", errors="replace"), end


def _records(data: bytes, place: int = 0) -> Iterator[Record]:
    """The records from a place on: number and size in groups of seven bits, then the data.

    Ends where the file was cut.
    """
    end = len(data)
    try:
        while place < end:
            kind, size = data[place], data[place + 1]
            if kind < _GROUP > size:
                place += 2
            else:
                kind, size, place = _long_head(data, place)
            if place + size > end:
                return
            yield kind, place, place + size
            place += size
    except IndexError:
        return


def _long_head(data: bytes, place: int) -> Record:
    """Number and size of a record that need more than a byte each, and where its data begins."""
    kind = data[place]
    place += 1
    if kind >= _GROUP:
        kind = kind - _GROUP | data[place] << 7
        place += 1
    size = shift = 0
    while shift < _SIZE_BITS:
        group = data[place]
        place += 1
        size |= (group & 0x7F) << shift
        shift += 7
        if group < _GROUP:
            break
    return kind, size, place


def _end_of_rows(data: bytes) -> int:
    """Where the records after the rows begin. Faster than `_records`, because rows are many."""
    place = 0
    try:
        while True:
            kind, size = data[place], data[place + 1]
            if kind < _GROUP > size:
                place += 2 + size
                continue
            kind, size, place = _long_head(data, place)
            place += size
            if kind == _END_OF_ROWS:
                return place
    except IndexError:
        return len(data)

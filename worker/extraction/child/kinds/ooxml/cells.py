"""Rows of an Excel sheet as shown: with formats, filled merged cells, and no hidden ones.

openpyxl opens the workbook. Its iteration over rows is not used: when it reads a sheet row by row,
it knows neither merged nor hidden cells.
"""

import re
import zipfile
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from typing import IO, Any

from lxml import etree  # type: ignore[import-untyped]  # ships no types
from openpyxl.formula.translate import Translator
from openpyxl.reader import excel
from openpyxl.styles.numbers import BUILTIN_FORMATS
from openpyxl.utils.cell import get_column_letter
from openpyxl.utils.datetime import MAC_EPOCH

from docmill.worker.extraction.child.kinds.ooxml.names import S, is_on
from docmill.worker.extraction.child.kinds.ooxml.number_formats import Format, format_of, plain
from docmill.worker.extraction.child.kinds.tables import Figure

#: Excel's own limits. A cell may claim to be anywhere.
MAX_ROWS, MAX_COLUMNS = 1_048_576, 16_384
#: How many merged ranges are filled, and how many columns of one range.
MAX_MERGED, MAX_FILLED_COLUMNS = 100_000, 256
#: How many merged ranges of one row are filled. A file may claim any number, one over the other.
_MAX_ACTIVE = 256
#: How many cells of a sheet are filled from merged ones, and how many characters.
_MAX_FILLED, _MAX_FILLED_CHARACTERS = 1_000_000, 4_000_000
#: How many characters of shared formulas without a computed value are written; each is written for
#: its own cell.
_MAX_TRANSLATED = 100_000
_BLOCK_BYTES = 256 * 1024
_ROW, _CELL, _COL = f"{S}row", f"{S}c", f"{S}col"
_VALUE, _FORMULA, _INLINE, _TEXT = f"{S}v", f"{S}f", f"{S}is", f"{S}t"
_PHONETIC = f"{S}rPh"
_STYLES = "xl/styles.xml"
_NUMBER, _CELL_STYLES, _STYLE = f"{S}numFmt", f"{S}cellXfs", f"{S}xf"
_ERROR_OR_TEXT = frozenset({"e", "str", "d"})
_END_OF_ROWS = re.compile(rb"</(?:\w+:)?sheetData>|<(?:\w+:)?sheetData/>")
_MERGED = re.compile(
    rb"<(?:\w+:)?mergeCell\s[^<>]*?ref\s*=\s*[\"']([A-Z]+)(\d{1,7}):([A-Z]+)(\d{1,7})\b"
)
#: Shows that a sheet has a filter. Rows that a filter hides are read, because a click shows them.
_FILTER = re.compile(rb"<(?:\w+:)?(?:filterColumn|tablePart)\b")
_ESCAPED = re.compile(r"_x([0-9A-Fa-f]{4})_")

#: The texts of a row by their columns, from 0.
Cells = dict[int, str]
#: A row by its number, from 1; None instead of a hidden row.
NumberedRow = tuple[int, Cells | None]


@dataclass(frozen=True)
class Merged:
    """A range of cells that is shown as one cell. Rows count from 1, columns from 0."""

    first_row: int
    last_row: int
    first: int
    last: int


@dataclass
class Book:
    """Data that the sheets of a workbook share."""

    strings: Sequence[str]
    codes: Sequence[tuple[str | None, int]]  #: format of each style, and its number
    from_1904: bool
    uncomputed: int = 0  #: formulas without a value, on all sheets that were read
    _formats: dict[int, Format] = field(default_factory=dict)

    def format(self, style: int) -> Format:
        """The function that writes numbers of this style."""
        found = self._formats.get(style)
        if found is None:
            code, number = self.codes[style] if style < len(self.codes) else (None, 0)
            found = format_of(code, built_in=number, from_1904=self.from_1904)
            self._formats[style] = found
        return found


def book_of(workbook: Any) -> Book:
    """The data of a workbook that openpyxl has opened read-only."""
    sheets = workbook.worksheets
    strings = sheets[0]._shared_strings if sheets else []  # noqa: SLF001 -- no other name
    archive = workbook._archive  # noqa: SLF001
    return Book(strings, _codes(archive), from_1904=workbook.epoch == MAC_EPOCH)


def _codes(archive: zipfile.ZipFile) -> list[tuple[str | None, int]]:
    """The number format of each style of a workbook, and its number. Nothing else of a style."""
    try:
        root = etree.fromstring(archive.read(_STYLES), _parser())
    except (KeyError, etree.XMLSyntaxError):
        return []
    own = {_number(one.get("numFmtId"), 0): one.get("formatCode", "") for one in root.iter(_NUMBER)}
    numbers = (
        _number(style.get("numFmtId"), 0)
        for styles in root.iterchildren(_CELL_STYLES)
        for style in styles.iter(_STYLE)
    )
    return [(own.get(number, BUILTIN_FORMATS.get(number)), number) for number in numbers]


def _parser() -> etree.XMLParser:
    return etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)


def leave_styles_out() -> None:
    """Let openpyxl open workbooks without their styles. Repeatable.

    It refuses a workbook if any style breaks a rule, and reading them takes time. Only the formats
    of numbers are needed, which `book_of` reads.
    """
    excel.apply_stylesheet = _no_styles


def _no_styles(_archive: zipfile.ZipFile, _workbook: Any) -> None:
    return None


@dataclass(frozen=True)
class Tail:
    """Facts that a sheet holds after its rows, and that are needed before them."""

    merged: list[Merged]
    has_filter: bool


def tail_of(sheet: IO[bytes]) -> Tail:
    """Read the part after the rows, without reading the rows."""
    rest = _rest(sheet)
    merged = [_range(found) for found in islice(_MERGED.finditer(rest), MAX_MERGED)]
    return Tail([one for one in merged if one is not None], _FILTER.search(rest) is not None)


def _rest(sheet: IO[bytes]) -> bytes:
    before = b""
    while block := sheet.read(_BLOCK_BYTES):
        end = _END_OF_ROWS.search(before + block)
        if end is not None:
            return (before + block)[end.end() :] + sheet.read()
        before = block[-64:]
    return b""


def _range(found: re.Match[bytes]) -> Merged | None:
    first, last = column_of(found[1].decode()), column_of(found[3].decode())
    if not 0 <= first <= last < MAX_COLUMNS:
        return None
    return Merged(int(found[2]), int(found[4]), first, min(last, first + MAX_FILLED_COLUMNS))


@lru_cache(MAX_COLUMNS)
def column_of(letters: str) -> int:
    """The number of a column, from 0."""
    number = 0
    for letter in letters[:4]:
        number = number * 26 + ord(letter) - ord("A") + 1
    return number - 1


def rows_of(sheet: IO[bytes], book: Book, tail: Tail) -> Iterator[NumberedRow]:
    """The rows with content, as they are shown."""
    reader = _SheetReader(book, tail)
    return without_columns(filled(reader.rows(sheet), tail.merged), reader.hidden)


def without_columns(rows: Iterable[NumberedRow], hidden: Set[int]) -> Iterator[NumberedRow]:
    """The rows without hidden columns; the visible columns move together.

    The columns must be known when the first row comes.
    """
    places: dict[int, int] = {}
    for number, cells in rows:
        if not hidden or cells is None:
            yield number, cells
            continue
        if not places:
            shown = (column for column in range(MAX_COLUMNS) if column not in hidden)
            places = {column: place for place, column in enumerate(shown)}
        left = {places[column]: text for column, text in cells.items() if column in places}
        yield number, left or None


class _SheetReader:
    def __init__(self, book: Book, tail: Tail) -> None:
        self._book = book
        self._has_filter = tail.has_filter
        self.hidden: set[int] = set()  #: columns; sheets describe them before the rows
        self._described = 0  # columns, those twice that are described twice
        self._shared: dict[str, Translator] = {}
        self._translatable = _MAX_TRANSLATED

    def rows(self, sheet: IO[bytes]) -> Iterator[NumberedRow]:
        number = 0
        events = etree.iterparse(
            sheet, tag=(_ROW, _COL), resolve_entities=False, no_network=True, load_dtd=False
        )
        for _event, node in events:
            if node.tag == _COL:
                self._column(node)
                continue
            number = _number(node.get("r"), number + 1)
            if number > MAX_ROWS:
                return
            yield number, None if self._is_hidden(node) else self._cells(node, number)
            node.clear()
            while node.getprevious() is not None:
                del node.getparent()[0]

    def _column(self, node: Any) -> None:
        # Columns of a folded group are read, because a click shows them.
        if is_hidden(node):
            first = _number(node.get("min"), 1)
            last = min(_number(node.get("max"), first), MAX_COLUMNS)
            self._described += max(0, last - first + 1)
            if first > 0 and self._described <= MAX_COLUMNS:
                self.hidden.update(range(first - 1, last))

    def _is_hidden(self, row: Any) -> bool:
        return not self._has_filter and is_hidden(row)

    def _cells(self, row: Any, number: int) -> Cells:
        cells: Cells = {}
        column = -1
        for cell in row:
            if cell.tag != _CELL:
                continue
            place = cell.get("r")
            column = column_of(place.rstrip("0123456789")) if place else column + 1
            if not 0 <= column < MAX_COLUMNS:
                continue
            text = self._text(cell, number, column)
            if text:
                cells[column] = text
        return cells

    def _text(self, cell: Any, row: int, column: int) -> str:
        value = formula = None
        for child in cell:
            if child.tag == _VALUE:
                value = child.text
            elif child.tag == _FORMULA:
                formula = child
            elif child.tag == _INLINE:
                return _inline(child)
        if value is None and formula is not None and cell.get("t") != "str":
            # It has not been computed yet, so only the formula exists.
            self._book.uncomputed += 1
            return self._formula(formula, row, column)
        if value is None:
            return ""
        return self._shown(value, cell.get("t", "n"), cell.get("s"))

    def _shown(self, value: str, kind: str, style: str | None) -> str:
        if kind == "s":
            return self._string(value)
        if kind in _ERROR_OR_TEXT:
            return unescaped(value)
        if kind == "b":
            return Figure("TRUE" if is_on(value.strip()) else "FALSE")
        try:
            number = float(value)
        except ValueError:
            return value
        if not style or style == "0":
            # Keep a written number as it is, unless it was computed.
            return Figure(value if len(value) < 15 and value.isdecimal() else plain(number))
        return Figure(self._book.format(int(style))(number))

    def _string(self, number: str) -> str:
        """The shared text with this number; empty if the workbook lacks it."""
        try:
            return self._book.strings[int(number)]
        except (IndexError, ValueError):
            return ""

    def _formula(self, formula: Any, row: int, column: int) -> str:
        shared, text = formula.get("si"), formula.text
        place = f"{get_column_letter(column + 1)}{row}"
        if text and shared is not None and formula.get("t") == "shared":
            self._shared[shared] = Translator(f"={text}", place)
        if text:
            return f"={text}"
        known = self._shared.get(shared)
        return self._translated(known, place) if known is not None else ""

    def _translated(self, formula: Translator, place: str) -> str:
        """A shared formula for another cell; empty if too much was translated."""
        if self._translatable <= 0:
            return ""
        text = str(formula.translate_formula(place))
        self._translatable -= len(text)
        return text


def is_hidden(node: Any) -> bool:
    """Whether a row or column was hidden by hand, and not with its group."""
    hidden = node.get("hidden")
    return hidden is not None and is_on(hidden) and not node.get("outlineLevel", "0").strip("0")


def _number(text: str | None, default: int) -> int:
    try:
        return int(float(text)) if text else default
    except (ValueError, OverflowError):
        return default


def _inline(node: Any) -> str:
    texts = (text.text or "" for text in node.iter(_TEXT) if text.getparent().tag != _PHONETIC)
    return unescaped("".join(texts))


def unescaped(text: str) -> str:
    """Decode characters that XML cannot hold, in Excel's notation."""
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), text) if "_x" in text else text


def filled(rows: Iterable[NumberedRow], merged: Sequence[Merged]) -> Iterator[NumberedRow]:
    """Rows in which the text of a merged cell is repeated in each row that it spans.

    A cell over the whole width of a table is a title, and is not repeated.
    """
    waiting = sorted(merged, key=lambda one: one.first_row, reverse=True)
    active: list[tuple[Merged, str]] = []
    room = _Room()
    for number, own in rows:
        cells = own
        active = [(one, text) for one, text in active if one.last_row >= number]
        while waiting and waiting[-1].first_row <= number:
            one = waiting.pop()
            text = cells.get(one.first, "") if cells and one.first_row == number else ""
            if text and len(active) < _MAX_ACTIVE:
                active.append((one, text))
        if cells and active and room.take(active):
            cells = _with_merged(number, cells, active)
        if cells or cells is None:
            yield number, cells


class _Room:
    """How much of a sheet may still be filled from merged cells."""

    def __init__(self) -> None:
        self._cells, self._characters = _MAX_FILLED, _MAX_FILLED_CHARACTERS

    def take(self, active: list[tuple[Merged, str]]) -> bool:
        """Take the amount that one row needs. Returns whether it was left."""
        widths = [one.last - one.first + 1 for one, _text in active]
        self._cells -= sum(widths)
        texts = (len(text) for _one, text in active)
        self._characters -= sum(width * size for width, size in zip(widths, texts, strict=True))
        return self._cells >= 0 and self._characters >= 0


def _with_merged(number: int, cells: Cells, active: list[tuple[Merged, str]]) -> Cells:
    spanned = {column: text for one, text in active for column in range(one.first, one.last + 1)}
    own = [column for column in cells if column not in spanned]
    begun = {one.first for one, _text in active if one.first_row == number}
    # Two merged cells beside each other are two cells.
    if not own and len(begun) < 2:
        return cells
    return dict(sorted({**spanned, **cells}.items()))

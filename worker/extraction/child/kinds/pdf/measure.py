"""Asks pdfium for the places and the look of the lines of a page."""

import ctypes
import re
from collections.abc import Sequence
from itertools import accumulate, chain, repeat
from typing import Any, NamedTuple

import numpy as np
import pypdfium2
from pypdfium2 import raw

from docmill.worker.extraction.child.kinds.page.items import is_mark
from docmill.worker.extraction.child.kinds.page.layout import WIDE_GAP, Line
from docmill.worker.extraction.child.kinds.pdf import bulk

#: pdfium writes U+FFFE where a hyphen breaks a word at the end of a line, and leaves the line end
#: out.
BROKEN_WORD = "\ufffe"
_LINE_END = "\r\n"
_BOLD_WEIGHT = 600
_NAME_BYTES = 128
_BOLD_NAME = re.compile(rb"bold|black|heavy|(?<![a-z])bx|-medi$|fbd", re.IGNORECASE)
_SPACES = re.compile(r"(?<=\S)[ \t]+(?=\S)")
#: Running lines are in this part of the page, at its top or bottom.
_EDGE = 0.2
#: Text counts as turned if its angle to the horizontal is larger than this, in degrees.
_MOST_SLANT = 10

Box = tuple[float, float, float, float]  # left, top, right, bottom


def turned(box: Any, degrees: int) -> Any:
    """A box after the page is turned clockwise; the origin does not matter.

    Its sides are numbers, or arrays with the sides of many boxes.
    """
    left, top, right, bottom = box
    for _ in range(degrees // 90 % 4):
        left, top, right, bottom = bottom, -left, top, -right
    return left, top, right, bottom


class TextRow(NamedTuple):
    """A line of pdfium, and where it begins in the page's text."""

    text: str
    start: int


class Measure:
    """Measures the text of one page as it is shown: it may be turned, and show only a part."""

    def __init__(self, page: pypdfium2.PdfPage, text_page: Any) -> None:
        self.page_text: str = text_page.get_text_range()
        self.rotation: int = page.get_rotation()
        self.page_box = _visible_box(page)
        self.visible: Box = turned(self.page_box, self.rotation)
        self.address = bulk.address_of(text_page)
        self._raw = text_page.raw
        ascii_or_bmp = self.page_text.isascii() or max(self.page_text, default="") < "\U00010000"
        #: Where each character begins in UTF-16, which pdfium uses for positions and Python does
        #: not.
        self._units = None if ascii_or_bmp else _units(self.page_text)
        length = len(self.page_text) if self._units is None else self._units[-1]
        #: Whether the text holds all characters; then positions and numbers of characters are the
        #: same.
        self._is_complete = text_page.count_chars() == length
        self._bold: dict[int, bool] = {}  #: by font

    def rows(self) -> list[TextRow]:
        """The lines of pdfium, except blank ones."""
        rows, start = [], 0
        for text in self.page_text.split(_LINE_END):
            if text and not text.isspace():
                rows.append(TextRow(text, start))
            start += len(text) + len(_LINE_END)
        return rows

    def chars(self, positions: Sequence[int]) -> Sequence[int]:
        """The numbers by which pdfium knows the characters at these positions of the text."""
        if self._units is not None:
            positions = [self._units[position] for position in positions]
        return positions if self._is_complete else bulk.char_indices(self.address, positions)

    def boxes(self, positions: Sequence[int]) -> Any:
        """Where these characters are shown: an array with a row for each."""
        found = bulk.boxes(self.address, self.chars(positions))
        return np.stack(turned(found.T, self.rotation), axis=1) if self.rotation else found

    def turns(self, positions: Sequence[int]) -> Any:
        """The clockwise rotation of these characters as shown, in whole quarters, as an array.

        A slanted character gets the nearest quarter, but never the upright one.
        """
        found = np.fromiter(bulk.angles(self.address, self.chars(positions)), float, len(positions))
        # -1: pdfium does not know.
        return _quarters(np.degrees(np.where(found == -1, 0, found)) + self.rotation)

    def shows(self, line: Line) -> bool:
        """Whether the page shows both ends of a line."""
        left, top, right, bottom = self.visible
        middle = (line.top + line.bottom) / 2
        return left <= line.left and line.right <= right and bottom <= middle <= top

    def runs_at(self, top: Any, bottom: Any) -> Any:
        """Whether a line is where running lines are: near the top or bottom of the page.

        For arrays with the sides of many lines: an array.
        """
        _left, highest, _right, lowest = self.visible
        edge = _EDGE * (highest - lowest)
        middle = (top + bottom) / 2
        return (middle > highest - edge) | (middle < lowest + edge)

    def are_bold(self, positions: Sequence[int]) -> list[bool]:
        """Whether the characters at these positions are bold."""
        chars = self.chars(positions)
        fonts = bulk.fonts_of(self.address, chars)
        for char, font in zip(chars, fonts, strict=True):
            if font not in self._bold:
                self._bold[font] = self._is_bold(char)
        return [self._bold[font] for font in fonts]

    def _is_bold(self, char: int) -> bool:
        if raw.FPDFText_GetFontWeight(self._raw, char) >= _BOLD_WEIGHT:
            return True
        name = ctypes.create_string_buffer(_NAME_BYTES)
        raw.FPDFText_GetFontInfo(self._raw, char, name, _NAME_BYTES, ctypes.c_int())
        return bool(_BOLD_NAME.search(name.value))


def _visible_box(page: pypdfium2.PdfPage) -> Box:
    """The part of the page's plane that is shown."""
    box = raw.FS_RECTF()
    raw.FPDF_GetPageBoundingBox(page, box)
    return box.left, max(box.top, box.bottom), box.right, min(box.top, box.bottom)


def _quarters(degrees: Any) -> Any:
    quarters = np.round(degrees / 90)
    slant = degrees - 90 * quarters
    # Slanted text gets the quarter on the other side, not the upright one.
    slanted = (quarters % 4 == 0) & (np.abs(slant) > _MOST_SLANT)
    return (quarters + np.where(slanted, np.sign(slant), 0)).astype(int) % 4


def _units(text: str) -> list[int]:
    return list(accumulate((1 + (char > "\uffff") for char in text), initial=0))


class Ends(NamedTuple):
    """The positions in a text at which it is measured."""

    begin: int
    first: int  #: its first letter or digit
    last: int  #: its last one
    end: int

    @staticmethod
    def of(row: TextRow) -> "Ends":
        """The ends of a row that is not blank."""
        # A bullet has its own height, so the first and the last letter show the font. If one of
        # them is a superscript, the taller one counts.
        text, start = row
        begin = first = len(text) - len(text.lstrip())
        end = last = len(text.rstrip()) - 1
        while first <= end and not text[first].isalnum():
            first += 1
        if first > end:
            return Ends(start + begin, start + begin, start + end, start + end)
        while not text[last].isalnum():
            last -= 1
        return Ends(start + begin, start + first, start + last, start + end)


def lines_at(measure: Measure, rows: Sequence[TextRow], ends: Sequence[Ends]) -> list[Line]:
    """A line for each row, measured at its ends."""
    if not rows:
        return []
    boxes = measure.boxes([*chain.from_iterable(ends)]).reshape(-1, 4, 4)
    begin, first, last, end = boxes.transpose(1, 2, 0)  # of each: left, top, right, bottom
    size = np.maximum(first[1] - first[3], last[1] - last[3])
    wraps = first[3] - last[3] > 0.5 * size
    top = np.where(wraps, first[1], np.maximum(first[1], last[1]))
    bottom = np.where(wraps, last[3], np.minimum(first[3], last[3]))
    bold = iter(measure.are_bold([at for e in ends for at in (e.first, e.last)]))
    sides = (side.tolist() for side in (begin[0], end[2], top, bottom, size))
    both = [one and other for one, other in zip(bold, bold, strict=True)]
    runs = measure.runs_at(top, bottom).tolist()
    texts = [row.text for row in rows]
    return list(map(Line._make, zip(texts, *sides, both, repeat(()), repeat(0), runs)))


def gaps(measure: Measure) -> tuple[Any, Any, Any]:
    """Wide spaces of the page: where each begins and ends in the text, and their widths."""
    starts, ends = _spaces(measure.page_text)
    # A single space that the page draws itself has the normal width.
    single = ends - starts == 1
    is_wide = ~single
    is_wide[single] = bulk.are_generated(measure.address, measure.chars(starts[single].tolist()))
    starts, ends = starts[is_wide], ends[is_wide]
    before, after = measure.boxes((starts - 1).tolist()), measure.boxes(ends.tolist())
    return starts, ends, after[:, 0] - before[:, 2]


def _spaces(text: str) -> tuple[Any, Any]:
    """Beginnings and ends of spaces between other characters of a line, as arrays."""
    if "  " not in text and "\t" not in text:
        # The usual case, in a tenth of the time: all spaces are single.
        codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
        starts = np.flatnonzero(codes[1:-1] == ord(" ")) + 1
        at_ends = (codes[starts - 1] == ord("\n")) | (codes[starts + 1] == ord("\r"))
        starts = starts[~at_ends]
        return starts, starts + 1
    spans = np.array([match.span() for match in _SPACES.finditer(text)], int).reshape(-1, 2)
    return spans[:, 0], spans[:, 1]


def pieces_of(
    measure: Measure, rows: Sequence[TextRow], lines: Sequence[Line]
) -> dict[int, list[TextRow]]:
    """The pieces of each row that has wide gaps, by the number of the row."""
    starts, ends, widths = gaps(measure)
    if not len(starts):
        return {}
    numbers = np.searchsorted([row.start for row in rows], starts, side="right") - 1
    sizes = np.array([line.size for line in lines])[numbers]
    wide = np.flatnonzero((widths > 0) & (widths > WIDE_GAP * sizes)).tolist()
    found: dict[int, list[TextRow]] = {}
    for at in wide:
        number, start, end = int(numbers[at]), int(starts[at]), int(ends[at])
        row = rows[number]
        is_inside = row.start <= start < row.start + len(row.text)
        # With a broken word the row covers several lines.
        if is_inside and BROKEN_WORD not in row.text:
            _cut(found.setdefault(number, [row]), start, end)
    return {number: pieces for number, pieces in found.items() if len(pieces) > 1}


def _cut(pieces: list[TextRow], start: int, end: int) -> None:
    """Cut the last piece at a gap, but not after a bullet or a list number."""
    last = pieces[-1]
    before = last.text[: start - last.start]
    if not is_mark(before):
        pieces[-1:] = [TextRow(before, last.start), TextRow(last.text[end - last.start :], end)]

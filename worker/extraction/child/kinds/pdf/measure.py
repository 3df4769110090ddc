"""Where the lines of a page stand, and how they look: what pdfium is asked about its text."""

import ctypes
import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
import pypdfium2
from pypdfium2 import raw

from docmill.worker.extraction.child.kinds.page.items import is_mark
from docmill.worker.extraction.child.kinds.page.layout import WIDE_GAP, Line
from docmill.worker.extraction.child.kinds.pdf import bulk

#: pdfium puts U+FFFE where a hyphen broke a word at a line's end, and leaves the line end out.
BROKEN_WORD = "\ufffe"
_LINE_END = "\r\n"
_BOLD_WEIGHT = 600
_NAME_BYTES = 128
_BOLD_NAME = re.compile(rb"bold|black|heavy|(?<![a-z])bx|-medi$|fbd", re.IGNORECASE)
_SPACES = re.compile(r"(?<=\S)[ \t]+(?=\S)")
#: A running line stands in this part of the page at its top, or at its foot.
_EDGE = 0.2
#: Further from the horizontal than this, in degrees, text is turned.
_MOST_SLANT = 10

Box = tuple[float, float, float, float]  # left, top, right, bottom


def turned(box: Sequence[float], degrees: int) -> Box:
    """A box as it stands once the page is turned clockwise; the origin does not matter."""
    left, top, right, bottom = box
    for _ in range(degrees // 90 % 4):
        left, top, right, bottom = bottom, -left, top, -right
    return left, top, right, bottom


@dataclass(frozen=True)
class TextRow:
    """What pdfium takes for a line, and where it begins in the page's text."""

    text: str
    start: int

    @property
    def begin(self) -> int:
        """Position of the first character that is no space."""
        return self.start + len(self.text) - len(self.text.lstrip())

    @property
    def end(self) -> int:
        """Position of the last one."""
        return self.start + len(self.text.rstrip()) - 1


class Measure:
    """Measures the text of one page as it is shown: a page may be turned, and show a part only."""

    def __init__(self, page: pypdfium2.PdfPage, text_page: Any) -> None:
        self.page_text: str = text_page.get_text_range()
        self.rotation: int = page.get_rotation()
        self.page_box = _visible_box(page)
        self.visible = turned(self.page_box, self.rotation)
        self.address = bulk.address_of(text_page)
        self._raw = text_page.raw
        ascii_or_bmp = self.page_text.isascii() or max(self.page_text, default="") < "\U00010000"
        #: Where each character begins in UTF-16, which pdfium counts in and Python does not.
        self._units = None if ascii_or_bmp else _units(self.page_text)
        length = len(self.page_text) if self._units is None else self._units[-1]
        #: Whether the text holds all characters: then each has the same number in both.
        self._is_complete = text_page.count_chars() == length
        self._bold: dict[int, bool] = {}  #: by font

    def rows(self) -> list[TextRow]:
        """What pdfium takes for lines, but blank ones."""
        rows, start = [], 0
        for text in self.page_text.split(_LINE_END):
            if text and not text.isspace():
                rows.append(TextRow(text, start))
            start += len(text) + len(_LINE_END)
        return rows

    def chars(self, positions: Sequence[int]) -> Sequence[int]:
        """Numbers that pdfium knows the characters by that stand at these positions of the text."""
        if self._units is not None:
            positions = [self._units[position] for position in positions]
        return positions if self._is_complete else bulk.char_indices(self.address, positions)

    def boxes(self, positions: Sequence[int]) -> list[Box]:
        """Where these characters are shown."""
        values = iter(bulk.boxes(self.address, self.chars(positions))[:])
        found = zip(values, values, values, values, strict=True)
        return [turned(box, self.rotation) for box in found] if self.rotation else list(found)

    def turns(self, positions: Sequence[int]) -> Any:
        """How far these characters are shown turned clockwise, in whole quarters, as an array.

        One that is neither upright nor nearly so counts with the quarter that is nearest.
        """
        found = np.fromiter(bulk.angles(self.address, self.chars(positions)), float, len(positions))
        # -1: pdfium does not know.
        return _quarters(np.degrees(np.where(found == -1, 0, found)) + self.rotation)

    def shows(self, line: Line) -> bool:
        """Whether the page shows both ends of a line."""
        left, top, right, bottom = self.visible
        middle = (line.top + line.bottom) / 2
        return left <= line.left and line.right <= right and bottom <= middle <= top

    def runs_at(self, top: float, bottom: float) -> bool:
        """Whether a line stands where running lines do: near the top of the page, or its foot."""
        _left, highest, _right, lowest = self.visible
        edge = _EDGE * (highest - lowest)
        middle = (top + bottom) / 2
        return middle > highest - edge or middle < lowest + edge

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
    # Of what is neither, the quarter on the other side is meant.
    slanted = (quarters % 4 == 0) & (np.abs(slant) > _MOST_SLANT)
    return (quarters + np.where(slanted, np.sign(slant), 0)).astype(int) % 4


def _units(text: str) -> list[int]:
    return list(accumulate((1 + (char > "\uffff") for char in text), initial=0))


@dataclass(frozen=True)
class Ends:
    """Positions of a text that its measures are taken at."""

    begin: int
    first: int  #: its first letter or digit
    last: int  #: its last one
    end: int

    @staticmethod
    def of(row: TextRow) -> "Ends":
        """The ends of a row."""
        # A bullet has a height of its own: the first and the last letter show the font, the taller
        # of them where the other is a superscript.
        begin, end = row.begin, row.end
        letters = _letters_in(row.text)
        if letters is None:
            return Ends(begin, begin, end, end)
        return Ends(begin, row.start + letters[0], row.start + letters[1], end)


def lines_at(measure: Measure, rows: Sequence[TextRow]) -> list[Line]:
    """A line for each row, measured at its ends."""
    ends = [Ends.of(row) for row in rows]
    found = iter(measure.boxes([at for e in ends for at in (e.begin, e.first, e.last, e.end)]))
    bold = iter(measure.are_bold([at for e in ends for at in (e.first, e.last)]))
    looks = zip(rows, zip(found, found, found, found, strict=True), bold, bold, strict=True)
    return [_line(measure, row.text, boxes, bold=one and other) for row, boxes, one, other in looks]


def _line(measure: Measure, text: str, boxes: Sequence[Box], *, bold: bool) -> Line:
    begin, first, last, end = boxes
    size = max(first[1] - first[3], last[1] - last[3])
    wraps = first[3] - last[3] > 0.5 * size
    top = first[1] if wraps else max(first[1], last[1])
    bottom = last[3] if wraps else min(first[3], last[3])
    runs = measure.runs_at(top, bottom)
    return Line(text, begin[0], end[2], top, bottom, size, bold, runs=runs)


def gaps(measure: Measure) -> list[tuple[int, int, float]]:
    """Wide spaces of the page: where the text before ends, where it goes on, and how far."""
    spaces = _spaces(measure.page_text)
    # A single space that the page draws itself is as wide as a space.
    single = [start for start, end in spaces if end - start == 1]
    drawn = bulk.are_generated(measure.address, measure.chars(single))
    narrow = {start for start, generated in zip(single, drawn, strict=True) if not generated}
    wide = [span for span in spaces if span[0] not in narrow]
    found = iter(measure.boxes([at for start, end in wide for at in (start - 1, end)]))
    return [
        (start, end, after[0] - before[2])
        for (start, end), before, after in zip(wide, found, found, strict=True)
    ]


def _spaces(text: str) -> list[tuple[int, int]]:
    """Where spaces begin and end that stand between two other characters of a line."""
    if "  " not in text and "\t" not in text:
        # The usual case, in a third of the time: each is single.
        codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
        starts = np.flatnonzero(codes[1:-1] == ord(" ")) + 1
        at_ends = (codes[starts - 1] == ord("\n")) | (codes[starts + 1] == ord("\r"))
        return [(start, start + 1) for start in starts[~at_ends].tolist()]
    return [match.span() for match in _SPACES.finditer(text)]


def pieces_of(
    measure: Measure, rows: Sequence[TextRow], lines: Sequence[Line]
) -> dict[int, list[TextRow]]:
    """Pieces that stand far from each other, of each row that has some, by the row's number."""
    found: dict[int, list[TextRow]] = {}
    starts = [row.start for row in rows]
    for start, end, width in gaps(measure):
        number = bisect_right(starts, start) - 1
        row = rows[number]
        if width <= 0 or not row.start <= start < row.start + len(row.text):
            continue
        # A broken word: the row covers several lines.
        if width > WIDE_GAP * lines[number].size and BROKEN_WORD not in row.text:
            _cut(found.setdefault(number, [row]), start, end)
    return {number: pieces for number, pieces in found.items() if len(pieces) > 1}


def _cut(pieces: list[TextRow], start: int, end: int) -> None:
    """Cut the last piece at a gap, but not behind a bullet or a number of a list."""
    last = pieces[-1]
    before = last.text[: start - last.start]
    if not is_mark(before):
        pieces[-1:] = [TextRow(before, last.start), TextRow(last.text[end - last.start :], end)]


def _letters_in(text: str) -> tuple[int, int] | None:
    """Where the first and the last letter or digit stand."""
    last = len(text) - 1
    if text[0].isalnum() and text[last].isalnum():
        return 0, last
    first = next((at for at, character in enumerate(text) if character.isalnum()), None)
    if first is None:
        return None
    return first, next(at for at in range(last, -1, -1) if text[at].isalnum())

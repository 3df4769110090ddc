"""Where the characters of a page stand, and how they look: what pdfium is asked about its text."""

import ctypes
import re
from typing import Any

from pypdfium2 import raw

from docmill.worker.extraction.child.kinds.page.items import is_mark
from docmill.worker.extraction.child.kinds.page.layout import WIDE_GAP, Line

#: pdfium puts U+FFFE where a hyphen broke a word at a line's end, and leaves the line end out.
BROKEN_WORD = "\ufffe"
_BOLD_WEIGHT = 600
_NAME_BYTES = 128
_BOLD_NAME = re.compile(rb"bold|black|heavy|(?<![a-z])bx|-medi$|fbd", re.IGNORECASE)
_SPACES = re.compile(r"(?<=\S)[ \t]+(?=\S)")
_LETTER_OR_DIGIT = re.compile(r"[^\W_]")


def utf16_units(text: str) -> int:
    """What pdfium counts in, and Python does not."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2


class Measure:
    """Measures the text of one page as it is shown: a page may be turned."""

    def __init__(self, text_page: Any, rotation: int) -> None:
        self.page_text = text_page.get_text_range()
        self._raw = text_page.raw
        self._rotation = rotation
        #: Whether the text holds all characters: then each has the same number in both.
        self._is_complete = text_page.count_chars() == utf16_units(self.page_text)

    def line(self, text: str, index: int) -> Line:
        """Text that begins at an index, and where it stands."""
        begin = index + len(text) - len(text.lstrip())
        end = index + utf16_units(text.rstrip()) - 1
        # A bullet has a height of its own: the first and the last letter show the font, the taller
        # of them where the other is a superscript.
        letters = _letters_in(text)
        first, last = (
            (index + utf16_units(text[:letter]) for letter in letters) if letters else (begin, end)
        )
        upper, lower = self._box(first), self._box(last)
        size = max(upper.top - upper.bottom, lower.top - lower.bottom)
        wraps = upper.bottom - lower.bottom > 0.5 * size
        return Line(
            text=text,
            left=(upper if begin == first else self._box(begin)).left,
            right=(lower if end == last else self._box(end)).right,
            top=upper.top if wraps else max(upper.top, lower.top),
            bottom=lower.bottom if wraps else min(upper.bottom, lower.bottom),
            size=size,
            bold=self._is_bold(first) and self._is_bold(last),
        )

    def pieces(self, text: str, index: int, size: float) -> list[tuple[str, int]]:
        """Pieces that stand far from each other, each with its index; none for a line in one."""
        if BROKEN_WORD in text:
            return []  # it covers several lines
        pieces = []
        start = 0
        for spaces in _SPACES.finditer(text):
            before = index + utf16_units(text[: spaces.start()])
            after = before + spaces.end() - spaces.start()
            if self._is_gap(before, after, size) and not is_mark(text[start : spaces.start()]):
                pieces.append((text[start : spaces.start()], index + utf16_units(text[:start])))
                start = spaces.end()
        if pieces:
            pieces.append((text[start:], index + utf16_units(text[:start])))
        return pieces

    def _is_gap(self, space: int, after: int, size: float) -> bool:
        # A single space that the page draws itself is as wide as a space.
        if after - space == 1 and not self._is_generated(space):
            return False
        return bool(self._box(after).left - self._box(space - 1).right > WIDE_GAP * size)

    def _is_generated(self, text_index: int) -> bool:
        return bool(raw.FPDFText_IsGenerated(self._raw, self._char_index(text_index)) == 1)

    def _char_index(self, text_index: int) -> int:
        if self._is_complete:
            return text_index
        return int(raw.FPDFText_GetCharIndexFromTextIndex(self._raw, text_index))

    def _box(self, text_index: int) -> Any:
        box = raw.FS_RECTF()
        raw.FPDFText_GetLooseCharBox(self._raw, self._char_index(text_index), box)
        return turned(box, self._rotation) if self._rotation else box

    def _is_bold(self, text_index: int) -> bool:
        char = self._char_index(text_index)
        if raw.FPDFText_GetFontWeight(self._raw, char) >= _BOLD_WEIGHT:
            return True
        name, flags = ctypes.create_string_buffer(_NAME_BYTES), ctypes.c_int()
        raw.FPDFText_GetFontInfo(self._raw, char, name, _NAME_BYTES, flags)
        return bool(_BOLD_NAME.search(name.value))


def turned(box: Any, degrees: int) -> Any:
    """A box as it stands once the page is turned clockwise; the origin does not matter."""
    shown = raw.FS_RECTF()
    for _ in range(degrees // 90):
        shown = raw.FS_RECTF(left=box.bottom, top=-box.left, right=box.top, bottom=-box.right)
        box = shown
    return shown


def _letters_in(text: str) -> tuple[int, int] | None:
    """Where the first and the last letter or digit stand."""
    first = _LETTER_OR_DIGIT.search(text)
    if first is None:
        return None
    positions = range(len(text) - 1, -1, -1)
    return first.start(), next(at for at in positions if _LETTER_OR_DIGIT.match(text, at))

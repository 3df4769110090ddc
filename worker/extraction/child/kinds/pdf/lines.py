"""The lines of a page, put together from what pdfium takes for lines."""

from collections.abc import Container, Iterable
from dataclasses import replace

import pypdfium2

from docmill.worker.extraction.child.kinds.page.layout import Line, Row, arranged
from docmill.worker.extraction.child.kinds.pdf.measure import BROKEN_WORD, Measure, utf16_units

_MAX_WORD_CHARACTERS = 100
_PUNCTUATION = ".,;:!?()[]\"'\u201c\u201d\u2018\u2019"
_LINE_END = "\r\n"


def lines_of(page: pypdfium2.PdfPage | None) -> list[Line]:
    """Lines of a page in reading order. A page that pdfium cannot load has none."""
    if page is None:
        return []
    text_page = page.get_textpage()
    try:
        return join_fragments(arranged(_rows(Measure(text_page, page.get_rotation()))))
    finally:
        text_page.close()


def _rows(measure: Measure) -> list[Row]:
    rows = []
    index = 0
    page_text = measure.page_text
    compounds = {word.strip(_PUNCTUATION) for word in page_text.split() if "-" in word}
    for text in page_text.split(_LINE_END):
        if text.strip():
            line = _whole(measure.line(text, index), compounds)
            pieces = measure.pieces(text, index, line.size)
            lines = (_whole(measure.line(piece, at), compounds) for piece, at in pieces)
            rows.append(Row(line, tuple(lines)))
        index += utf16_units(text) + len(_LINE_END)
    return rows


def _whole(line: Line, compounds: Container[str]) -> Line:
    text = repaired(line.text, compounds) if BROKEN_WORD in line.text else line.text
    text = " ".join(text.split())
    return line if text == line.text else replace(line, text=text)


def repaired(text: str, compounds: Container[str]) -> str:
    """The text with its broken words whole. A hyphen stays where the page shows it elsewhere."""
    whole, *rest = text.split(BROKEN_WORD)
    for part in rest:
        left, right = whole[-_MAX_WORD_CHARACTERS:].split(" ")[-1], part.split(" ", 1)[0]
        compound = f"{left}-{right}".strip(_PUNCTUATION)
        hyphen = "-" if right and (len(left) == 1 or compound in compounds) else ""
        whole += hyphen + part
    return whole


def join_fragments(lines: Iterable[Line]) -> list[Line]:
    """Lines, with what pdfium cut at a change of font or a superscript put together again."""
    joined: list[Line] = []
    for line in lines:
        if joined and _same_line(joined[-1], line):
            joined[-1] = _together(joined[-1], line)
        else:
            joined.append(line)
    return joined


def _same_line(left: Line, right: Line) -> bool:
    if left.cells or right.cells:
        return False
    end_top, begin_bottom = left.bottom + left.size, right.top - right.size
    overlap = min(end_top, right.top) - max(left.bottom, begin_bottom)
    gap = right.left - left.right
    return overlap > 0.5 * min(left.size, right.size) and -0.5 * left.size < gap < 1.5 * left.size


def _together(left: Line, right: Line) -> Line:
    space = " " if right.left - left.right > 0.15 * left.size else ""
    size = max(left.size, right.size)
    wraps = right.top - right.bottom > 1.5 * right.size
    return replace(
        left,
        text=left.text + space + right.text,
        right=right.right,
        bottom=right.bottom if wraps else min(left.bottom, right.bottom),
        size=size,
        bold=left.bold and right.bold,
    )

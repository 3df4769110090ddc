"""The lines of a page, made from pdfium's lines."""

import re
from collections.abc import Container, Iterable, Iterator, Sequence
from itertools import groupby, islice
from operator import itemgetter

import pypdfium2

from docmill.worker.extraction.child.kinds.page.grids import grids
from docmill.worker.extraction.child.kinds.page.items import SHORT_LEADER
from docmill.worker.extraction.child.kinds.page.layout import Line, Row, arranged
from docmill.worker.extraction.child.kinds.pdf.fragments import (
    Characters,
    Fragment,
    cells_of,
    fragments,
)
from docmill.worker.extraction.child.kinds.pdf.measure import (
    BROKEN_WORD,
    Ends,
    Measure,
    TextRow,
    lines_at,
    pieces_of,
)
from docmill.worker.extraction.child.kinds.pdf.pieced import (
    Whole,
    lines_of_fragments,
    rows_of_fragments,
)
from docmill.worker.extraction.child.kinds.pdf.rules import rules_of

_MAX_WORD_CHARACTERS = 100
_PUNCTUATION = ".,;:!?()[]\"'\u201c\u201d\u2018\u2019"
#: Dots between a title and its page number.
_LEADER = re.compile(r"(?:[.\u2024\u00b7]\s?){5,}|(?:\u2026\s?){2,}")
_LEADER_SIGNS = (".....", ". . .", "\u2024\u2024", "\u00b7\u00b7", "\u00b7 \u00b7", "\u2026\u2026")
#: If a larger share of lines is turned, partly outside the page, or not really a line, the whole
#: page is read character by character.
_MOST_ODD = 0.2


def lines_of(page: pypdfium2.PdfPage | None, after: str = "") -> list[Line]:
    """Lines of a page in reading order. A page that pdfium cannot load has none.

    With `after`, only the lines after this text, if the page's text begins with it.
    """
    if page is None:
        return []
    text_page = page.get_textpage()
    try:
        measure = Measure(page, text_page)
        rows = measure.rows()
        if after:
            start = _common_length(after, measure.page_text)
            rows = [row for row in rows if row.start >= start]
        return join_fragments(_arranged(page, measure, rows)) if rows else []
    finally:
        text_page.close()


def _common_length(one: str, other: str) -> int:
    differing = (at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
    return next(differing, min(len(one), len(other)))


def _arranged(page: pypdfium2.PdfPage, measure: Measure, rows: Sequence[TextRow]) -> Iterable[Line]:
    words = measure.page_text.split() if "-" in measure.page_text else []
    compounds = {word.strip(_PUNCTUATION) for word in words if "-" in word}

    has_leaders = any(sign in measure.page_text for sign in _LEADER_SIGNS)

    def whole(line: Line) -> Line:
        return _whole(line, compounds, shorten=has_leaders)

    ends = list(map(Ends.of, rows))
    lines = lines_at(measure, rows, ends)
    turns = measure.turns([end.first for end in ends]).tolist()
    odd = [
        number
        for number, (line, turn) in enumerate(zip(lines, turns, strict=True))
        if turn or _jumps(line) or not measure.shows(line)
    ]
    if len(odd) > _MOST_ODD * len(rows):
        return lines_of_fragments(_fragments(page, measure, rows), whole)
    if pieces := _with_cells(page, measure, rows):
        return lines_of_fragments(pieces, whole)
    found = _rows(measure, rows, lines, whole)
    if not odd:
        return arranged([row for _, row in found])
    return _with_odd(found, odd, _fragments(page, measure, [rows[n] for n in odd]), whole)


def _with_odd(
    found: Sequence[tuple[int, Row]], odd: Sequence[int], pieces: Sequence[Fragment], whole: Whole
) -> Iterator[Line]:
    """Lines of a page on which a few rows were read character by character.

    Turned lines come last.
    """
    left_out = set(odd)
    ordinary = [(number, row) for number, row in found if number not in left_out]
    others = [
        (odd[number], row)
        for number, run in groupby(pieces, key=lambda piece: piece.row)
        if (upright := [piece for piece in run if not piece.turn])
        for row in rows_of_fragments(upright, whole)
    ]
    yield from arranged([row for _, row in sorted(ordinary + others, key=itemgetter(0))])
    yield from lines_of_fragments([piece for piece in pieces if piece.turn], whole)


def _jumps(line: Line) -> bool:
    """Whether a line of pdfium begins at one height and ends at another."""
    return line.top - line.bottom > 1.7 * line.size and BROKEN_WORD not in line.text


def _fragments(
    page: pypdfium2.PdfPage, measure: Measure, rows: Sequence[TextRow]
) -> list[Fragment]:
    characters = Characters(measure, rows)
    found = grids(*rules_of(page, (measure.rotation - 90 * characters.main_turn) % 360))
    return fragments(measure, characters, cells_of(characters, found))


def _with_cells(
    page: pypdfium2.PdfPage, measure: Measure, rows: Sequence[TextRow]
) -> list[Fragment]:
    """The fragments of an upright page with a ruled table; empty for any other page."""
    found = grids(*rules_of(page, measure.rotation))
    if not found:
        return []
    characters = Characters(measure, rows)
    cells = cells_of(characters, found)
    return fragments(measure, characters, cells) if any(cells) else []


def _rows(
    measure: Measure, rows: Sequence[TextRow], lines: Sequence[Line], whole: Whole
) -> list[tuple[int, Row]]:
    """The rows with their separate pieces, numbered."""
    pieces = pieces_of(measure, rows, lines)
    parts = [piece for number in sorted(pieces) for piece in pieces[number]]
    rest = map(whole, lines_at(measure, parts, list(map(Ends.of, parts))))
    return [
        (number, Row(whole(line), tuple(islice(rest, len(pieces.get(number, ()))))))
        for number, line in enumerate(lines)
    ]


def _whole(line: Line, compounds: Container[str], *, shorten: bool) -> Line:
    text = repaired(line.text, compounds) if BROKEN_WORD in line.text else line.text
    text = " ".join(text.split())
    if shorten:
        text = shortened(text)
    return line if text == line.text else line._replace(text=text)


def shortened(text: str) -> str:
    """The text with shortened dots between a title and its page number."""
    return " ".join(_LEADER.sub(SHORT_LEADER, text).split())


def repaired(text: str, compounds: Container[str]) -> str:
    """The text with broken words joined. A hyphen stays if the word has it elsewhere too."""
    whole, *rest = text.split(BROKEN_WORD)
    for part in rest:
        left, right = whole[-_MAX_WORD_CHARACTERS:].split(" ")[-1], part.split(" ", 1)[0]
        compound = f"{left}-{right}".strip(_PUNCTUATION)
        hyphen = "-" if right and (len(left) == 1 or compound in compounds) else ""
        whole += hyphen + part
    return whole


def join_fragments(lines: Iterable[Line]) -> list[Line]:
    """Lines, joined again where pdfium cut them at a change of font or a superscript."""
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
    if not -0.5 * left.size < right.left - left.right < 1.5 * left.size:
        return False
    end_top, begin_bottom = left.bottom + left.size, right.top - right.size
    overlap = min(end_top, right.top) - max(left.bottom, begin_bottom)
    return overlap > 0.5 * min(left.size, right.size)


def _together(left: Line, right: Line) -> Line:
    space = " " if right.left - left.right > 0.15 * left.size else ""
    size = max(left.size, right.size)
    wraps = right.top - right.bottom > 1.5 * right.size
    return left._replace(
        text=left.text + space + right.text,
        right=right.right,
        bottom=right.bottom if wraps else min(left.bottom, right.bottom),
        size=size,
        bold=left.bold and right.bold,
    )

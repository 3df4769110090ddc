"""Makes lines of a page from its fragments: tables with their cells, turned text separately."""

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby, pairwise

from docmill.worker.extraction.child.kinds.page.items import is_mark
from docmill.worker.extraction.child.kinds.page.layout import Line, Row, arranged
from docmill.worker.extraction.child.kinds.page.rows import row_of, rows_of_pieces
from docmill.worker.extraction.child.kinds.pdf.fragments import Fragment

#: The lines in a row of cells are rows of their own in two cases: each has text in the first column
#: and there are at least this many; or lines with text there have a distance to the line above that
#: is this many times larger than the other distances.
_LEAST_ROWS, _WIDER = 4, 1.15
#: A table with at most this many rows of cells may have one for the header and one for all other
#: rows.
_FEW_ROWS = 2

Whole = Callable[[Line], Line]  # makes broken words whole


def lines_of_fragments(found: Sequence[Fragment], whole: Whole) -> Iterator[Line]:
    """Upright text first, then turned text, each in its own reading order."""
    turns = dict.fromkeys([0, *(fragment.turn for fragment in found)])
    for turn in turns if found else ():
        yield from _lines([fragment for fragment in found if fragment.turn == turn], whole)


def _lines(found: Sequence[Fragment], whole: Whole) -> Iterator[Line]:
    """Text between tables, and each table at the place of its first cell."""
    shown = set()
    for number, run in groupby(_with_tables_together(found), lambda f: f.cell and f.cell[0]):
        if number is None:
            yield from arranged(rows_of_fragments(list(run), whole))
        elif number not in shown:
            shown.add(number)
            yield from _table(list(run), whole)


def _with_tables_together(found: Sequence[Fragment]) -> Iterator[Fragment]:
    """The fragments, all cells of a table where its first one is."""
    tables: dict[int, list[Fragment]] = {}
    for fragment in found:
        if fragment.cell:
            tables.setdefault(fragment.cell[0], []).append(fragment)
    for fragment in found:
        if fragment.cell is None:
            yield fragment
        else:
            yield from tables.pop(fragment.cell[0], ())


def rows_of_fragments(found: Sequence[Fragment], whole: Whole) -> list[Row]:
    """Rows of text with the same rotation; upright text in pdfium's order."""
    if found[0].turn:
        # pdfium's order is that of upright text.
        return rows_of_pieces([whole(fragment.line) for fragment in found])
    levels = (
        pieces
        for _number, run in groupby(found, lambda fragment: fragment.row)
        for pieces in _levels([fragment.line for fragment in run])
    )
    return [row_of([whole(piece) for piece in _with_marks(pieces)]) for pieces in levels]


def _levels(lines: Sequence[Line]) -> Iterator[list[Line]]:
    """The pieces of a pdfium line that are at the same height, from left to right."""
    level: list[Line] = []
    for line in lines:
        if level and not _beside(level[-1], line):
            yield level
            level = []
        level.append(line)
    if level:
        yield level


def _beside(left: Line, right: Line) -> bool:
    middle = (right.top + right.bottom) / 2
    return left.bottom < middle < left.top and right.left >= left.right


def _with_marks(pieces: Sequence[Line]) -> Iterator[Line]:
    """The pieces; a bullet or a number with what follows."""
    mark: Line | None = None
    for piece in pieces:
        joined = piece
        if mark is not None:
            joined = piece._replace(text=f"{mark.text} {piece.text}", left=mark.left)
        mark = joined if is_mark(joined.text) and piece is not pieces[-1] else None
        if mark is None:
            yield joined


def _table(found: Sequence[Fragment], whole: Whole) -> Iterator[Line]:
    """The rows of a table."""
    columns = sorted({fragment.cell[2] for fragment in found if fragment.cell})
    by_row: dict[int, list[Fragment]] = {}
    for fragment in found:
        if fragment.cell:
            by_row.setdefault(fragment.cell[1], []).append(fragment)
    for _row, members in sorted(by_row.items()):
        # Some tables have lines only around the header and around all other rows together.
        parts = _split(members) if len(by_row) <= _FEW_ROWS else [members]
        for part in parts:
            yield _cells(part, columns, whole)


def _split(members: list[Fragment]) -> list[list[Fragment]]:
    """The fragments of one row of cells, cut where a row of text begins.

    A row begins at a line with text in the leftmost column and in another one.
    """
    lines: list[list[Fragment]] = []
    for fragment in sorted(members, key=lambda f: -(f.line.top + f.line.bottom)):
        middle = (fragment.line.top + fragment.line.bottom) / 2
        if lines and lines[-1][0].line.bottom < middle < lines[-1][0].line.top:
            lines[-1].append(fragment)
        else:
            lines.append([fragment])
    columns = [{fragment.cell[2] for fragment in line if fragment.cell} for line in lines]
    first = min(min(filled) for filled in columns)
    begins = [first in filled and len(filled) > 1 for filled in columns]
    if not _are_rows(lines, begins):
        return [members]
    rows: list[list[Fragment]] = []
    for line, begins_row in zip(lines, begins, strict=True):
        if begins_row:
            rows.append([])
        rows[-1] += line
    return rows


def _are_rows(lines: Sequence[Sequence[Fragment]], begins: Sequence[bool]) -> bool:
    """Whether lines that may begin rows really do: their distance to the line above is larger.

    If all lines may begin rows, they do if there are many: rarely do all cells go on in the next
    line.
    """
    heights = [line[0].line.bottom for line in lines]
    steps = [above - below for above, below in pairwise(heights)]
    to_rows = [step for step, is_row in zip(steps, begins[1:], strict=True) if is_row]
    within = [step for step, is_row in zip(steps, begins[1:], strict=True) if not is_row]
    if not begins[0] or not to_rows:
        return False
    return min(to_rows) > _WIDER * max(within) if within else len(lines) >= _LEAST_ROWS


def _cells(members: Sequence[Fragment], columns: Sequence[int], whole: Whole) -> Line:
    texts: dict[int, list[str]] = {column: [] for column in columns}
    for fragment in members:
        if fragment.cell:
            texts[fragment.cell[2]].append(fragment.line.text)
    number = members[0].cell[0] if members[0].cell else 0
    row = row_of([fragment.line for fragment in members]).line
    cells = (whole(row._replace(text=" ".join(found))).text for found in texts.values())
    return row._replace(cells=tuple(cells), table=number, runs=False)

"""Finds columns and tables from the places of lines on a page.

Pure: knows lines and numbers, nothing of PDF.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

#: A distance between words, in sizes of the font, that is larger than in any justified line.
WIDE_GAP = 1.5
#: Fewer lines side by side may be chance, or two ends of one line.
_MIN_COLUMN_LINES = 3
_MIN_TABLE_ROWS = 2
#: Text in columns is prose: its lines are longer than the text of a table's cell.
_MIN_COLUMN_CHARACTERS = 25
_MOST_COLUMNS = 4
#: Lines further apart than this, in sizes of the font, do not belong together.
_LARGEST_STEP = 4.0
#: The same for the lines of a cell.
_LARGEST_STEP_IN_CELL = 1.5


class Line(NamedTuple):
    """A line of text with its place on the page; y grows upwards.

    After a broken word was repaired, a line covers several lines of the page: it begins at `top`
    and `left`, and ends at `bottom` and `right`. A row of a table has `cells`.
    """

    text: str
    left: float
    right: float
    top: float
    bottom: float
    size: float  #: height of the font; its nominal size means nothing if the page scales it
    bold: bool
    cells: tuple[str, ...] = ()
    table: int = 0  #: number of its ruled table; 0: not in one
    runs: bool = True  #: whether it is where running heads and feet are


class Row(NamedTuple):
    """A line, and its separate pieces; with one piece or none the line is whole."""

    line: Line
    pieces: tuple[Line, ...] = ()

    @property
    def parts(self) -> tuple[Line, ...]:
        """The pieces, or the line."""
        return self.pieces or (self.line,)


Interval = tuple[float, float]


def arranged(rows: Sequence[Row]) -> Iterator[Line]:
    """Lines in reading order: columns one after the other, tables row by row."""
    start = 0
    while start < len(rows):
        if len(rows[start].pieces) < 2:
            yield rows[start].line
            start += 1
            continue
        end = _run_end(rows, start)
        run = rows[start:end]
        columns = _columns(run)
        if _is_prose(run, columns):
            yield from _in_columns(run, columns)
        else:
            # A line after the last row of a table may not belong to it.
            while len(run[-1].pieces) < 2:
                run = run[:-1]
            end = start + len(run)
            yield from _as_table(run) or (row.line for row in run)
        start = end


def _run_end(rows: Sequence[Row], start: int) -> int:
    """The end of the rows that leave the same space free from top to bottom."""
    columns = _columns(rows[start : start + 1])
    end = start + 1
    while end < len(rows):
        above, below = rows[end - 1].line, rows[end].line
        if not -below.size < above.bottom - below.top < _LARGEST_STEP * below.size:
            break
        more = _merged([*columns, *map(_span, rows[end].parts)])
        if len(more) < 2:
            break
        columns, end = more, end + 1
    return end


def _columns(rows: Sequence[Row]) -> list[Interval]:
    """The intervals with text; there is no text between them."""
    return _merged([_span(part) for row in rows for part in row.parts])


def _span(part: Line) -> Interval:
    """From left to right; a line that covers several lines may end left of its beginning."""
    left, right = part.left, part.right
    return (left, right) if left <= right else (right, left)


def _merged(intervals: list[Interval]) -> list[Interval]:
    merged: list[Interval] = []
    for left, right in sorted(intervals):
        if merged and left <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], right))
        else:
            merged.append((left, right))
    return merged


def _column_of(part: Line, columns: Sequence[Interval]) -> int:
    left, _right = _span(part)
    return next(number for number, (_, right) in enumerate(columns) if left <= right)


def _is_prose(run: Sequence[Row], columns: Sequence[Interval]) -> bool:
    """Whether this is prose side by side, and not cells of a table."""
    beside = [row for row in run if len(row.pieces) > 1]
    if len(beside) < _MIN_COLUMN_LINES or not 2 <= len(columns) <= _MOST_COLUMNS:
        return False
    lengths = sorted(len(piece.text) for row in beside for piece in row.pieces)
    # Most lines must be long; the last line of a paragraph is short.
    return lengths[len(lengths) // 4] >= _MIN_COLUMN_CHARACTERS


def _in_columns(run: Sequence[Row], columns: Sequence[Interval]) -> Iterator[Line]:
    for number in range(len(columns)):
        for row in run:
            yield from (part for part in row.parts if _column_of(part, columns) == number)


def _as_table(run: Sequence[Row]) -> list[Line]:
    """The rows with their cells; empty if the run is no table."""
    beside = sum(1 for row in run if len(row.pieces) > 1)
    columns = _without_doubles(run, _columns(run))
    if beside < _MIN_TABLE_ROWS or 2 * beside < len(run) or len(columns) < 2:
        return []
    table: list[Line] = []
    for row in run:
        cells = _cells(row, columns)
        if table and not cells[0] and len(row.parts) == 1 and _follows(table[-1], row.line):
            # The text of a cell goes on in the next line.
            table[-1] = _with_more(table[-1], row.line, cells)
        else:
            table.append(row.line._replace(cells=cells))
    return table


def _without_doubles(run: Sequence[Row], columns: list[Interval]) -> list[Interval]:
    """Join neighbours that no row fills both: a header need not be exactly above its column."""
    filled = [{_column_of(part, columns) for part in row.parts} for row in run]
    kept = columns[:1]
    previous = {0}  # the columns that form the last kept column
    for number, (left, right) in enumerate(columns[1:], start=1):
        if any(number in row and previous & row for row in filled):
            kept.append((left, right))
            previous = {number}
        else:
            kept[-1] = (kept[-1][0], right)
            previous.add(number)
    return kept


def _cells(row: Row, columns: Sequence[Interval]) -> tuple[str, ...]:
    cells = [""] * len(columns)
    for part in row.parts:
        number = _column_of(part, columns)
        cells[number] = f"{cells[number]} {part.text}".strip()
    return tuple(cells)


def _follows(row: Line, line: Line) -> bool:
    return row.bottom - line.top < _LARGEST_STEP_IN_CELL * line.size


def _with_more(row: Line, line: Line, cells: Sequence[str]) -> Line:
    joined = (f"{cell} {more}".strip() for cell, more in zip(row.cells, cells, strict=True))
    # Its text too: a running head must not hide what was added to it.
    text = f"{row.text} {line.text}"
    return row._replace(text=text, bottom=line.bottom, cells=tuple(joined))

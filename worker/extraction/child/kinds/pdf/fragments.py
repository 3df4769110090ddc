"""Reads the text of a page character by character, where pdfium's own lines are not enough.

pdfium's lines run through the cells of a table, include text outside the page, and put turned text
together as if it were upright.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from docmill.worker.extraction.child.kinds.page.grids import Grid
from docmill.worker.extraction.child.kinds.page.layout import WIDE_GAP, Line
from docmill.worker.extraction.child.kinds.pdf import bulk
from docmill.worker.extraction.child.kinds.pdf.measure import BROKEN_WORD, Measure, TextRow

#: Characters whose heights differ by more than this, in sizes of the font, are on two lines; a
#: superscript differs less.
_JUMP = 0.7
#: A larger step back, in sizes of the font, is no normal step between letters; text from right to
#: left steps back.
_BACK = 2.5
_SPACES = np.array([9, 10, 11, 12, 13, 32, 0xA0, 0x2002, 0x2003, 0x2009, 0x3000], np.uint32)

#: Lines that cut more than this share of the words between them are a drawing, and no table.
_MOST_CUT = 0.05
#: More than any grid has.
_MOST_COLUMNS = 100_000
#: Letters of a word are closer than this, in heights of a letter.
_WITHIN_WORD = 0.25

Cell = tuple[int, int, int]  # number of the grid, row, column


@dataclass(frozen=True)
class Fragment:
    """Characters side by side."""

    line: Line
    row: int  #: number of pdfium's line
    turn: int  #: clockwise rotation as shown, in quarters of 90 degrees
    cell: Cell | None


class Characters:
    """The visible characters of a page except spaces, and their places."""

    def __init__(self, measure: Measure, rows: Sequence[TextRow]) -> None:
        text = measure.page_text.encode("utf-32-le", "surrogatepass")
        self.codes = np.frombuffer(text, np.uint32)
        number = np.full(len(self.codes), -1, np.int32)
        for index, row in enumerate(rows):
            number[row.start : row.start + len(row.text)] = index
        solid = np.flatnonzero((number >= 0) & ~np.isin(self.codes, _SPACES))
        positions = solid.tolist()
        boxes = bulk.boxes(measure.address, measure.chars(positions))
        shown = _shown(boxes, measure.page_box)
        turns = measure.turns(positions)
        self.hidden = np.cumsum(~shown)[shown]
        self.positions, self.row = solid[shown], number[solid][shown]
        self.turn = turns[shown]
        self.box = _upright(boxes[shown], measure.rotation // 90 - self.turn)

    @property
    def main_turn(self) -> int:
        """How most of the text is turned."""
        return int(np.bincount(self.turn, minlength=4).argmax()) if len(self.turn) else 0


def _shown(boxes: Any, page: Sequence[float]) -> Any:
    x, y = (boxes[:, 0] + boxes[:, 2]) / 2, (boxes[:, 1] + boxes[:, 3]) / 2
    left, top, right, bottom = page
    return (left <= x) & (x <= right) & (bottom <= y) & (y <= top)


def _upright(boxes: Any, quarters: Any) -> Any:
    """Boxes after each is turned clockwise by its quarters."""
    left, top, right, bottom = boxes.T
    turns = quarters % 4
    choices = (
        (left, top, right, bottom),
        (bottom, -left, top, -right),
        (-right, -bottom, -left, -top),
        (-top, right, -bottom, left),
    )
    return np.stack([np.choose(turns, side) for side in zip(*choices, strict=True)], axis=1)


def cells_of(characters: Characters, found: Sequence[Grid]) -> list[Cell | None]:
    """For each character its cell, in the grids that are tables."""
    cells: list[Cell | None] = [None] * len(characters.positions)
    main = characters.turn == characters.main_turn
    goes_on = _goes_on(characters)
    x = (characters.box[:, 0] + characters.box[:, 2]) / 2
    y = (characters.box[:, 1] + characters.box[:, 3]) / 2
    for number, grid in enumerate(found, start=1):
        inside = main & (grid.xs[0] <= x) & (x <= grid.xs[-1])
        inside &= (grid.ys[-1] <= y) & (y <= grid.ys[0])
        members = np.flatnonzero(inside).tolist()
        places = _places(grid, x[inside], y[inside])
        if _is_table(places) and not _cuts_words(goes_on, members, places):
            for at, place in zip(members, places, strict=True):
                cells[at] = (number, *place)
    return cells


def _places(grid: Grid, x: Any, y: Any) -> list[tuple[int, int]]:
    """Row and column of the cells of these points, which are all within the grid."""
    columns = np.searchsorted(grid.xs, x, side="right") - 1
    rows = np.searchsorted(-np.array(grid.ys), -y, side="right") - 1
    columns = np.clip(columns, 0, len(grid.xs) - 2).tolist()
    rows = np.clip(rows, 0, len(grid.ys) - 2).tolist()
    return [grid.owners[row][column] for row, column in zip(rows, columns, strict=True)]


def _is_table(places: Iterable[tuple[int, int]]) -> bool:
    """Whether at least two rows have text in at least two cells."""
    columns: dict[int, set[int]] = {}
    for row, column in places:
        columns.setdefault(row, set()).add(column)
    return sum(1 for filled in columns.values() if len(filled) > 1) >= 2


def _goes_on(characters: Characters) -> Any:
    """For each character except the last, whether its word goes on in the next one."""
    left, top, right, bottom = characters.box.T
    goes_on = np.diff(characters.positions) == 1
    goes_on &= np.diff(characters.row) == 0
    # pdfium may put no space between the texts of two cells.
    return goes_on & (np.abs(left[1:] - right[:-1]) < _WITHIN_WORD * (top - bottom)[1:])


def _cuts_words(goes_on: Any, members: Sequence[int], places: Sequence[tuple[int, int]]) -> bool:
    """Whether borders of cells go through words, also those at the edge of the table."""
    cell = np.full(len(goes_on) + 1, -1)
    cell[members] = [row * _MOST_COLUMNS + column for row, column in places]
    words = 1 + np.count_nonzero(~goes_on & (cell[1:] >= 0))
    return bool(np.count_nonzero(goes_on & (cell[1:] != cell[:-1])) > _MOST_CUT * words)


def fragments(
    measure: Measure, characters: Characters, cells: Sequence[Cell | None]
) -> list[Fragment]:
    """The text in pieces without gaps, in pdfium's order."""
    count = len(characters.positions)
    if not count:
        return []
    breaks = [0, *(np.flatnonzero(_breaks(characters, cells)) + 1).tolist(), count]
    return [
        _fragment(measure, characters, cells[start], start, end) for start, end in pairwise(breaks)
    ]


def _breaks(characters: Characters, cells: Sequence[Cell | None]) -> Any:
    """For each character except the last, whether a new piece begins after it."""
    left, top, right, bottom = characters.box.T
    height = top - bottom
    size = np.maximum(np.maximum(height[1:], height[:-1]), 1e-6)
    middle = (top + bottom) / 2
    apart = np.abs(middle[1:] - middle[:-1]) > _JUMP * size
    apart |= left[1:] - right[:-1] > WIDE_GAP * size
    apart |= left[1:] < left[:-1] - _BACK * size
    apart |= characters.row[1:] != characters.row[:-1]
    # A hyphen at the end of a line: the word goes on in the next line.
    apart &= characters.codes[characters.positions[:-1]] != ord(BROKEN_WORD)
    apart |= characters.hidden[1:] != characters.hidden[:-1]
    apart |= characters.turn[1:] != characters.turn[:-1]
    return apart | np.array([one != other for one, other in pairwise(cells)], bool)


def _fragment(
    measure: Measure, characters: Characters, cell: Cell | None, start: int, end: int
) -> Fragment:
    first, last = int(characters.positions[start]), int(characters.positions[end - 1])
    left, top, _, lower = map(float, characters.box[start])
    _, upper, right, bottom = map(float, characters.box[end - 1])
    size = max(top - lower, upper - bottom)
    if lower - bottom <= 0.5 * size:  # on one line
        top, bottom = max(top, upper), min(lower, bottom)
    turn = int(characters.turn[start])
    line = Line(
        text=measure.page_text[first : last + 1],
        left=left,
        right=right,
        top=top,
        bottom=bottom,
        size=size,
        bold=all(measure.are_bold((first, last))),
        runs=turn == 0 and measure.runs_at(top, bottom),
    )
    return Fragment(line, int(characters.row[start]), turn, cell)

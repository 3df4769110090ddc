"""Finds the tables on a sheet: where each begins, the text above it, and its rows."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice

from docmill.worker.extraction.child.kinds.ooxml.cells import Cells, NumberedRow
from docmill.worker.extraction.child.kinds.tables import (
    Figure,
    TableForm,
    continued,
    table_elements,
)
from docmill.worker.models import Element

#: This many rows decide the columns of tables side by side, which are then read in turns.
_BATCH_ROWS = 1_000
#: This many rows show the columns of a table, and which row has their names.
_LEADING_ROWS = 12
#: A table beside others has at least this many columns and rows.
_LEAST_COLUMNS = _LEAST_ROWS = 2
#: At most this many tables side by side are looked for; each row of the sheet is cut into as many
#: parts.
_MOST_BESIDE = 64
#: A row with more empty cells than this between a few others is written without them.
_MAX_EMPTY = 256
#: Depth of the last line above a table, under the name of the sheet.
_CAPTION_DEPTH = 1


def sheet_elements(rows: Iterable[NumberedRow]) -> Iterator[Element]:
    """Elements of the tables on a sheet, each under its captions, its rows under their header.

    Rows after an empty row belong to the table above if they have its columns and no names of their
    own. Tables side by side are read separately. Rows are taken batch by batch.
    """
    above = _Table()
    for block in _Blocks(rows):
        batch = list(islice(block, _BATCH_ROWS))
        if not batch:
            continue
        starts = _starts(batch)
        if len(starts) < 2:
            yield from above.rows(chain(batch, block))
            continue
        yield from _side_by_side(batch, block, starts)
        above = _Table()


class _Blocks:
    """Blocks of rows without an empty row between them."""

    def __init__(self, rows: Iterable[NumberedRow]) -> None:
        self._rows = iter(rows)
        self._next = next(self._rows, None)

    def __iter__(self) -> Iterator[Iterator[Cells]]:
        while self._next is not None:
            yield self._block()

    def _block(self) -> Iterator[Cells]:
        before = None
        while self._next is not None:
            number, cells = self._next
            if before is not None and number > before + 1:
                return
            before = number
            self._next = next(self._rows, None)
            if cells:
                yield cells


def _side_by_side(
    batch: list[Cells], rest: Iterator[Cells], starts: Sequence[int]
) -> Iterator[Element]:
    tables = [_Table() for _start in starts]
    while batch:
        parts = [_apart(cells, starts) for cells in batch]
        for table, column in zip(tables, zip(*parts, strict=True), strict=True):
            for filled in _Blocks((number, cells) for number, cells in enumerate(column) if cells):
                yield from table.rows(filled)
            table.is_open = bool(column[-1])
        batch = list(islice(rest, _BATCH_ROWS))


def _apart(cells: Cells, starts: Sequence[int]) -> list[Cells]:
    """The cells of each table in a row. A cell between two tables belongs to the left one."""
    parts: list[Cells] = [{} for _start in starts]
    for column, text in cells.items():
        parts[max(0, bisect_right(starts, column) - 1)][column] = text
    return parts


def _starts(rows: Sequence[Cells]) -> list[int]:
    """The first columns of the tables side by side in some rows."""
    counts: dict[int, int] = {}
    for cells in rows:
        for column in cells:
            counts[column] = counts.get(column, 0) + 1
    runs = _runs(sorted(counts))
    starts = [run[0] for run in runs]
    is_beside = 2 <= len(runs) <= _MOST_BESIDE and all(_is_table(run, rows) for run in runs)
    if not is_beside:
        starts = starts[:1]
    found = [start for begin, end in _bounds(starts) for start in _again(rows, begin, end)]
    return found if len(found) <= _MOST_BESIDE else starts


def _runs(columns: Sequence[int]) -> list[list[int]]:
    runs: list[list[int]] = []
    for column in columns:
        if runs and column == runs[-1][-1] + 1:
            runs[-1].append(column)
        else:
            runs.append([column])
    return runs


def _is_table(run: Sequence[int], rows: Sequence[Cells]) -> bool:
    wanted = set(run)
    filled = sum(1 for cells in rows if len(wanted & cells.keys()) >= _LEAST_COLUMNS)
    return len(run) >= _LEAST_COLUMNS and filled >= _LEAST_ROWS


def _bounds(starts: Sequence[int]) -> list[tuple[int, int | None]]:
    return list(zip(starts, [*starts[1:], None], strict=True))


def _again(rows: Sequence[Cells], begin: int, end: int | None) -> list[int]:
    """Where a table begins again with the same names: `a | b | a | b` is two side by side."""
    for cells in rows[:_LEADING_ROWS]:
        columns = [column for column in cells if column >= begin and (not end or column < end)]
        names = [cells[column] for column in columns]
        if any(isinstance(name, Figure) for name in names):
            break
        # They repeat where the first name comes again; before that all names differ.
        width = names.index(names[0], 1) if names and names.count(names[0]) > 1 else 0
        is_again = width >= _LEAST_COLUMNS and names == names[:width] * (len(names) // width)
        if is_again and len(set(names[:width])) == width:
            return [begin, *columns[width::width]]
    return [begin]


class _Table:
    """A table whose rows come block by block."""

    def __init__(self) -> None:
        self._form: TableForm | None = None
        self._first = self._width = 0
        self._figures: set[int] = set()  # columns with figures
        self.is_open = False  # the next rows belong to it in any case

    def rows(self, block: Iterator[Cells]) -> Iterator[Element]:
        """Elements of the next rows without an empty one between them."""
        leading = list(islice(block, _LEADING_ROWS))
        if not leading:
            return
        goes_on = self._form is not None and (self.is_open or self._goes_on(leading))
        self.is_open = False
        if not goes_on:
            self._begin(leading)
        rows: Iterator[list[str]] = map(self._row, chain(leading, block))
        if goes_on and self._form is not None:
            yield from continued(rows, self._form)
            return
        titles = _title_rows(leading)
        rows = chain(([" | ".join(filter(None, row))] for row in islice(rows, titles)), rows)
        yield from table_elements(rows, caption_depth=_CAPTION_DEPTH)

    def _begin(self, leading: Sequence[Cells]) -> None:
        table = leading[_title_rows(leading) :]
        self._first = min(min(cells) for cells in leading)
        self._width = max(len(cells) for cells in table)
        self._form = TableForm.of(map(self._row, table))
        body = table[1:]
        self._figures = {
            column
            for column in {column for cells in body for column in cells}
            if any(isinstance(cells.get(column), Figure) for cells in body)
        }

    def _goes_on(self, leading: Sequence[Cells]) -> bool:
        """Whether rows after an empty row belong to the same table."""
        first = leading[0]
        if len(first) < 2 or min(first) != self._first or len(first) > self._width:
            return False
        if any(isinstance(text, Figure) for text in first.values()):
            return True
        named = self._figures | {
            column
            for cells in leading[1:]
            for column, text in cells.items()
            if isinstance(text, Figure)
        }
        # Words above figures are names of columns. Otherwise only rows with the same columns
        # belong.
        return not (named & first.keys()) and len(first) == self._width

    def _row(self, cells: Cells) -> list[str]:
        """The cells in their columns. Keeps cells to the left of the first column too."""
        last = max(cells)
        if last - self._first > _MAX_EMPTY + 4 * len(cells):
            return [cells[column] for column in sorted(cells)]
        row = [cells.get(column, "") for column in range(self._first, last + 1)]
        outside = [text for column, text in cells.items() if column < self._first]
        return [" ".join([*outside, *row[:1]]).strip(), *row[1:]] if outside else row


def _title_rows(leading: Sequence[Cells]) -> int:
    """How many rows are above the row of names: they are at most half as wide."""
    for number, cells in enumerate(leading[:-1]):
        widest = max(len(following) for following in leading[number + 1 : number + 4])
        if len(cells) > 1 and 2 * len(cells) > widest:
            return number
        if len(cells) == 1 and widest < 2:
            return 0
    return 0

"""Tables of Word as rows of text and as HTML."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html import escape
from typing import Any

from docmill.worker.extraction.child.kinds.ooxml.names import W
from docmill.worker.extraction.shared.protocol import MAX_HTML_CHARACTERS

#: Word's own limit. A cell may claim to span any number.
_MAX_COLUMNS = 63

ReadParagraph = Callable[[Any], str]


@dataclass
class _Cell:
    text: str
    column: int
    columns: int
    rows: int = 1


@dataclass(frozen=True)
class WordTable:
    """A table with its cells in their columns. A spanning cell is in its first column."""

    rows: list[list[str]]
    html: str  #: empty if it would be long


def read_table(table: Any, read_paragraph: ReadParagraph) -> WordTable:
    """Read a `w:tbl`; tables within its cells become text of the cell."""
    above: dict[int, _Cell] = {}
    rows = [_cells(row, above, read_paragraph) for row in table.iterchildren(f"{W}tr")]
    return WordTable([_in_columns(row) for row in rows], _html(rows))


def _cells(row: Any, above: dict[int, _Cell], read_paragraph: ReadParagraph) -> list[_Cell]:
    """Cells that begin in a row. Cells of `above` that go on grow."""
    cells = []
    column = _count(row.find(f"{W}trPr/{W}gridBefore"), least=0)
    for found in row.iterchildren(f"{W}tc"):
        columns = _count(found.find(f"{W}tcPr/{W}gridSpan"), least=1)
        if _goes_on(found) and column in above:
            above[column].rows += 1
        else:
            cell = _Cell(" ".join(_texts(found, read_paragraph)), column, columns)
            cells.append(cell)
            above[column] = cell
        column = min(column + columns, _MAX_COLUMNS)
    return cells


def _count(setting: Any, *, least: int) -> int:
    try:
        value = int(setting.get(f"{W}val", "")) if setting is not None else least
    except ValueError:
        value = least
    return max(least, min(value, _MAX_COLUMNS))


def _goes_on(cell: Any) -> bool:
    """Whether this is a lower part of a cell that spans rows, of which Word shows nothing."""
    merge = cell.find(f"{W}tcPr/{W}vMerge")
    return merge is not None and merge.get(f"{W}val", "continue") == "continue"


def _texts(cell: Any, read_paragraph: ReadParagraph) -> Iterator[str]:
    for block in cell.iterchildren(f"{W}p", f"{W}tbl"):
        if block.tag == f"{W}p":
            yield read_paragraph(block)
            continue
        for row in block.iterchildren(f"{W}tr"):
            for inner in row.iterchildren(f"{W}tc"):
                if not _goes_on(inner):
                    yield from _texts(inner, read_paragraph)


def _in_columns(cells: list[_Cell]) -> list[str]:
    row: list[str] = []
    for cell in cells:
        row.extend([""] * (cell.column - len(row)))
        row.append(cell.text)
    return row


def _html(rows: list[list[_Cell]]) -> str:
    if sum(len(cell.text) for row in rows for cell in row) > MAX_HTML_CHARACTERS:
        return ""
    written = ("".join(map(_html_cell, row)) for row in rows)
    return f"<table>{''.join(f'<tr>{row}</tr>' for row in written)}</table>"


def _html_cell(cell: _Cell) -> str:
    spans = f' colspan="{cell.columns}"' if cell.columns > 1 else ""
    spans += f' rowspan="{cell.rows}"' if cell.rows > 1 else ""
    return f"<td{spans}>{escape(' '.join(cell.text.split()))}</td>"

"""Tables as text: a line for each row, bars between cells, groups of rows under the header."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice

from lxml import html as lxml_html  # type: ignore[import-untyped]  # ships no types

from docmill.worker.extraction.child.kinds.grouping import GROUP_CHARACTERS
from docmill.worker.extraction.shared.protocol import (
    ROWS_FIRST,
    ROWS_MORE,
    ROWS_WITHOUT_NAMES,
)
from docmill.worker.models import Element

#: A longer header is not repeated, because it would fill a group by itself.
_MAX_HEADER_CHARACTERS = GROUP_CHARACTERS // 3
#: How many rows are searched for rows with one cell (a caption, a date) above the header.
_MAX_LEADING_ROWS = 10

Row = Sequence[str]


class Figure(str):
    """The text of a cell with a number, date or truth value, which cannot name a column."""

    __slots__ = ()


def table_elements(
    rows: Iterable[Row],
    *,
    page: int | None = None,
    page_name: str | None = None,
    caption_depth: int | None = None,
    html: str = "",
) -> Iterator[Element]:
    """Elements of one table: captions above it, then its rows in groups that repeat the header.

    Rows are taken one by one, so a table of any length needs little memory. `html` is kept if the
    whole table fits into one element. A table with one column is a list, and becomes text. With
    `caption_depth` the last caption becomes the title of the rows.
    """
    metadata = {"page_name": page_name} if page_name else {}
    captions, table = _without_captions(_filled_rows(rows))
    for left, caption in zip(range(len(captions) - 1, -1, -1), captions, strict=True):
        title = caption_depth is not None and left == 0
        depth = caption_depth if title else None
        yield Element("Title" if title else "Text", caption, page, depth, metadata)
    header = next(table, None)
    if header is None:
        return
    form = _form(header)
    groups = _groups([_line(header)], table, form.repeated)
    first, second = next(groups), next(groups, None)
    if second is None:
        whole = {"text_as_html": html} if html else {}
        yield Element(form.category, first, page=page, metadata={**metadata, **whole})
        return
    yield Element(form.category, first, page=page, metadata={**metadata, **form.mark(ROWS_FIRST)})
    for group in chain([second], groups):
        yield Element(form.category, group, page=page, metadata={**metadata, **form.more})


@dataclass(frozen=True)
class TableForm:
    """Facts from the beginning of a table that the rest of it needs."""

    category: str
    repeated: list[str]  #: lines at the top of every group

    def mark(self, rows: str) -> dict[str, str]:
        """The metadata of an element with only a part of the rows."""
        return {"rows": rows} if self.category == "Table" else {}

    @property
    def more(self) -> dict[str, str]:
        """The metadata of an element with further rows."""
        return self.mark(ROWS_MORE if self.repeated else ROWS_WITHOUT_NAMES)

    @staticmethod
    def of(rows: Iterable[Row]) -> "TableForm":
        """The form of a table that begins with these rows."""
        _captions, table = _without_captions(_filled_rows(rows))
        return _form(next(table, []))


def continued(rows: Iterable[Row], form: TableForm) -> Iterator[Element]:
    """Elements of further rows of a table."""
    for group in _groups(form.repeated, _filled_rows(rows), form.repeated):
        yield Element(form.category, group, metadata=form.more)


def _form(header: list[str]) -> TableForm:
    line = _line(header)
    if len(header) < 2:
        return TableForm("Text", [])
    return TableForm("Table", [line] if len(line) <= _MAX_HEADER_CHARACTERS else [])


def _filled_rows(rows: Iterable[Row]) -> Iterator[list[str]]:
    return (row for row in map(_trimmed, rows) if row)


def _trimmed(row: Row) -> list[str]:
    """Cells in one line each, without the empty ones at the end."""
    cells = [" ".join(cell.split()) for cell in row]
    while cells and not cells[-1]:
        cells.pop()
    return cells


def _without_captions(rows: Iterator[list[str]]) -> tuple[list[str], Iterator[list[str]]]:
    """Single cells above the first row with several cells, and the rows from there on."""
    leading = list(islice(rows, _MAX_LEADING_ROWS))
    wide = next((number for number, row in enumerate(leading) if _filled(row) > 1), 0)
    captions = ["".join(row) for row in leading[:wide]]
    return captions, chain(leading[wide:], rows)


def _filled(row: Row) -> int:
    return sum(1 for cell in row if cell.strip())


def _groups(top: list[str], rows: Iterable[list[str]], repeated: list[str]) -> Iterator[str]:
    """Lines in groups. The first group begins with `top`, the others with `repeated`."""
    lines, size = list(top), sum(map(len, top))
    for row in rows:
        line = _line(row)
        if size + len(line) > GROUP_CHARACTERS and len(lines) > len(repeated):
            yield "\n".join(lines)
            lines, size = list(repeated), sum(map(len, repeated))
        lines.append(line)
        size += len(line) + 1
    if lines:
        yield "\n".join(lines)


def _line(row: Row) -> str:
    return " | ".join(row)


def rows_of_html(html: str) -> list[list[str]]:
    """Rows of a table that unstructured rendered; spans are not repeated."""
    table = lxml_html.fragment_fromstring(html)
    return [
        [cell.text_content() for cell in row.iterchildren("td", "th")] for row in table.iter("tr")
    ]


def is_layout(rows: Iterable[Row]) -> bool:
    """Whether a table is only layout and holds no data: no row has two filled cells."""
    return all(_filled(row) < 2 for row in rows)

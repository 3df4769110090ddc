"""Simplifies HTML: everything that a browser shows, in the few tags that unstructured reads fully.

unstructured leaves out text beside `<main>`, in figures, summaries, captions and forms, and splits
the content of table cells. Here each of these is turned into something that it reads.
"""

from collections.abc import Iterator

from lxml import etree  # type: ignore[import-untyped]  # ships no types
from lxml import html as lxml_html

from docmill.worker.extraction.child.kinds.tables import is_layout

#: Containers become blocks; inline tags become text of the line.
_PLAIN_TAGS = {
    **dict.fromkeys(("main", "figure", "details", "fieldset", "form", "search", "dialog"), "div"),
    **dict.fromkeys(("figcaption", "summary", "legend", "caption", "textarea"), "div"),
    **dict.fromkeys(("label", "button", "output"), "span"),
    **dict.fromkeys(("menu", "dir"), "ul"),
    **dict.fromkeys(("xmp", "listing", "plaintext"), "pre"),
}
#: Types of form fields whose value is typed text.
_TYPED = frozenset({"", "text", "email", "tel", "url", "number", "date", "time", "search"})
_CELLS = frozenset({"td", "th"})
_TABLE_TAGS = frozenset({"thead", "tbody", "tfoot", "tr", "td", "th", "colgroup", "col"})
#: Parts of a table with text or elements that do not belong there.
_UNTIDY = etree.XPath(
    "descendant-or-self::*[self::table or self::thead or self::tbody or self::tfoot or self::tr]"
    "[text()[normalize-space()] or *[not({})]]".format(
        " or ".join(f"self::{tag}" for tag in sorted(_TABLE_TAGS))
    )
)
_SPANNING = etree.XPath("boolean(.//*[@colspan or @rowspan])")
_HIDDEN = etree.XPath(".//*[@hidden]")
_CONTROLS = etree.XPath(".//@aria-controls", smart_strings=False)
#: Never shown as text.
_NO_TEXT = frozenset({"script", "style", "template", "noscript", "select", "datalist", "del"})
_BLOCKS = frozenset(
    """address article aside blockquote br center dd div dl dt footer h1 h2 h3 h4 h5 h6 header hr
    li ol p pre section table tr ul""".split()  # noqa: SIM905 -- literals would take a page
)
#: Spanning cells are repeated at most this often in one table, and over at most this many columns.
_MAX_REPEATED = 20_000
_MAX_REPEATED_CHARACTERS = 1_000_000
#: Limits for a whole page; empty cells that only keep the columns count too.
_MAX_CELLS_OF_PAGE, _MAX_CHARACTERS_OF_PAGE = 300_000, 4_000_000
_MAX_COLUMNS = 200


def make_plain(tree: etree._Element) -> None:
    """Turn parts that unstructured would leave out into parts that it reads. Repeatable."""
    _empty_hidden(tree)
    _straighten_tables(tree)
    _unwrap_layout_tables(tree)
    page = _Budget(_MAX_CELLS_OF_PAGE, _MAX_CHARACTERS_OF_PAGE)
    for table in tree.iter("table"):
        if _SPANNING(table):
            _fill(table, page)
    for cell in tree.iter("td", "th"):
        _make_text(cell)
    for node in list(tree.iter(*_PLAIN_TAGS, "input", "math")):
        _make_plain(node)


def text_of_markup(markup: str) -> str:
    """The words of a piece of HTML as a browser shows them, in one line."""
    parser = lxml_html.HTMLParser(huge_tree=True, remove_comments=True, remove_pis=True)
    try:
        tree = lxml_html.document_fromstring(markup.replace("\x00", ""), parser)
    except etree.ParserError:  # lxml raises this for an empty text
        return ""
    return " ".join("".join(_texts(tree)).split())


def _make_plain(node: etree._Element) -> None:
    tag = node.tag
    if tag == "input" and node.get("value") and node.get("type", "").lower() in _TYPED:
        node.tag, node.text = "span", f" {node.get('value')} "
    elif tag == "math" and not _has_formula(node):
        node.tag = "span"
    elif tag == "dialog" and node.get("open") is None:
        return
    elif tag in _PLAIN_TAGS:
        node.tag = _PLAIN_TAGS[tag]


def _has_formula(math: etree._Element) -> bool:
    """Whether a formula also exists as text."""
    return bool(math.get("alttext")) or next(math.iter("annotation"), None) is not None


def _empty_hidden(tree: etree._Element) -> None:
    """Remove elements marked as hidden, except panels that something on the page opens."""
    hidden = _HIDDEN(tree)
    opened = {name for names in (_CONTROLS(tree) if hidden else ()) for name in names.split()}
    for node in hidden:
        opens = node.get("hidden") == "until-found" or node.get("role") == "tabpanel"
        if not opens and node.get("id") not in opened and node.getparent() is not None:
            node.drop_tree()


def _straighten_tables(tree: etree._Element) -> None:
    """Keep only rows and cells in tables; move everything between them before the table."""
    # All at once, because tables may be nested hundreds of levels deep.
    for part in _UNTIDY(tree):
        table = part if part.tag == "table" else _table_of(part)
        if table is not None:
            _straighten(part, table)


def _straighten(part: etree._Element, table: etree._Element) -> None:
    for child in list(part.iterchildren(etree.Element)):
        if child.tag == "caption":
            _move_before(child, table)
        elif child.tag not in _TABLE_TAGS:
            _move_or_unwrap(child, table)
    _move_texts(part, table)


def _move_or_unwrap(child: etree._Element, table: etree._Element) -> None:
    if next(child.iterdescendants("tr", "td", "th"), None) is not None and child.tag != "table":
        unwrap(child)
    else:
        _move_before(child, table)


def unwrap(node: etree._Element) -> None:
    """Replace a node by its content, in time that does not depend on its siblings."""
    parent = node.getparent()
    if parent is None:
        return
    _append_text(node.getprevious(), parent, node.text)
    for child in list(node):
        node.addprevious(child)
    _append_text(node.getprevious(), parent, node.tail)
    node.tail = None
    parent.remove(node)


def _move_before(node: etree._Element, table: etree._Element) -> None:
    """Move it before its table, as browsers do; a caption too."""
    parent = node.getparent()
    if parent is None or table.getparent() is None:
        return
    tail, node.tail = node.tail, None
    _append_text(node.getprevious(), parent, tail)
    table.addprevious(node)
    if node.tag == "caption":
        node.tag = "div"


def _move_texts(part: etree._Element, table: etree._Element) -> None:
    texts = [part.text, *(child.tail for child in part)]
    if not any((text or "").strip() for text in texts):
        return
    part.text = None
    for child in part:
        child.tail = None
    if table.getparent() is not None:
        stray = table.makeelement("div")
        stray.text = " ".join(filter(None, texts))
        table.addprevious(stray)


def _append_text(before: etree._Element | None, parent: etree._Element, text: str | None) -> None:
    if not text:
        return
    if before is not None:
        before.tail = (before.tail or "") + text
    else:
        parent.text = (parent.text or "") + text


def _unwrap_layout_tables(tree: etree._Element) -> None:
    """Turn layout tables into blocks: their text is prose, not rows."""
    tables = list(tree.iter("table"))
    own: dict[etree._Element, list[etree._Element]] = {table: [] for table in tables}
    for part in tree.iter("tbody", "thead", "tfoot", "tr", "td", "th"):
        if (table := _table_of(part)) is not None:
            own[table].append(part)
    for table in tables:
        if _is_layout(table):
            for part in (table, *own[table]):
                part.tag = "div"


def _is_layout(table: etree._Element) -> bool:
    if next(table.iterdescendants("table"), None) is not None:
        return True
    return is_layout([[cell.text_content() for cell in row] for row in table.iter("tr")])


def _table_of(part: etree._Element) -> etree._Element | None:
    return next(part.iterancestors("table"), None)


def _fill(table: etree._Element, page: "_Budget") -> None:
    """Give each cell one text, and repeat a spanning cell in each place.

    Then every row can be read by itself. A cell as wide as the table is a line between its rows.
    """
    budget = _Budget(_MAX_REPEATED, _MAX_REPEATED_CHARACTERS, page)
    width = max((_width(row) for row in table.iter("tr")), default=0)
    above: dict[int, tuple[int, etree._Element]] = {}  # by column: remaining rows, and the cell
    for row in table.iter("tr"):
        above = _fill_row(row, above, width, budget)


class _Budget:
    """How much may still be repeated in a table or on a page."""

    def __init__(self, cells: int, characters: int, page: "_Budget | None" = None) -> None:
        self._cells, self._characters = cells, characters
        self._page = page

    @property
    def is_left(self) -> bool:
        """Whether a cell may still be repeated on the page, even if only to keep the columns."""
        return self._cells > 0 if self._page is None else self._page.is_left

    def copy_of(self, cell: etree._Element) -> etree._Element:
        """A copy of the cell; an empty one if too many were repeated."""
        copy = cell.makeelement(cell.tag)
        copy.text = cell.text if self.take(len(cell.text or "")) else ""
        return copy

    def take(self, characters: int) -> bool:
        """Count one more cell. Returns whether its text may be repeated."""
        self._cells -= 1
        self._characters -= characters
        is_here = self._cells > 0 and self._characters > 0
        if self._page is None:
            return is_here
        return self._page.take(characters if is_here else 0) and is_here


def _fill_row(
    row: etree._Element,
    above: dict[int, tuple[int, etree._Element]],
    width: int,
    budget: _Budget,
) -> dict[int, tuple[int, etree._Element]]:
    """Fill one row. Returns the cells that go on in the rows below."""
    below: dict[int, tuple[int, etree._Element]] = {}
    filled: list[etree._Element] = []

    def take_from_above() -> None:
        while len(filled) in above and budget.is_left:
            rows, cell = above[len(filled)]
            if rows > 1:
                below[len(filled)] = (rows - 1, cell)
            filled.append(budget.copy_of(cell))

    cells = [cell for cell in row if cell.tag in _CELLS]
    for cell in cells:
        take_from_above()
        _make_text(cell)
        columns = _span(cell, "colspan")
        repeated = 1 if columns >= width and len(cells) == 1 else columns
        for number in range(repeated if budget.is_left else 1):
            if (rows := _span(cell, "rowspan")) > 1:
                below[len(filled)] = (rows - 1, cell)
            filled.append(budget.copy_of(cell) if number else cell)
    take_from_above()
    row[:] = filled
    return below


def _width(row: etree._Element) -> int:
    return sum(_span(cell, "colspan") for cell in row if cell.tag in _CELLS)


def _span(cell: etree._Element, name: str) -> int:
    value = cell.get(name, "1").strip()
    if not value.isascii() or not value.isdigit() or len(value) > 5:
        return 1
    return min(int(value), _MAX_COLUMNS) if name == "colspan" else max(1, int(value))


def _make_text(cell: etree._Element) -> None:
    """Replace the content of a cell by one text, as a browser shows it."""
    if len(cell):
        text = " ".join("".join(_texts(cell)).split())
        del cell[:]
        cell.text = text


def _texts(node: etree._Element) -> Iterator[str]:
    """The visible texts of a node in order, blocks separately."""
    skipped = 0
    for event, inner in etree.iterwalk(node, events=("start", "end")):
        shown = isinstance(inner.tag, str)
        if event == "start":
            skipped += inner.tag in _NO_TEXT
            if shown and not skipped:
                yield " " if inner.tag in _BLOCKS else ""
                yield _own_text(inner)
            continue
        if shown and inner.tag in _BLOCKS:
            yield " "
        skipped -= inner.tag in _NO_TEXT
        if not skipped and inner is not node:
            yield inner.tail or ""


def _own_text(node: etree._Element) -> str:
    if node.tag == "input" and node.get("type", "").lower() in _TYPED:
        return f" {node.get('value', '')} "
    if node.tag == "img":
        return f" {node.get('alt', '')} "
    return node.text or ""

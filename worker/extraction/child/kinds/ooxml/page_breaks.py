"""Finds the page breaks of Word's last layout of a document."""

from collections.abc import Iterator
from copy import deepcopy
from itertools import islice
from typing import Any

from docx.oxml.parser import OxmlElement

from docmill.worker.extraction.child.kinds.ooxml.names import W
from docmill.worker.extraction.child.kinds.ooxml.story import NOTE

_BREAK = f"{W}lastRenderedPageBreak"
#: Larger properties, which no program writes, are not copied to each page.
_MOST_PROPERTIES = 500


def has_break(node: Any) -> bool:
    """Whether a page begins in this node."""
    return next(node.iter(_BREAK), None) is not None


def pieces(paragraph: Any) -> Iterator[Any]:
    """The paragraph page by page: its content is moved into new paragraphs of the same kind."""
    piece = _like(paragraph)
    for child in [child for child in paragraph if child.tag != f"{W}pPr"]:
        for part in _around_breaks(child):
            if part is not None:
                piece.append(part)
                continue
            yield piece
            piece = _like(paragraph)
            if NOTE in piece.attrib:
                piece.set(NOTE, "")
    yield piece


def _like(paragraph: Any) -> Any:
    new = OxmlElement("w:p", attrs=dict(paragraph.attrib))
    properties = paragraph.find(f"{W}pPr")
    if properties is not None and not _is_large(properties):
        new.append(deepcopy(properties))
    return new


def _is_large(properties: Any) -> bool:
    return next(islice(properties.iter(), _MOST_PROPERTIES, None), None) is not None


def _around_breaks(child: Any) -> list[Any]:
    """A run cut into several, with None for each new page; a link is not cut."""
    if child.tag == f"{W}r" and child.find(_BREAK) is not None:
        return _runs(child)
    ends = [None for _ in child.iter(_BREAK)]
    return [*ends, child] if _begins_with_break(child) else [child, *ends]


def _begins_with_break(link: Any) -> bool:
    first = next(link.iter(_BREAK, f"{W}t"), None)
    return first is not None and first.tag == _BREAK


def _runs(run: Any) -> list[Any]:
    properties = run.find(f"{W}rPr")
    parts: list[Any] = []
    new = None
    for child in list(run):
        if child.tag == _BREAK:
            parts.append(None)
            new = None
        elif child is not properties:
            if new is None:
                new = OxmlElement("w:r")
                parts.append(new)
            new.append(child)
    return parts


def pages_begun_in(table: Any) -> int:
    """How many pages begin in a table: in each row the cell with the most counts."""
    return sum(
        max((sum(1 for _ in cell.iter(_BREAK)) for cell in row.iterchildren(f"{W}tc")), default=0)
        for row in table.iterchildren(f"{W}tr")
        if has_break(row)
    )

"""Finds what the lines of a page are: paragraphs, titles, list items, tables, running lines."""

import re
import statistics
from collections.abc import Iterator, Sequence

from docmill.worker.extraction.child.kinds.page.items import (
    begins_item,
    begins_with_bullet,
    is_contents_entry,
)
from docmill.worker.extraction.child.kinds.page.layout import Line
from docmill.worker.extraction.child.kinds.page.paragraphs import blocks, ends_sentence
from docmill.worker.extraction.child.kinds.page.style import Style, edges, letters_of
from docmill.worker.extraction.child.kinds.tables import table_elements
from docmill.worker.extraction.shared.running import marks_of
from docmill.worker.models import Element

#: A line this many times larger than the body text is a title; the first factor is for the highest
#: heading.
_TITLE_SIZES = (1.8, 1.4, 1.17)
_MAX_TITLE_CHARACTERS = 200
_MAX_TITLE_LINES = 3
_LETTERS = re.compile(r"[^\W\d_]{2}")


def page_elements(lines: Sequence[Line], style: Style, page: int) -> list[Element]:
    """Paragraphs, titles, list items and running lines of one page."""
    running = {id(line) for line in edges(lines) if marks_of(line.text, page) & style.running}
    body = [line for line in lines if id(line) not in running]
    headers = [Element("Header", line.text, page=page) for line in lines if id(line) in running]
    titles = style.outline.get(page, {})
    found = [element for block in blocks(body, titles) for element in _elements(block, style, page)]
    return [*headers, *found]


def _elements(block: Sequence[Line], style: Style, page: int) -> Iterator[Element]:
    if block[0].cells:
        yield from table_elements([line.cells for line in block], page=page)
    else:
        yield _element(block, style, page)


def _element(block: Sequence[Line], style: Style, page: int) -> Element:
    text = " ".join(line.text for line in block)
    titles = style.outline.get(page)
    depth = titles.get(letters_of(text)) if titles else None
    if is_contents_entry(text):
        return Element("ListItem", text, page=page)
    if depth is None:
        depth = _title_depth(block, text, style)
    if depth is not None:
        return Element("Title", text, page=page, depth=depth)
    if begins_with_bullet(text):
        return Element("ListItem", text[1:].lstrip(), page=page)
    if begins_item(text):
        return Element("ListItem", text, page=page)
    return Element("NarrativeText", text, page=page)


def _title_depth(block: Sequence[Line], text: str, style: Style) -> int | None:
    """Depth of a heading, from its size compared with the body text; None if it is no heading."""
    too_long = len(text) > _MAX_TITLE_CHARACTERS or len(block) > _MAX_TITLE_LINES
    if too_long or not _LETTERS.search(text):
        return None
    ratio = statistics.median(line.size for line in block) / style.body_size
    for depth, least in enumerate(_TITLE_SIZES):
        if ratio >= least:
            return depth
    is_sentence = ends_sentence(text) and len(text.split()) > 3
    if all(line.bold for line in block) and ratio >= 0.95 and not is_sentence:
        return len(_TITLE_SIZES)
    return None

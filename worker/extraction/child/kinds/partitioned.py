"""Turns the results of unstructured's partitioners into docmill's elements."""

import re
from collections.abc import Iterable, Iterator
from typing import Any

from docmill.worker.extraction.child.kinds import tables
from docmill.worker.extraction.shared.protocol import MAX_LINKS_CHARACTERS
from docmill.worker.models import Element, JsonObject

#: unstructured detects languages by default, which takes longer than the parsing.
NO_LANGUAGES = [""]
#: Links to other places; not scripts, anchors or data.
_OUTSIDE = re.compile(r"(?:https?://|mailto:)\S", re.IGNORECASE)
_NAMES = {"UncategorizedText": "Text"}


def elements_of(partitioned: Iterable[Any]) -> Iterator[Element]:
    """Elements of docmill from unstructured's: no page breaks and metadata, tables as rows.

    An element that is already docmill's stays as it is.
    """
    for found in partitioned:
        if isinstance(found, Element):
            yield found
            continue
        if found.category == "PageBreak":
            continue
        if found.category == "Table":
            yield from _table(found)
        else:
            yield Element(
                category=_NAMES.get(found.category, found.category),
                text=found.text or "",
                page=found.metadata.page_number,
                depth=found.metadata.category_depth if found.category == "Title" else None,
                metadata=_links(found.metadata.link_urls or ()),
            )


def _links(addresses: Iterable[str | None]) -> JsonObject:
    """Addresses of links to other places, one in each line, as many as fit."""
    links = ""
    for address in dict.fromkeys(addresses):
        one_line = "".join((address or "").split())
        if _OUTSIDE.match(one_line) and len(links) + len(one_line) < MAX_LINKS_CHARACTERS:
            links += f"{one_line}\n"
    return {"links": links.rstrip()} if links else {}


def _table(found: Any) -> Iterator[Element]:
    html = found.metadata.text_as_html
    rows = tables.rows_of_html(html) if html else []
    if not rows:
        yield Element("Table", found.text or "", page=found.metadata.page_number)
        return
    yield from tables.table_elements(rows, page=found.metadata.page_number, html=html)


def body_titles_demoted(elements: Iterable[Element]) -> Iterator[Element]:
    """Keep a guessed title only if suitable text follows.

    unstructured takes short lines for titles. A wrong heading would cut a text apart, and would be
    the heading of the wrong text.
    """
    held: Element | None = None
    for element in elements:
        if held is not None:
            yield held if _is_body(element) else _demoted(held)
        held = None
        if element.category == "Title":
            held = element
        else:
            yield element
    if held is not None:
        yield _demoted(held)


def _is_body(element: Element) -> bool:
    return element.category in {"NarrativeText", "ListItem", "Table", "CodeSnippet"} or (
        element.category == "Text" and len(element.text) > 80
    )


def _demoted(title: Element) -> Element:
    return Element("Text", title.text, page=title.page)

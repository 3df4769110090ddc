"""From what unstructured's partitioners return to our elements."""

from collections.abc import Iterable, Iterator
from typing import Any

from worker.extraction.kinds import tables
from worker.models import Element

#: unstructured detects languages by default, which takes longer than the parsing.
NO_LANGUAGES = [""]
_NAMES = {"UncategorizedText": "Text"}


def elements_of(partitioned: Iterable[Any]) -> Iterator[Element]:
    """Our elements of unstructured's: page breaks dropped, tables as rows, metadata left behind."""
    for found in partitioned:
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
            )


def _table(found: Any) -> Iterator[Element]:
    html = found.metadata.text_as_html
    rows = tables.rows_of_html(html) if html else []
    if not rows:
        yield Element("Table", found.text or "", page=found.metadata.page_number)
        return
    yield from tables.table_elements(rows, page=found.metadata.page_number, html=html)


def body_titles_demoted(elements: Iterable[Element]) -> Iterator[Element]:
    """Keep a guessed title only where text follows that it can be the title of.

    Short lines look like titles to unstructured. A heading that names nothing would cut a text to
    pieces and stand over the wrong one.
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

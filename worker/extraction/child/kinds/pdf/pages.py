"""What a page of a PDF holds, found in one look at it: to load a page takes as long as its text."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import pypdfium2

from docmill.worker.extraction.child.kinds.page.elements import page_elements
from docmill.worker.extraction.child.kinds.page.layout import Line
from docmill.worker.extraction.child.kinds.page.style import Style
from docmill.worker.extraction.child.kinds.pdf import scans
from docmill.worker.extraction.child.kinds.pdf.lines import lines_of
from docmill.worker.extraction.child.kinds.pdf.notes import notes_of
from docmill.worker.extraction.child.places import place_of
from docmill.worker.models import Element

Found = TypeVar("Found")


@dataclass(frozen=True)
class Content:
    """What a page holds beside pictures."""

    number: int
    lines: list[Line]
    notes: list[Element]
    plain: str = ""  #: its text in pdfium's order, where our reading of the layout failed
    is_picture: bool = False  #: it shows something, and has no text
    problem: str = ""  #: where our own code failed


def content_of(
    document: pypdfium2.PdfDocument, page: pypdfium2.PdfPage | None, number: int
) -> Content:
    """What a page holds. One that pdfium cannot load holds nothing.

    Raises nothing but MemoryError: where our own code fails, the page's text is kept as it is.
    """
    if page is None:
        return Content(number, [], [])
    lines, problem = _tried(lambda: lines_of(page))
    plain = scans.visible_text(page) if problem else ""
    is_picture = not lines and not plain.strip() and scans.shows_something(page)
    notes, other = _tried(lambda: list(notes_of(document, page, number)))
    return Content(number, lines or [], notes or [], plain, is_picture, problem or other)


def elements_of(content: Content, style: Style) -> tuple[list[Element], str]:
    """Paragraphs, titles, tables and running lines of a page; its plain text where that fails.

    With where it failed, or "".
    """
    found, problem = _tried(lambda: page_elements(content.lines, style, content.number))
    plain = "\n".join(line.text for line in content.lines) if problem else content.plain
    paragraphs = [text for text in plain.splitlines() if text.strip()]
    elements = [Element("Text", text, page=content.number) for text in paragraphs]
    return [*(found or ()), *elements], content.problem or problem


def _tried(find: Callable[[], Found]) -> tuple[Found | None, str]:
    """What is found, or where our code failed at a page that pdfium has read."""
    try:
        return find(), ""
    except MemoryError:
        raise
    except Exception as error:
        return None, place_of(error)

"""The content of a PDF page, found in one go: loading a page takes as long as reading its text."""

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
    """The content of a page except pictures."""

    number: int
    lines: list[Line]
    notes: list[Element]
    plain: str = ""  #: its text in pdfium's order, if reading the layout failed
    is_picture: bool = False  #: it shows something, and has no text
    problem: str = ""  #: the place where docmill's own code failed


def content_of(
    document: pypdfium2.PdfDocument, page: pypdfium2.PdfPage | None, number: int
) -> Content:
    """The content of a page; empty if pdfium cannot load it.

    Raises only MemoryError: if docmill's own code fails, the page's text is kept as it is.
    """
    if page is None:
        return Content(number, [], [])
    lines, problem = _tried(lambda: lines_of(page))
    plain = scans.visible_text(page) if problem else ""
    is_picture = not lines and not plain.strip() and scans.shows_something(page)
    notes, other = _tried(lambda: list(notes_of(document, page, number)))
    return Content(number, lines or [], notes or [], plain, is_picture, problem or other)


def elements_of(content: Content, style: Style) -> tuple[list[Element], str]:
    """Paragraphs, titles, tables and running lines of a page; its plain text if this fails.

    Returns also the place of the failure, or "".
    """
    found, problem = _tried(lambda: page_elements(content.lines, style, content.number))
    plain = "\n".join(line.text for line in content.lines) if problem else content.plain
    paragraphs = [text for text in plain.splitlines() if text.strip()]
    elements = [Element("Text", text, page=content.number) for text in paragraphs]
    return [*(found or ()), *elements], content.problem or problem


def _tried(find: Callable[[], Found]) -> tuple[Found | None, str]:
    """The result, or the place where docmill's code failed on a page that pdfium could read."""
    try:
        return find(), ""
    except MemoryError:
        raise
    except Exception as error:
        return None, place_of(error)

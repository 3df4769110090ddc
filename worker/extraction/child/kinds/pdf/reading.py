"""Reads a PDF in windows of pages: the elements of each page, with its notes."""

from collections.abc import Iterable, Iterator

import pypdfium2

from docmill.worker.extraction.child.kinds.base import ProfileNeededError, Reading, Source
from docmill.worker.extraction.child.kinds.page.style import Style
from docmill.worker.extraction.child.kinds.pdf import scans
from docmill.worker.extraction.child.kinds.pdf.document import loaded, opened, page_count
from docmill.worker.extraction.child.kinds.pdf.pages import Content, content_of, elements_of
from docmill.worker.extraction.child.kinds.pdf.sample import style_and_sample
from docmill.worker.extraction.shared import media_types, profiles
from docmill.worker.extraction.shared.parts import PageEnd
from docmill.worker.extraction.shared.running import RunningLines
from docmill.worker.models import Element

#: Pages of a window, and the largest number of windows; larger documents have larger windows. Each
#: window opens the file again, which in a file of 50,000 pages takes as long as reading hundreds of
#: pages.
WINDOW_PAGES, _MOST_WINDOWS = 50, 128


def read_pdf(source: Source) -> Reading:
    """Elements page by page. Pages without text are reported as such."""
    document = opened(source)
    # This must come before any page is loaded; otherwise fields have no values.
    document.init_forms()
    title = document.get_metadata_value("Title")
    count = page_count(document, source)
    starts = _starts(count)
    style, sampled = style_and_sample(document, source)
    recognition = scans.recognition_for(source)
    pages = _pages(document, style, sampled, source.wanted_pages(starts, count), recognition)
    if recognition == "elsewhere":
        # Read the pages before the header is written; one window is small enough.
        pages = iter(list(pages))
    in_one_go = not source.first_only and source.window is None
    return Reading(
        RunningLines().without_repeats(pages) if in_one_go else pages,
        page_count=count,
        title=title,
        starts=starts,
        context={"body_size": style.body_size, "running": sorted(style.running)},
    )


def _starts(count: int) -> range:
    count = max(1, count)
    return range(1, count + 1, max(WINDOW_PAGES, -(-count // _MOST_WINDOWS)))


def _pages(
    document: pypdfium2.PdfDocument,
    style: Style,
    sampled: dict[int, Content],
    numbers: Iterable[int],
    recognition: scans.Recognition,
) -> Iterator[Element | PageEnd]:
    for number in numbers:
        content = sampled.pop(number, None)
        if content is None:
            with loaded(document, number) as page:
                content = content_of(document, page, number)
        elements, problem = elements_of(content, style)
        if content.is_picture and recognition:
            elements = _recognised(document, number, recognition)
        yield from elements
        yield from content.notes
        found = any(element.category != "Header" for element in [*elements, *content.notes])
        yield PageEnd(number, has_text=found, problem=problem)


def _recognised(
    document: pypdfium2.PdfDocument, number: int, recognition: scans.Recognition
) -> list[Element]:
    if recognition == "elsewhere":
        raise ProfileNeededError(profiles.OCR, media_types.PDF)
    with loaded(document, number) as page:
        return [] if page is None else scans.recognised(page, number)

"""A PDF in windows of pages: the elements of each page, with what is noted on it."""

from collections.abc import Iterable, Iterator

import pypdfium2

from docmill.worker.extraction.child.kinds.base import ProfileNeededError, Reading, Source
from docmill.worker.extraction.child.kinds.page.elements import page_elements
from docmill.worker.extraction.child.kinds.page.layout import Line
from docmill.worker.extraction.child.kinds.page.style import Style
from docmill.worker.extraction.child.kinds.pdf import scans
from docmill.worker.extraction.child.kinds.pdf.document import loaded, opened, page_count
from docmill.worker.extraction.child.kinds.pdf.lines import lines_of
from docmill.worker.extraction.child.kinds.pdf.notes import notes_of
from docmill.worker.extraction.child.kinds.pdf.sample import style_and_sample
from docmill.worker.extraction.shared import media_types, profiles
from docmill.worker.extraction.shared.parts import PageEnd
from docmill.worker.extraction.shared.running import RunningLines
from docmill.worker.models import Element

#: Pages of a window; more in a document that would have too many windows: each opens it anew, and
#: in a file of 50,000 pages that takes as long as reading hundreds of them.
WINDOW_PAGES, _MOST_WINDOWS = 50, 128


def read_pdf(source: Source) -> Reading:
    """Elements page by page. Pages without text are reported as such."""
    document = opened(source)
    # Before any page is loaded: fields have no values otherwise.
    document.init_forms()
    title = document.get_metadata_value("Title")
    count = page_count(document, source)
    starts = _starts(count)
    style, sampled = style_and_sample(document, source)
    pages = _pages(document, source, style, sampled, source.wanted_pages(starts, count))
    if scans.recognition_for(source) == "elsewhere":
        # Before anything is said of the document: one window of it is not much.
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
    source: Source,
    style: Style,
    sampled: dict[int, list[Line]],
    numbers: Iterable[int],
) -> Iterator[Element | PageEnd]:
    recognition = scans.recognition_for(source)
    for number in numbers:
        with loaded(document, number) as page:
            lines = sampled.pop(number, None)
            elements = page_elements(lines_of(page) if lines is None else lines, style, number)
            if recognition and page is not None and not elements and scans.is_picture(page):
                if recognition == "elsewhere":
                    raise ProfileNeededError(profiles.OCR, media_types.PDF)
                elements = scans.recognised(page, number)
            notes = list(notes_of(document, page, number))
        yield from elements
        yield from notes
        found = any(element.category != "Header" for element in [*elements, *notes])
        yield PageEnd(number, has_text=found)

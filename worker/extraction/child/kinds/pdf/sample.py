"""Some pages of a document, which show what its ordinary text looks like."""

from dataclasses import replace

import pypdfium2

from docmill.worker.extraction.child.kinds.base import Source
from docmill.worker.extraction.child.kinds.page.layout import Line
from docmill.worker.extraction.child.kinds.page.style import Style, style_of
from docmill.worker.extraction.child.kinds.pdf.document import loaded, outline_of, page_count
from docmill.worker.extraction.child.kinds.pdf.lines import lines_of

#: Pages, spread over the document, that show what its body text and its running lines look like.
_SAMPLE_PAGES = 12


def style_and_sample(
    document: pypdfium2.PdfDocument, source: Source
) -> tuple[Style, dict[int, list[Line]]]:
    """What ordinary text looks like, and the lines of the pages that show it, by page.

    The same pages whatever window is read, so that all windows agree. Their lines are not thrown
    away: to measure them is half the work of a short document.
    """
    outline = outline_of(document)
    if known := source.context:
        return Style(known["body_size"], frozenset(known["running"]), outline), {}
    step = max(1, page_count(document, source) // _SAMPLE_PAGES)
    numbers = range(1, page_count(document, source) + 1, step)[: _SAMPLE_PAGES + 1]
    samples = {}
    for number in numbers:
        with loaded(document, number) as page:
            samples[number] = lines_of(page)
    return replace(style_of(samples), outline=outline), samples

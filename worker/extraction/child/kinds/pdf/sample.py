"""Looks at some pages of a document to find how its ordinary text looks."""

from dataclasses import replace

import pypdfium2

from docmill.worker.extraction.child.kinds.base import Source
from docmill.worker.extraction.child.kinds.page.style import Style, style_of
from docmill.worker.extraction.child.kinds.pdf.document import loaded, outline_of, page_count
from docmill.worker.extraction.child.kinds.pdf.pages import Content, content_of

#: Number of pages, spread over the document, that show its body text and its running lines.
_SAMPLE_PAGES = 12


def style_and_sample(
    document: pypdfium2.PdfDocument, source: Source
) -> tuple[Style, dict[int, Content]]:
    """How ordinary text looks, and the content of the sample pages, by page.

    The pages are the same for every window, so all windows agree. Their content is kept, because
    finding it is most of the work for a short document.
    """
    outline = outline_of(document)
    if known := source.context:
        return Style(known["body_size"], frozenset(known["running"]), outline), {}
    step = max(1, page_count(document, source) // _SAMPLE_PAGES)
    numbers = range(1, page_count(document, source) + 1, step)[: _SAMPLE_PAGES + 1]
    samples: dict[int, Content] = {}
    for number in numbers:
        with loaded(document, number) as page:
            samples[number] = content_of(document, page, number)
    lines = {number: content.lines for number, content in samples.items()}
    return replace(style_of(lines), outline=outline), samples

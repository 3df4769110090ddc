"""A PDF's file: how it is opened, its pages, its outline."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice

import pypdfium2
from pypdfium2 import raw

from docmill.worker.errors import JobError
from docmill.worker.extraction.child.kinds.base import Source
from docmill.worker.extraction.child.kinds.page.style import letters_of

#: So much of an outline is looked at.
_MAX_OUTLINE_ENTRIES, _MAX_OUTLINE_DEPTH = 20_000, 6


def opened(source: Source) -> pypdfium2.PdfDocument:
    """The document. Raises JobError where pdfium cannot open it, or only with a password."""
    try:
        return pypdfium2.PdfDocument(source.file)
    except pypdfium2.PdfiumError as error:
        protected = error.err_code in (raw.FPDF_ERR_PASSWORD, raw.FPDF_ERR_SECURITY)
        raise JobError("encrypted" if protected else "corrupt", "pdfium") from None


def page_count(document: pypdfium2.PdfDocument, source: Source) -> int:
    """Pages that the document has: what it claims, but no more than a file of its size can hold.

    A page takes more than a byte, however it is packed. Of 565 bytes that claimed 900,000 pages,
    each would be looked for.
    """
    size = source.file.seek(0, os.SEEK_END)
    return min(len(document), size)


@contextmanager
def loaded(document: pypdfium2.PdfDocument, number: int) -> Iterator[pypdfium2.PdfPage | None]:
    """A page; None for one that pdfium cannot load."""
    try:
        page = document[number - 1]
    except pypdfium2.PdfiumError:
        yield None
        return
    try:
        yield page
    finally:
        page.close()


def outline_of(document: pypdfium2.PdfDocument) -> dict[int, dict[str, int]]:
    """What the outline names: page, title and depth."""
    found: dict[int, dict[str, int]] = {}
    for entry in islice(document.get_toc(max_depth=_MAX_OUTLINE_DEPTH), _MAX_OUTLINE_ENTRIES):
        place = entry.get_dest()
        page = place.get_index() if place else None
        title = letters_of(entry.get_title())
        if page is not None and title:
            found.setdefault(page + 1, {}).setdefault(title, entry.level)
    return found

"""A PDF file: opens it, loads its pages, reads its outline."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice

import pypdfium2
from pypdfium2 import raw

from docmill.worker.errors import JobError
from docmill.worker.extraction.child.kinds.base import Source
from docmill.worker.extraction.child.kinds.page.style import letters_of

#: A file of at most this many bytes is read at once. pdfium takes 512 bytes at a time, and from a
#: file each time is a call of Python.
_SMALL_BYTES = 8_000_000
#: How much of an outline is looked at.
_MAX_OUTLINE_ENTRIES, _MAX_OUTLINE_DEPTH = 20_000, 6


def opened(source: Source) -> pypdfium2.PdfDocument:
    """The document. Raises JobError if pdfium cannot open it, or only with a password."""
    is_small = source.file.seek(0, os.SEEK_END) <= _SMALL_BYTES
    try:
        return pypdfium2.PdfDocument(source.read() if is_small else source.file)
    except pypdfium2.PdfiumError as error:
        protected = error.err_code in (raw.FPDF_ERR_PASSWORD, raw.FPDF_ERR_SECURITY)
        raise JobError("encrypted" if protected else "corrupt", "pdfium") from None


def page_count(document: pypdfium2.PdfDocument, source: Source) -> int:
    """Number of pages: as the document claims, but no more than a file of its size can hold.

    A page takes more than a byte, however it is packed. Without this bound, a file of 565 bytes
    that claims 900,000 pages would cost a search for each of them.
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
    """The titles of the outline with their depths, by page."""
    found: dict[int, dict[str, int]] = {}
    for entry in islice(document.get_toc(max_depth=_MAX_OUTLINE_DEPTH), _MAX_OUTLINE_ENTRIES):
        place = entry.get_dest()
        page = place.get_index() if place else None
        title = letters_of(entry.get_title())
        if page is not None and title:
            found.setdefault(page + 1, {}).setdefault(title, entry.level)
    return found

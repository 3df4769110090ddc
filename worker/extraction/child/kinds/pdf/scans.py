"""Finds pages that are pictures of text, and recognises their text."""

from typing import Literal

import pypdfium2
from pypdfium2 import raw

from docmill.worker.errors import JobError
from docmill.worker.extraction.child.kinds import ocr
from docmill.worker.extraction.child.kinds.base import Source
from docmill.worker.extraction.child.kinds.pdf.document import loaded, opened, page_count
from docmill.worker.extraction.shared import profiles
from docmill.worker.models import Element

Recognition = Literal["here", "elsewhere"] | None

_OCR_DPI = 150
#: An A3 page has fewer pixels at that resolution; a larger page is drawn smaller.
_OCR_PIXELS = 6_000_000


def recognition_for(source: Source) -> Recognition:
    """Who can recognise text in pictures: this process, a child of another kind, or nobody."""
    if source.profile == profiles.OCR:
        return "here"
    is_plain = source.profile == profiles.PLAIN and source.nesting == 0
    return "elsewhere" if is_plain and profiles.is_available(profiles.OCR) else None


def has_pictures_of_text(source: Source) -> bool:
    """Whether any page shows something but has no text. False for an unreadable file."""
    try:
        document = opened(source)
    except JobError:
        return False
    for number in range(1, page_count(document, source) + 1):
        with loaded(document, number) as page:
            if page is not None and is_picture(page):
                return True
    return False


def is_picture(page: pypdfium2.PdfPage) -> bool:
    """Whether a page shows something and has no text."""
    return not visible_text(page).strip() and shows_something(page)


def visible_text(page: pypdfium2.PdfPage) -> str:
    """The text that a page shows, in pdfium's order."""
    text_page = page.get_textpage()
    try:
        return text_page.get_text_bounded(*page.get_bbox()) if text_page.count_chars() else ""
    finally:
        text_page.close()


def shows_something(page: pypdfium2.PdfPage) -> bool:
    """Whether a page holds a picture or a drawing."""
    objects = page.get_objects(filter=(raw.FPDF_PAGEOBJ_IMAGE, raw.FPDF_PAGEOBJ_PATH))
    return next(iter(objects), None) is not None


def recognised(page: pypdfium2.PdfPage, number: int) -> list[Element]:
    """The recognised text of a page that is a picture."""
    width, height = page.get_size()
    scale = min(_OCR_DPI / 72, (_OCR_PIXELS / max(1.0, width * height)) ** 0.5)
    pixels = page.render(scale=scale, may_draw_forms=False, rev_byteorder=False).to_numpy()
    return list(ocr.elements_of_lines(ocr.recognised(pixels[:, :, :3]), number))

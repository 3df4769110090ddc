"""The visible text of a PDF, character by character from pdfium.

It shares nothing with docmill's reader: no lines, columns or tables; it only checks whether the
page shows the place of a character.
"""

import pypdfium2
from pypdfium2 import raw


def letters(data: bytes) -> str:
    """The visible text, one line per page."""
    return "\n".join(page_letters(data))


def page_letters(data: bytes) -> list[str]:
    """The visible text of each page: its own, then that of drawn annotations."""
    document = pypdfium2.PdfDocument(data)
    found = []
    for page in document:
        found.append(_shown(page))
        page.close()
    document.close()
    return found


def _shown(page: pypdfium2.PdfPage) -> str:
    left, bottom, right, top = page.get_bbox()
    text_page = page.get_textpage()
    seen = []
    for index in range(text_page.count_chars()):
        box = raw.FS_RECTF()
        raw.FPDFText_GetLooseCharBox(text_page, index, box)
        x, y = (box.left + box.right) / 2, (box.top + box.bottom) / 2
        # pdfium's mark for a hyphen at the end of a line.
        code = raw.FPDFText_GetUnicode(text_page, index)
        if left <= x <= right and bottom <= y <= top and code not in (0xFFFE, 2):
            seen.append(chr(code))
    text_page.close()
    return "".join(seen).encode("utf-16", "surrogatepass").decode("utf-16", "replace")

"""Text on a PDF page outside its normal text: fields, comments, signatures, stamps."""

import ctypes
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pypdfium2
from pypdfium2 import raw

from docmill.worker.extraction.child.kinds.page.elements import page_elements
from docmill.worker.extraction.child.kinds.page.style import Style, letters_of
from docmill.worker.extraction.child.kinds.pdf.lines import lines_of
from docmill.worker.models import Element

#: Annotations with contents that a person wrote; links, sounds and the like have none.
_COMMENTS = frozenset(
    {
        raw.FPDF_ANNOT_TEXT,
        raw.FPDF_ANNOT_FREETEXT,
        raw.FPDF_ANNOT_HIGHLIGHT,
        raw.FPDF_ANNOT_UNDERLINE,
        raw.FPDF_ANNOT_SQUIGGLY,
        raw.FPDF_ANNOT_STRIKEOUT,
        raw.FPDF_ANNOT_STAMP,
        raw.FPDF_ANNOT_CARET,
    }
)
#: Fields whose mark is a letter of a symbol font.
_TICKS = frozenset({raw.FPDF_FORMFIELD_CHECKBOX, raw.FPDF_FORMFIELD_RADIOBUTTON})
_FIELDS = _TICKS | {
    raw.FPDF_FORMFIELD_TEXTFIELD,
    raw.FPDF_FORMFIELD_COMBOBOX,
    raw.FPDF_FORMFIELD_LISTBOX,
}
#: Annotations that show no text, or only their contents.
_WITHOUT_TEXT = frozenset({raw.FPDF_ANNOT_LINK, raw.FPDF_ANNOT_POPUP, raw.FPDF_ANNOT_TEXT})
_UNSEEN = raw.FPDF_ANNOT_FLAG_HIDDEN | raw.FPDF_ANNOT_FLAG_NOVIEW
_PASSWORD = 1 << 13  # flag of a text field
_MAX_ANNOTATIONS = 5_000  # of one page
_MAX_BYTES = 200_000
#: The value of a box that is not ticked.
_OFF = "Off"
#: Text of an annotation is never a title of the page.
_NO_TITLES = Style(body_size=1e9, running=frozenset())


@dataclass(frozen=True)
class _Note:
    """The text of one annotation."""

    text: str = ""
    shows_more: bool = False  #: whether its drawing may hold more text


def notes_of(
    document: pypdfium2.PdfDocument, page: pypdfium2.PdfPage | None, number: int
) -> Iterator[Element]:
    """Fields as `name: value`, comments as text, then the text of signatures, stamps and the like.

    The page's annotations are gone afterwards.
    """
    if page is None:
        return
    count = min(raw.FPDFPage_GetAnnotCount(page), _MAX_ANNOTATIONS)
    notes = [_note(document, page, index) for index in range(count)]
    # A group of buttons is one field with many annotations.
    said = list(dict.fromkeys(note.text for note in notes if note.text))
    yield from (Element("Text", text, page=number) for text in said)
    if any(note.shows_more for note in notes):
        known = "".join(map(letters_of, said))
        for element in _shown(document, page, number, notes):
            if letters_of(element.text) not in known:
                yield element


def _note(document: pypdfium2.PdfDocument, page: pypdfium2.PdfPage, index: int) -> _Note:
    annotation = raw.FPDFPage_GetAnnot(page, index)
    if not annotation:
        return _Note()
    try:
        if raw.FPDFAnnot_GetFlags(annotation) & _UNSEEN:
            return _Note()
        return _read(document, annotation)
    finally:
        raw.FPDFPage_CloseAnnot(annotation)


def _read(document: pypdfium2.PdfDocument, annotation: Any) -> _Note:
    kind = raw.FPDFAnnot_GetSubtype(annotation)
    if kind in _WITHOUT_TEXT - _COMMENTS:
        return _Note()
    if kind == raw.FPDF_ANNOT_WIDGET:
        return _field(document.formenv, annotation)
    text = _value(annotation, b"Contents") if kind in _COMMENTS else ""
    is_shown = kind not in _WITHOUT_TEXT and not (text and kind != raw.FPDF_ANNOT_STAMP)
    return _Note(text, is_shown and _has_appearance(annotation))


def _field(form: Any, annotation: Any) -> _Note:
    kind = raw.FPDFAnnot_GetFormFieldType(form, annotation) if form is not None else -1
    value = ""
    if kind in _FIELDS and not raw.FPDFAnnot_GetFormFieldFlags(form, annotation) & _PASSWORD:
        value = _string(lambda *out: raw.FPDFAnnot_GetFormFieldValue(form, annotation, *out))
    if not value or (value == _OFF and kind in _TICKS):
        return _Note("", kind not in _TICKS and _has_appearance(annotation))
    label = _string(lambda *out: raw.FPDFAnnot_GetFormFieldAlternateName(form, annotation, *out))
    name = _string(lambda *out: raw.FPDFAnnot_GetFormFieldName(form, annotation, *out))
    return _Note(f"{label or name}: {value}")


def _has_appearance(annotation: Any) -> bool:
    normal = raw.FPDF_ANNOT_APPEARANCEMODE_NORMAL
    return bool(raw.FPDFAnnot_GetAP(annotation, normal, None, 0) > 2)


def _shown(
    document: pypdfium2.PdfDocument,
    page: pypdfium2.PdfPage,
    number: int,
    notes: list[_Note],
) -> list[Element]:
    """Text that annotations show: they are drawn into the page, and the added text is theirs."""
    for index in range(raw.FPDFPage_GetAnnotCount(page) - 1, -1, -1):
        if index >= len(notes) or not notes[index].shows_more:
            raw.FPDFPage_RemoveAnnot(page, index)
    before = _text_of(page)
    if raw.FPDFPage_Flatten(page, raw.FLAT_NORMALDISPLAY) != raw.FLATTEN_SUCCESS:
        return []
    drawn = document[number - 1]
    try:
        return page_elements(lines_of(drawn, after=before), _NO_TITLES, number)
    finally:
        drawn.close()


def _text_of(page: pypdfium2.PdfPage) -> str:
    text_page = page.get_textpage()
    try:
        return str(text_page.get_text_range())
    finally:
        text_page.close()


def _value(annotation: Any, key: bytes) -> str:
    return _string(lambda *out: raw.FPDFAnnot_GetStringValue(annotation, key, *out))


def _string(read: Callable[[Any, int], int]) -> str:
    """A string that pdfium copies into a buffer, after it has told the length."""
    length = min(read(None, 0), _MAX_BYTES)
    if length <= 2:
        return ""
    buffer = (ctypes.c_ushort * (length // 2))()
    read(buffer, length)
    return bytes(buffer).decode("utf-16-le", errors="replace").rstrip("\x00").strip()

"""What stands on a PDF's page without being its text: filled-in fields, comments."""

import ctypes
from collections.abc import Callable, Iterator
from typing import Any

import pypdfium2
from pypdfium2 import raw

from docmill.worker.models import Element

#: Annotations whose contents somebody wrote; links, sounds and the like say nothing.
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
_FIELDS = frozenset(
    {
        raw.FPDF_FORMFIELD_TEXTFIELD,
        raw.FPDF_FORMFIELD_COMBOBOX,
        raw.FPDF_FORMFIELD_LISTBOX,
        raw.FPDF_FORMFIELD_CHECKBOX,
        raw.FPDF_FORMFIELD_RADIOBUTTON,
    }
)
_MAX_ANNOTATIONS = 5_000  # of one page
_MAX_BYTES = 200_000
#: What a box that is not ticked holds.
_OFF = "Off"


def notes_of(
    document: pypdfium2.PdfDocument, page: pypdfium2.PdfPage | None, number: int
) -> Iterator[Element]:
    """Fields as `name: value`, comments as text, in the order of the file."""
    if page is None:
        return
    seen = set()
    for index in range(min(raw.FPDFPage_GetAnnotCount(page), _MAX_ANNOTATIONS)):
        annotation = raw.FPDFPage_GetAnnot(page, index)
        if not annotation:
            continue
        text = _text_of(document, annotation)
        raw.FPDFPage_CloseAnnot(annotation)
        # A group of buttons is one field with many annotations.
        if text and text not in seen:
            seen.add(text)
            yield Element("Text", text, page=number)


def _text_of(document: pypdfium2.PdfDocument, annotation: Any) -> str:
    kind = raw.FPDFAnnot_GetSubtype(annotation)
    if kind in _COMMENTS:
        contents = b"Contents"
        return _string(lambda *out: raw.FPDFAnnot_GetStringValue(annotation, contents, *out))
    form = document.formenv
    if kind != raw.FPDF_ANNOT_WIDGET or form is None:
        return ""
    if raw.FPDFAnnot_GetFormFieldType(form, annotation) not in _FIELDS:
        return ""
    value = _string(lambda *out: raw.FPDFAnnot_GetFormFieldValue(form, annotation, *out))
    if not value or value == _OFF:
        return ""
    label = _string(lambda *out: raw.FPDFAnnot_GetFormFieldAlternateName(form, annotation, *out))
    name = _string(lambda *out: raw.FPDFAnnot_GetFormFieldName(form, annotation, *out))
    return f"{label or name}: {value}"


def _string(read: Callable[[Any, int], int]) -> str:
    """A string that pdfium copies into a buffer, after it has said how long it is."""
    length = min(read(None, 0), _MAX_BYTES)
    if length <= 2:
        return ""
    buffer = (ctypes.c_ushort * (length // 2))()
    read(buffer, length)
    return bytes(buffer).decode("utf-16-le", errors="replace").rstrip("\x00").strip()

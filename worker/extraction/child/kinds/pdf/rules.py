"""Finds the ruling lines of a page: thin shapes, and the sides of rectangles."""

import ctypes
from collections.abc import Iterator, Sequence

import pypdfium2
from pypdfium2 import raw

from docmill.worker.extraction.child.kinds.page.grids import Rule
from docmill.worker.extraction.child.kinds.pdf import bulk
from docmill.worker.extraction.child.kinds.pdf.measure import turned

#: How many objects of a page, and segments of their outlines, are looked at.
_MOST_OBJECTS, _MOST_SEGMENTS = 5_000, 5_000
#: A shape thinner than this, in points, is a line.
_THIN = 3.0
#: A shorter line is a dash or a letter's stroke.
_LEAST_LENGTH = 8.0

Side = tuple[float, float, float, float]  # left, top, right, bottom; thin


def rules_of(page: pypdfium2.PdfPage, degrees: int) -> tuple[list[Rule], list[Rule]]:
    """Horizontal and vertical lines of a page, after it is turned clockwise by `degrees`.

    Shapes that reach far beyond the page come from damaged files, and are left out.
    """
    shapes = _paths(page)
    left, bottom, right, top = page.get_bbox()
    far = max(right - left, top - bottom)
    sides = [
        turned(side, degrees)
        for side in (_sides(shapes) if shapes else ())
        if all(left - far <= x <= right + far for x in side[::2])
        and all(bottom - far <= y <= top + far for y in side[1::2])
    ]
    level, upright = [], []
    for x, y, other_x, other_y in sides:
        left, right, bottom, top = *sorted((x, other_x)), *sorted((y, other_y))
        if top - bottom <= _THIN and right - left >= _LEAST_LENGTH:
            level.append(Rule((top + bottom) / 2, left, right))
        elif right - left <= _THIN and top - bottom >= _LEAST_LENGTH:
            upright.append(Rule((left + right) / 2, bottom, top))
    return level, upright


def _paths(page: pypdfium2.PdfPage) -> list[int]:
    address = bulk.address_of(page)
    count = min(raw.FPDFPage_CountObjects(page), _MOST_OBJECTS)
    objects = bulk.objects_of(address, count)
    types = bulk.types_of(objects)
    kind = raw.FPDF_PAGEOBJ_PATH
    return [found for found, type_ in zip(objects, types, strict=True) if type_ == kind]


def _sides(shapes: Sequence[int]) -> Iterator[Side]:
    budget = _MOST_SEGMENTS
    for shape, (left, bottom, right, top) in zip(shapes, bulk.bounds_of(shapes), strict=True):
        width, height = right - left, top - bottom
        if min(width, height) <= _THIN:
            yield left, top, right, bottom
        elif budget > 0 and max(width, height) >= _LEAST_LENGTH:
            segments = raw.FPDFPath_CountSegments(ctypes.cast(shape, raw.FPDF_PAGEOBJECT))
            budget -= segments
            if segments <= budget and _is_stroked(shape):
                yield from _outline(shape, segments)


def _is_stroked(shape: int) -> bool:
    fill, stroke = ctypes.c_int(), ctypes.c_int()
    native = ctypes.cast(shape, raw.FPDF_PAGEOBJECT)
    raw.FPDFPath_GetDrawMode(native, fill, stroke)
    return bool(stroke.value)


def _outline(shape: int, segments: int) -> Iterator[Side]:
    """The straight sides of a path, in coordinates of the page."""
    native = ctypes.cast(shape, raw.FPDF_PAGEOBJECT)
    matrix = raw.FS_MATRIX()
    raw.FPDFPageObj_GetMatrix(native, matrix)
    begin = last = (0.0, 0.0)
    x, y = ctypes.c_float(), ctypes.c_float()
    for number in range(segments):
        segment = raw.FPDFPath_GetPathSegment(native, number)
        raw.FPDFPathSegment_GetPoint(segment, x, y)
        point = (
            matrix.a * x.value + matrix.c * y.value + matrix.e,
            matrix.b * x.value + matrix.d * y.value + matrix.f,
        )
        kind = raw.FPDFPathSegment_GetType(segment)
        if kind == raw.FPDF_SEGMENT_MOVETO:
            begin = point
        elif kind == raw.FPDF_SEGMENT_LINETO:
            yield (*last, *point)
        last = point
        if raw.FPDFPathSegment_GetClose(segment):
            yield (*last, *begin)
            last = begin

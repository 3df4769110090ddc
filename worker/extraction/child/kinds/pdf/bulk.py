"""Asks pdfium about hundreds of characters or objects at once.

These are functions of `pypdfium2.raw`, called from a loop in C. A call from Python takes longer
than the function itself, and a page has thousands of characters.
"""

import ctypes
from collections.abc import Iterable, Iterator, Sequence
from itertools import repeat
from typing import Any

from pypdfium2 import raw

_INT, _POINTER, _FLOAT = ctypes.c_int, ctypes.c_void_p, ctypes.c_float
_BOX_BYTES = 16


def _function(function: Any, result: Any, *arguments: Any) -> Any:
    """A function of pdfium that takes addresses as numbers, and keeps Python's lock."""
    address = ctypes.cast(function, _POINTER).value or 0
    return ctypes.PYFUNCTYPE(result, *arguments)(address)


_loose_box = _function(raw.FPDFText_GetLooseCharBox, _INT, _POINTER, _INT, _POINTER)
_is_generated = _function(raw.FPDFText_IsGenerated, _INT, _POINTER, _INT)
_angle = _function(raw.FPDFText_GetCharAngle, _FLOAT, _POINTER, _INT)
_char_index = _function(raw.FPDFText_GetCharIndexFromTextIndex, _INT, _POINTER, _INT)
_text_object = _function(raw.FPDFText_GetTextObject, _POINTER, _POINTER, _INT)
_font = _function(raw.FPDFTextObj_GetFont, _POINTER, _POINTER)
_object_at = _function(raw.FPDFPage_GetObject, _POINTER, _POINTER, _INT)
_type = _function(raw.FPDFPageObj_GetType, _INT, _POINTER)
_bounds = _function(raw.FPDFPageObj_GetBounds, _INT, *[_POINTER] * 5)


def address_of(owner: Any) -> int:
    """The address behind an object of pypdfium2 or of `raw`."""
    return int(ctypes.cast(getattr(owner, "raw", owner), _POINTER).value or 0)


def boxes(text_page: int, chars: Sequence[int]) -> Any:
    """Left, top, right and bottom of each character, one after the other, as an array of floats.

    A box is as high as the font, for any letter; it is zeros if pdfium knows no box.
    """
    found = (_FLOAT * (4 * len(chars)))()
    start = ctypes.addressof(found)
    places = range(start, start + _BOX_BYTES * len(chars), _BOX_BYTES)
    for _ in map(_loose_box, repeat(text_page), chars, places):
        pass
    return found


def are_generated(text_page: int, chars: Iterable[int]) -> list[bool]:
    """For each character, whether pdfium added it and the page does not draw it."""
    return [found == 1 for found in map(_is_generated, repeat(text_page), chars)]


def angles(text_page: int, chars: Iterable[int]) -> Iterator[float]:
    """For each character, its clockwise rotation in radians."""
    return map(_angle, repeat(text_page), chars)


def fonts_of(text_page: int, chars: Iterable[int]) -> list[int]:
    """Address of each character's font; 0 if pdfium knows none."""
    objects = map(_text_object, repeat(text_page), chars)
    return [_font(found) or 0 if found else 0 for found in objects]


def char_indices(text_page: int, positions: Iterable[int]) -> list[int]:
    """Numbers of the characters that stand at these positions of the text."""
    return list(map(_char_index, repeat(text_page), positions))


def objects_of(page: int, count: int) -> list[int]:
    """Addresses of the first objects of a page."""
    return [found for found in map(_object_at, repeat(page), range(count)) if found]


def types_of(objects: Iterable[int]) -> list[int]:
    """Type of each object."""
    return list(map(_type, objects))


def bounds_of(objects: Sequence[int]) -> list[tuple[float, float, float, float]]:
    """Left, bottom, right and top of each object; zeros if it has none."""
    found = (_FLOAT * (4 * len(objects)))()
    start, end = ctypes.addressof(found), ctypes.addressof(found) + _BOX_BYTES * len(objects)
    sides = (range(start + offset, end + offset, _BOX_BYTES) for offset in (0, 4, 8, 12))
    for _ in map(_bounds, objects, *sides):
        pass
    values = iter(found)
    return list(zip(values, values, values, values, strict=True))

"""Asks pdfium about hundreds of characters or objects at once.

These are functions of `pypdfium2.raw`, called from a loop in C. A call from Python takes longer
than the function itself, and a page has thousands of characters.
"""

import ctypes
from collections.abc import Iterable, Iterator, Sequence
from itertools import repeat
from typing import Any

import numpy as np
from pypdfium2 import raw

_INT, _POINTER, _FLOAT = ctypes.c_int, ctypes.c_void_p, ctypes.c_float
_BOX_BYTES = 16
#: Turns an address into an argument.
_address = _POINTER.from_param


def _function(function: Any, result: Any) -> Any:
    """A function of pdfium that keeps Python's lock and takes whole numbers and `_address`es.

    It declares no types, because then ctypes converts each argument of each call, which takes as
    long as the call.
    """
    return ctypes.PYFUNCTYPE(result)(ctypes.cast(function, _POINTER).value or 0)


_loose_box = _function(raw.FPDFText_GetLooseCharBox, _INT)
_is_generated = _function(raw.FPDFText_IsGenerated, _INT)
_angle = _function(raw.FPDFText_GetCharAngle, _FLOAT)
_char_index = _function(raw.FPDFText_GetCharIndexFromTextIndex, _INT)
_text_object = _function(raw.FPDFText_GetTextObject, _POINTER)
_font = _function(raw.FPDFTextObj_GetFont, _POINTER)
_object_at = _function(raw.FPDFPage_GetObject, _POINTER)
_type = _function(raw.FPDFPageObj_GetType, _INT)
_bounds = _function(raw.FPDFPageObj_GetBounds, _INT)


def address_of(owner: Any) -> int:
    """The address behind an object of pypdfium2 or of `raw`."""
    return int(ctypes.cast(getattr(owner, "raw", owner), _POINTER).value or 0)


def boxes(text_page: int, chars: Sequence[int]) -> Any:
    """Left, top, right and bottom of each character: an array with a row for each.

    A box is as high as the font, for any letter; it is zeros if pdfium knows no box.
    """
    found: Any = (_FLOAT * (4 * len(chars)))()
    start = ctypes.addressof(found)
    places = range(start, start + _BOX_BYTES * len(chars), _BOX_BYTES)
    for _ in map(_loose_box, repeat(_address(text_page)), chars, map(_address, places)):
        pass
    return np.frombuffer(found, np.float32).reshape(-1, 4).astype(np.float64)


def are_generated(text_page: int, chars: Iterable[int]) -> list[bool]:
    """For each character, whether pdfium added it and the page does not draw it."""
    return [found == 1 for found in map(_is_generated, repeat(_address(text_page)), chars)]


def angles(text_page: int, chars: Iterable[int]) -> Iterator[float]:
    """For each character, its clockwise rotation in radians."""
    return map(_angle, repeat(_address(text_page)), chars)


def fonts_of(text_page: int, chars: Iterable[int]) -> list[int]:
    """Address of each character's font; 0 if pdfium knows none."""
    objects = list(map(_text_object, repeat(_address(text_page)), chars))
    fonts = {found: _font(_address(found)) or 0 if found else 0 for found in set(objects)}
    return [fonts[found] for found in objects]


def char_indices(text_page: int, positions: Iterable[int]) -> list[int]:
    """Numbers of the characters that stand at these positions of the text."""
    return list(map(_char_index, repeat(_address(text_page)), positions))


def objects_of(page: int, count: int) -> list[int]:
    """Addresses of the first objects of a page."""
    return [found for found in map(_object_at, repeat(_address(page)), range(count)) if found]


def types_of(objects: Iterable[int]) -> list[int]:
    """Type of each object."""
    return list(map(_type, map(_address, objects)))


def bounds_of(objects: Sequence[int]) -> list[tuple[float, float, float, float]]:
    """Left, bottom, right and top of each object; zeros if it has none."""
    found = (_FLOAT * (4 * len(objects)))()
    start, end = ctypes.addressof(found), ctypes.addressof(found) + _BOX_BYTES * len(objects)
    sides = (range(start + offset, end + offset, _BOX_BYTES) for offset in (0, 4, 8, 12))
    for _ in map(_bounds, *(map(_address, places) for places in (objects, *sides))):
        pass
    values = iter(found)
    return list(zip(values, values, values, values, strict=True))

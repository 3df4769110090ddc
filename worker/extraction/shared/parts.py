"""What a document is read as: elements and the ends of pages, window by window."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from docmill.worker.models import Element


@dataclass(frozen=True)
class PageEnd:
    """A page, slide or sheet was read to its end."""

    number: int
    has_text: bool


#: What a file is read as.
ReadPart = Element | PageEnd

#: Where a window begins, and where the next one does: pages, sheets or bytes. None: to the end.
Bounds = tuple[int, int | None]


def windows_between(starts: Sequence[int]) -> list[Bounds]:
    """The windows that begin there; none where nothing begins."""
    return [*pairwise(starts), (starts[-1], None)] if starts else []

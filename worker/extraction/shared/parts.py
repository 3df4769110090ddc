"""The parts of a document as it is read: elements and ends of pages, window by window."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from docmill.worker.models import Chunk, Element


@dataclass(frozen=True)
class PageEnd:
    """A page, slide or sheet was read to its end."""

    number: int
    has_text: bool
    #: The place where docmill's own code failed, for the log; the page then has its text without
    #: structure.
    problem: str = ""
    uncomputed_formulas: int = 0  #: that the file has no value for


@dataclass(frozen=True)
class RawLines:
    """Lines of elements and pages as a child wrote them, for another child."""

    data: bytes


@dataclass(frozen=True)
class Summary:
    """Facts about a window after it was chunked."""

    title: str | None  #: the first title in it
    hidden_characters: int  #: characters that people do not see: see count_hidden
    state: str  #: only for the child that chunks the next window


#: A part of a file that was read.
ReadPart = Element | PageEnd
#: A part of a child's result: parts that were read, or chunks and a summary at the end.
WindowPart = ReadPart | Chunk | Summary | RawLines

#: The beginning of a window, and of the next one: pages, sheets or bytes. None: to the end.
Bounds = tuple[int, int | None]


def windows_between(starts: Sequence[int]) -> list[Bounds]:
    """The windows that begin at these places."""
    return [*pairwise(starts), (starts[-1], None)] if starts else []

"""What a document is read as: elements and the ends of pages, window by window."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from docmill.worker.models import Chunk, Element


@dataclass(frozen=True)
class PageEnd:
    """A page, slide or sheet was read to its end."""

    number: int
    has_text: bool
    #: Where our own code failed, for the log; the page's text is there as it is, without structure.
    problem: str = ""


@dataclass(frozen=True)
class RawLines:
    """Lines of elements and pages as a child wrote them: another child reads them."""

    data: bytes


@dataclass(frozen=True)
class Summary:
    """What is said of a window once it is chunked."""

    title: str | None  #: its first
    hidden_characters: int  #: characters that a reader does not see: see count_hidden
    state: str  #: what the child that chunks the next window must know: no other reads it


#: What a file is read as.
ReadPart = Element | PageEnd
#: What a child makes of a window: what is read, or chunks with a summary at the end.
WindowPart = ReadPart | Chunk | Summary | RawLines

#: Where a window begins, and where the next one does: pages, sheets or bytes. None: to the end.
Bounds = tuple[int, int | None]


def windows_between(starts: Sequence[int]) -> list[Bounds]:
    """The windows that begin there; none where nothing begins."""
    return [*pairwise(starts), (starts[-1], None)] if starts else []

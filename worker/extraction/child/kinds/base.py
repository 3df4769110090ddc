"""The common form of all kinds: a source goes in, a reading comes out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO

from docmill.worker.extraction.shared import profiles
from docmill.worker.extraction.shared.parts import Bounds, ReadPart, windows_between
from docmill.worker.models import JsonObject

#: How many files inside one document are read, at any depth.
MAX_PARTS = 200


@dataclass
class PartsBudget:
    """How many more files inside a document may be read."""

    left: int = MAX_PARTS

    def take(self) -> bool:
        """Count one; False if none is left."""
        self.left -= 1
        return self.left >= 0


@dataclass(frozen=True)
class Source:
    """A file to read, and the other facts about it."""

    file: BinaryIO  #: seekable
    file_name: str  #: a hint
    first_only: bool = False  #: read the first window, and say where the others begin
    window: Bounds | None = None  #: read this window
    context: JsonObject = field(default_factory=dict)  #: with a window: from the first window
    media_type: str = ""  #: with a window: the type found then
    profile: str = profiles.PLAIN  #: what the process that reads it may do
    nesting: int = 0  #: 0: the document itself; above: a file inside a file
    budget: PartsBudget = field(default_factory=PartsBudget)
    word_comments: bool = False  #: comments of Word documents are read

    def wanted(self, starts: Sequence[int]) -> list[Bounds]:
        """The windows to read, in a file whose windows begin at these places."""
        if self.window is not None:
            return [self.window]
        return windows_between(starts)[: 1 if self.first_only else None]

    def wanted_pages(self, starts: Sequence[int], count: int) -> range:
        """Numbers, from 1, of the pages to read in a file with `count` pages."""
        wanted = self.wanted(starts)
        end = wanted[-1][1] or count + 1
        return range(wanted[0][0], min(end, count + 1))

    def read(self) -> bytes:
        """All bytes of the file."""
        self.file.seek(0)
        return self.file.read()


class ProfileNeededError(Exception):
    """Another kind of child can read this file, and is available: see profiles."""

    def __init__(self, profile: str, media_type: str) -> None:
        self.profile = profile
        self.media_type = media_type
        super().__init__(profile)


@dataclass(frozen=True)
class Reading:
    """The result of reading a file. `parts` may raise JobError or any other exception.

    A kind that can be read in windows gives their beginnings in `starts`. `context` is a small JSON
    object with the facts about the whole file that are needed to read one window. The content of a
    file is the content of its windows, one after the other.
    """

    parts: Iterator[ReadPart]
    page_count: int | None = None
    title: str | None = None
    starts: Sequence[int] = ()
    context: JsonObject = field(default_factory=dict)

"""The common shape of all kinds: a source goes in, a reading comes out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO

from docmill.worker.extraction.shared import profiles
from docmill.worker.extraction.shared.parts import Bounds, ReadPart, windows_between
from docmill.worker.models import JsonObject

#: Files inside one document, however deep, that are read.
MAX_PARTS = 200


@dataclass
class PartsBudget:
    """How many more files inside a document may be read."""

    left: int = MAX_PARTS

    def take(self) -> bool:
        """Count one; False when there is none left."""
        self.left -= 1
        return self.left >= 0


@dataclass(frozen=True)
class Source:
    """A file to read, and what is known about it beside its bytes."""

    file: BinaryIO  #: seekable
    file_name: str  #: a hint
    first_only: bool = False  #: read the first window, and say where the others begin
    window: Bounds | None = None  #: read this window
    context: JsonObject = field(default_factory=dict)  #: with a window: what the first one said
    media_type: str = ""  #: with a window: what the file was taken for then
    profile: str = profiles.PLAIN  #: what the process that reads it may do
    nesting: int = 0  #: 0: the document itself; above: a file inside a file
    budget: PartsBudget = field(default_factory=PartsBudget)

    def wanted(self, starts: Sequence[int]) -> list[Bounds]:
        """The windows to read of a file whose windows begin there."""
        if self.window is not None:
            return [self.window]
        return windows_between(starts)[: 1 if self.first_only else None]

    def wanted_pages(self, starts: Sequence[int], count: int) -> range:
        """Numbers of the pages to read of a file that has so many, from 1."""
        wanted = self.wanted(starts)
        end = wanted[-1][1] or count + 1
        return range(wanted[0][0], min(end, count + 1))

    def read(self) -> bytes:
        """All bytes of the file."""
        self.file.seek(0)
        return self.file.read()


class ProfileNeededError(Exception):
    """Another kind of child can read this file, and is to be had: see profiles."""

    def __init__(self, profile: str, media_type: str) -> None:
        self.profile = profile
        self.media_type = media_type
        super().__init__(profile)


@dataclass(frozen=True)
class Reading:
    """What a kind finds in a file. `parts` may raise JobError, or anything at all.

    Kinds that can be read in windows say in `starts` where they begin, and in `context` what has
    to be known of the whole file to read one of them: a small object of JSON. What they find in a
    file is what they find in its windows, one after the other.
    """

    parts: Iterator[ReadPart]
    page_count: int | None = None
    title: str | None = None
    starts: Sequence[int] = ()
    context: JsonObject = field(default_factory=dict)

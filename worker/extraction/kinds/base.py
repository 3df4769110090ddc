"""The common shape of all kinds: a source goes in, a reading comes out."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from worker.extraction import profiles
from worker.models import Element

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
    first_page: int | None = None  #: PDF only
    last_page: int | None = None
    profile: str = profiles.PLAIN  #: what the process that reads it may do
    nesting: int = 0  #: 0: the document itself; above: a file inside a file
    budget: PartsBudget = field(default_factory=PartsBudget)

    @property
    def is_window(self) -> bool:
        """Whether only some pages are asked for: then no text in them is no finding."""
        return self.first_page is not None or self.last_page is not None

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
class PageEnd:
    """A page, slide or sheet was read to its end."""

    number: int
    has_text: bool


@dataclass(frozen=True)
class Reading:
    """What a kind finds in a file. `parts` may raise JobError, or anything at all."""

    parts: Iterator[Element | PageEnd]
    page_count: int | None = None
    title: str | None = None

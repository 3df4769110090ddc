"""The common shape of all kinds: a source goes in, a reading comes out."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from worker.models import Element


@dataclass(frozen=True)
class Source:
    """A file to read, and what is known about it beside its bytes."""

    file: BinaryIO  #: seekable
    file_name: str  #: a hint
    first_page: int | None = None  #: PDF only
    last_page: int | None = None

    @property
    def is_window(self) -> bool:
        """Whether only some pages are asked for: then no text in them is no finding."""
        return self.first_page is not None or self.last_page is not None

    def read(self) -> bytes:
        """All bytes of the file."""
        self.file.seek(0)
        return self.file.read()


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

"""Documents whose chunks name their owner, revision, number, and number of chunks."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

_MARK: Final = re.compile(r"Mark of (\S+), revision (\d+), part (\d+) of (\d+)\.")
#: Makes a section too long to share a chunk with another.
FILLER: Final = "This sentence is about nothing in particular but it fills the section. " * 6


@dataclass(frozen=True)
class Mark:
    """The facts that a chunk states."""

    owner: str
    revision: int
    part: int
    parts: int


def make_text(owner: str, revision: int, parts: int) -> str:
    """A document with this many sections, each of which becomes one chunk."""
    return "\n".join(
        f"# Part {part}\n\nMark of {owner}, revision {revision}, part {part} of {parts}. {FILLER}\n"
        for part in range(1, parts + 1)
    )


def mark_of(content: str) -> Mark:
    """The mark of one chunk. Raises ValueError if it has none."""
    found = _MARK.search(content)
    if found is None:
        raise ValueError(f"a chunk without a mark: {content[:80]!r}")
    owner, revision, part, parts = found.groups()
    return Mark(owner, int(revision), int(part), int(parts))


def tear(marks: Iterable[Mark]) -> str | None:
    """The error in the chunks of one document, in order; None if it is complete."""
    found = list(marks)
    if len({(mark.owner, mark.revision, mark.parts) for mark in found}) > 1:
        return "chunks of several versions"
    parts = [mark.part for mark in found]
    if parts != list(range(1, found[0].parts + 1)):
        return f"parts {parts} of {found[0].parts}"
    return None

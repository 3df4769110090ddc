"""How similar two searches are, and whether they found the expected passage. No I/O."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Final, TypeVar

T = TypeVar("T")

#: Two passages of a document overlap if they share this many characters, spaces not counted.
_SHARED: Final = 40
#: A heading with fewer words occurs in too many documents to search for one of them.
_HEADING_WORDS: Final = 3
_SENTENCE: Final = re.compile(r".{12,200}?(?:[.!?](?= |$)|[。！？])")  # noqa: RUF001 -- of Chinese
_SENTENCE_CHARACTERS: Final = 200


@dataclass(frozen=True)
class Place:
    """A passage of a document, however the document was cut."""

    document_id: str
    page_start: int | None
    page_end: int | None
    content: str

    def overlaps(self, other: "Place") -> bool:
        """Whether both hold some of the same text; if there are pages, of the same pages."""
        return (
            self.document_id == other.document_id
            and self._is_on_pages_of(other)
            and _share_text(self.content, other.content)
        )

    def _is_on_pages_of(self, other: "Place") -> bool:
        if self.page_start is None or other.page_start is None:
            return True
        last, other_last = self.page_end or self.page_start, other.page_end or other.page_start
        return self.page_start <= other_last and other.page_start <= last


def _share_text(first: str, other: str) -> bool:
    shorter, longer = sorted(("".join(first.split()), "".join(other.split())), key=len)
    if len(shorter) <= _SHARED:
        return bool(shorter) and shorter in longer
    starts = range(0, len(shorter) - _SHARED + 1, _SHARED)
    return any(shorter[start : start + _SHARED] in longer for start in starts)


def first_sentence(text: str) -> str:
    """The beginning of a text, up to the end of a sentence if that is near."""
    flat = " ".join(text.split())
    found = _SENTENCE.match(flat)
    return found[0] if found else flat[:_SENTENCE_CHARACTERS]


def drawn_query(headings: Sequence[str], content: str) -> str:
    """A likely query for a passage: the heading above it, or its first sentence."""
    heading = " ".join(headings[-1].split()) if headings else ""
    if len(heading.split()) >= _HEADING_WORDS:
        return heading[:_SENTENCE_CHARACTERS]
    return first_sentence(content)


def overlap(first: Sequence[T], other: Sequence[T], same: Callable[[T, T], bool]) -> float:
    """The share of all hits that the other search found as well; 1 if both found nothing.

    Several passages of one search may lie in one passage of the other.
    """
    if not first and not other:
        return 1.0
    shared = sum(any(same(one, two) for two in other) for one in first)
    shared += sum(any(same(one, two) for one in first) for two in other)
    return shared / (len(first) + len(other))


def document_overlap(first: Sequence[Place], other: Sequence[Place]) -> float:
    """`overlap` of the documents of the hits."""
    names = [list(dict.fromkeys(hit.document_id for hit in hits)) for hits in (first, other)]
    return overlap(names[0], names[1], lambda one, two: one == two)


def passage_overlap(first: Sequence[Place], other: Sequence[Place]) -> float:
    """`overlap` of the passages."""
    return overlap(first, other, Place.overlaps)


def is_found(known: Place, hits: Iterable[Place]) -> bool:
    """Whether a passage, or a part of it, is among the hits."""
    return any(known.overlaps(hit) for hit in hits)


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that is not below this share of the values."""
    ordered = sorted(values)
    return ordered[max(ceil(share * len(ordered)), 1) - 1]

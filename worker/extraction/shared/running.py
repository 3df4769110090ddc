"""Running lines: text that stands at the top or bottom of many pages."""

import hashlib
import re
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

from docmill.worker.models import Element

Part = TypeVar("Part")

_NUMBER = re.compile(r"\b\d{1,5}\b", re.ASCII)
#: Longer lines always count as text.
_MAX_CHARACTERS = 300
#: How many numbers of a line are tried as page number.
_MAX_NUMBERS = 10
#: How many lines are remembered: a normal document has a few.
_MAX_SHOWN = 1_000


def marks_of(text: str, page: int) -> set[str]:
    """The parts of a running line that are the same on each page: all, or all but a page number.

    A number counts as page number if its distance to the page's number stays the same, so sums at
    the bottom of tables do not count. A line that is too long to be a running line has no marks.
    """
    if len(text) > _MAX_CHARACTERS:
        return set()
    marks = {text}
    for number in islice(_NUMBER.finditer(text), _MAX_NUMBERS):
        around = f"{text[: number.start()]}#{text[number.end() :]}"
        marks.add(f"{around}@{int(number[0]) - page}")
    return marks


class RunningLines:
    """Lets each running line of a document pass only the first time."""

    def __init__(self, shown: Iterable[str] = ()) -> None:
        """`shown` is the value of `shown` of another object that has seen the windows before."""
        self._shown = set(shown)

    @property
    def shown(self) -> list[str]:
        """Digests of the marks of all lines so far; their length does not depend on the lines."""
        return sorted(self._shown)

    def without_repeats(self, parts: Iterable[Part]) -> Iterator[Part]:
        """The parts of one window after the other, without later repeats."""
        for part in parts:
            if isinstance(part, Element) and part.category == "Header":
                marks = {_digest(mark) for mark in marks_of(part.text, part.page or 0)}
                if marks & self._shown:
                    continue
                if len(self._shown) < _MAX_SHOWN:
                    self._shown |= marks
            yield part


def _digest(mark: str) -> str:
    return hashlib.blake2b(mark.encode(errors="replace"), digest_size=8).hexdigest()

"""Running lines: what stands at the top or foot of many pages."""

import hashlib
import re
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

from docmill.worker.models import Element

Part = TypeVar("Part")

_NUMBER = re.compile(r"\b\d{1,5}\b", re.ASCII)
#: Longer lines are text, wherever they stand.
_MAX_CHARACTERS = 300
#: Numbers of a line that may be that of the page.
_MAX_NUMBERS = 10
#: Lines that are remembered: a document has a few, or means harm.
_MAX_SHOWN = 1_000


def marks_of(text: str, page: int) -> set[str]:
    """What a running line has in common from page to page: its text, or all but a page number.

    A number counts as one by its distance to the page's: sums at the foot of tables do not. A line
    that is too long to be one has no marks.
    """
    if len(text) > _MAX_CHARACTERS:
        return set()
    marks = {text}
    for number in islice(_NUMBER.finditer(text), _MAX_NUMBERS):
        around = f"{text[: number.start()]}#{text[number.end() :]}"
        marks.add(f"{around}@{int(number[0]) - page}")
    return marks


class RunningLines:
    """Lets each running line of a document pass only where it stands first."""

    def __init__(self, shown: Iterable[str] = ()) -> None:
        """`shown` is what another one had `shown` when it had seen the windows before."""
        self._shown = set(shown)

    @property
    def shown(self) -> list[str]:
        """Digests of the marks of all lines so far: short, whatever the lines."""
        return sorted(self._shown)

    def without_repeats(self, parts: Iterable[Part]) -> Iterator[Part]:
        """The parts of one window after the other: later repeats tell nothing new."""
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

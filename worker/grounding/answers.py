"""Checks the citations of an answer against the sources that were sent."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from docmill.worker.grounding.prompts import CITATION, PROMPTS, ranges_of

#: Larger than the number of any source.
_MOST: Final = 999_999_999


@dataclass(frozen=True)
class CheckedAnswer:
    """The answer that may be shown. `removed` has the cited numbers that name no source."""

    outcome: Literal["answered", "not_found"]
    answer: str
    cited: Sequence[int]
    removed: Sequence[int]


def storable(text: str) -> str:
    """A model's text as PostgreSQL and JSON can carry it: without NUL, and no half characters.

    A model may send a character in two halves, in two pieces: here they are put together.
    """
    whole = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return whole.replace("\0", "")


def cited_in(numbers: str) -> list[int]:
    """The numbers of a citation, in their order; of a range over more than 50 only its ends.

    Numbers of more than nine digits, which name no source, are all 999999999.
    """
    said: list[int] = []
    for ends in ranges_of(numbers):
        first, last = (min(int(ends[place][:10]), _MOST) for place in (0, -1))
        said += range(first, last + 1) if first <= last <= first + 50 else [first, last]
    return said


def check_answer(written: str, sources: int, nonce: str) -> CheckedAnswer:
    """The answer with only citations of sources 1 to `sources`; without any, it is no answer."""
    cited: set[int] = set()
    removed: set[int] = set()

    def kept(match: re.Match[str]) -> str:
        said = cited_in(match[2])
        known = [number for number in said if 1 <= number <= sources]
        cited.update(known)
        removed.update(set(said) - set(known))
        return match[1] + "".join(f"[{number}]" for number in known) if known else ""

    answer = CITATION.sub(kept, storable(written).replace(nonce, "")).strip()
    if not cited:
        return CheckedAnswer("not_found", PROMPTS.not_found, [], sorted(removed))
    return CheckedAnswer("answered", answer, sorted(cited), sorted(removed))

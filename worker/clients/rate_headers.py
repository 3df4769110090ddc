"""Reads a provider's limits from the headers of an answer.

The names are OpenAI's, which others use too: https://platform.openai.com/docs/guides/rate-limits.
Missing or senseless values become None: headers are only hints.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

#: The largest limit that is accepted, and the longest time until a limit is available again, a day.
MOST: Final = 1e12
LONGEST_SECONDS: Final = 86_400.0

_UNIT_SECONDS: Final = {"d": 86_400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001, "us": 1e-6}
_NUMBER: Final = re.compile(r"[0-9]{1,15}(?:\.[0-9]{1,15})?")
_PART: Final = re.compile(rf"({_NUMBER.pattern})(ms|us|[dhms])")


@dataclass(frozen=True)
class Quota:
    """The limit of requests, or of tokens."""

    limit: float | None  #: usually per minute
    remaining: float | None
    reset_seconds: float | None  #: until the whole limit is available again


@dataclass(frozen=True)
class Said:
    """The limits in one answer."""

    requests: Quota
    tokens: Quota


def read_headers(headers: Mapping[str, str]) -> Said:
    """Read headers, whose names are in lower case. Never raises."""
    return Said(_quota(headers, "requests"), _quota(headers, "tokens"))


def _quota(headers: Mapping[str, str], what: str) -> Quota:
    limit = _number(headers.get(f"x-ratelimit-limit-{what}"), MOST)
    remaining = _number(headers.get(f"x-ratelimit-remaining-{what}"), MOST)
    # Less than one request, or one token, would be waited for without end.
    if limit is None or limit < 1:
        return Quota(None, None, None)
    if remaining is not None and remaining > limit:
        remaining = None
    return Quota(limit, remaining, _seconds(headers.get(f"x-ratelimit-reset-{what}")))


def _number(text: str | None, most: float) -> float | None:
    """A plain number from 0 to `most`: no sign, exponent, infinity or NaN."""
    # What is stripped here is more than what float() passes over.
    digits = "" if text is None else text.strip()
    if not _NUMBER.fullmatch(digits):
        return None
    value = float(digits)
    return value if value <= most else None


def _seconds(text: str | None) -> float | None:
    """`6m0s`, `1.5s`, `20ms`, or a number of seconds."""
    if text is None or len(text) > 100:
        return None
    text = text.strip()
    parts = _PART.findall(text)
    if not parts or "".join(map("".join, parts)) != text:
        return _number(text, LONGEST_SECONDS)
    total = math.fsum(float(number) * _UNIT_SECONDS[unit] for number, unit in parts)
    return total if total <= LONGEST_SECONDS else None

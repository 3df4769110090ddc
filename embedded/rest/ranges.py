"""Which rows a request asks for and what the answer says of them, as PostgREST counts."""

import re
from dataclasses import dataclass, replace
from typing import Final

from docmill.embedded.rest.errors import range_not_satisfiable

_RANGE: Final = re.compile(r"([0-9]{1,18})-([0-9]{0,18})")
_NUMBER: Final = re.compile(r"[ \t]*(-?[0-9]{1,18})[ \t]*")


@dataclass(frozen=True)
class Range:
    """Rows from `first` on, `limit` of them or all."""

    first: int = 0
    limit: int | None = None

    def at_most(self, rows: int) -> "Range":
        """The same, but no more than this many rows."""
        limit = rows if self.limit is None else min(self.limit, rows)
        return replace(self, limit=limit)


def asked_range(limit: str | None, offset: str | None, header: str | None) -> Range:
    """What limit, offset and the Range header say together: the rows that all of them allow.

    What is not a number says nothing. Raises RestError PGRST103 when no row can be among them.
    """
    count, begin = _number(limit), _number(offset) or 0
    if count == 0:
        return Range(0, 0)
    first, last = max(begin, 0), None if count is None else begin + count - 1
    match = _RANGE.fullmatch(header or "")
    if match:
        header_last = int(match[2]) if match[2] else None
        if header_last is not None and header_last < int(match[1]):
            raise range_not_satisfiable(
                "The lower boundary must be lower than or equal to the upper boundary in the "
                "Range header."
            )
        first = max(first, int(match[1]))
        lasts = [one for one in (last, header_last) if one is not None]
        last = min(lasts, default=None)
    if last is not None and last < first:
        raise range_not_satisfiable("Limit should be greater than or equal to zero.")
    return Range(first, None if last is None else last - first + 1)


def _number(text: str | None) -> int | None:
    match = _NUMBER.fullmatch(text or "")
    return int(match[1]) if match else None


def content_range(asked: Range, rows: int, total: int | None) -> str:
    """The Content-Range header of an answer with this many rows."""
    shown = f"{asked.first}-{asked.first + rows - 1}" if rows and total != 0 else "*"
    return f"{shown}/{'*' if total is None else total}"


def range_status(asked: Range, rows: int, total: int | None) -> int:
    """200 for all there is, 206 for a part of it. Raises PGRST103 for rows behind the last."""
    if total is None:
        return 200
    if asked.first > total:
        raise range_not_satisfiable(
            f"An offset of {asked.first} was requested, but there are only {total} rows.",
            content_range=f"*/{total}",
        )
    return 206 if rows < total else 200

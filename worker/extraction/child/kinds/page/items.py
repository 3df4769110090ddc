"""Signs that begin an item of a list."""

import re

_BULLET = re.compile(r"[\u2022\u2023\u25aa\u25cf\u25e6\u2043\u2219\u00b7\uf0b7\u2013*-]\s+\S")
_NUMBERED = re.compile(r"\(?(\d{1,3}|[a-zA-Z]|[ivx]{1,5})[.)]\s+\S")


#: What is left of the dots between a title and its page in a table of contents.
SHORT_LEADER = " ... "
_CONTENTS_ENTRY = re.compile(r"\S \.\.\. ?\S{1,8}$")


def is_contents_entry(text: str) -> bool:
    """Whether a line names a title and, behind shortened dots, its page."""
    return bool(_CONTENTS_ENTRY.search(text))


def begins_with_bullet(text: str) -> bool:
    """Whether a text is an item behind a bullet, which is one character."""
    return bool(_BULLET.match(text))


def begins_item(text: str) -> bool:
    """Whether a text is an item behind a bullet or a number."""
    return bool(_BULLET.match(text) or _NUMBERED.match(text))


def is_mark(text: str) -> bool:
    """Whether this is a bullet or a number, after which the text of its item is indented."""
    return len(text) < 6 and begins_item(f"{text} x")

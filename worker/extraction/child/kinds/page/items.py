"""Recognises signs at the beginning of list items."""

import re

_BULLET = re.compile(r"[\u2022\u2023\u25aa\u25cf\u25e6\u2043\u2219\u00b7\uf0b7\u2013*-]\s+\S")
_NUMBERED = re.compile(r"\(?(\d{1,3}|[a-zA-Z]|[ivx]{1,5})[.)]\s+\S")


#: The shortened dots between a title and its page number in a table of contents.
SHORT_LEADER = " ... "
_CONTENTS_ENTRY = re.compile(r"\S \.\.\. ?\S{1,8}$")


def is_contents_entry(text: str) -> bool:
    """Whether a line has a title and, after shortened dots, its page number."""
    return "..." in text and bool(_CONTENTS_ENTRY.search(text))


def begins_with_bullet(text: str) -> bool:
    """Whether a text is an item after a bullet, which is one character."""
    return bool(_BULLET.match(text))


def begins_item(text: str) -> bool:
    """Whether a text is an item after a bullet or a number."""
    return bool(_BULLET.match(text) or _NUMBERED.match(text))


def is_mark(text: str) -> bool:
    """Whether this is a bullet or a number before the indented text of its item."""
    return len(text) < 6 and begins_item(f"{text} x")

"""Finds where a text may be cut without splitting a visible character."""

import re
import unicodedata

#: Joiners, skin tones and halves of flags belong to the character before them.
_JOINS = re.compile("[\u200d\U0001f3fb-\U0001f3ff\U0001f1e6-\U0001f1ff]")
#: Longer ones are hostile, and are cut anywhere.
_MAX_GRAPHEME = 64


def before_grapheme(text: str, end: int) -> int:
    """The last place up to `end` where a visible character begins; else `end`."""
    for place in range(end, max(0, end - _MAX_GRAPHEME), -1):
        joins = _JOINS.match(text[place]) or text[place - 1] == "\u200d"
        if not joins and not unicodedata.category(text[place]).startswith("M"):
            return place
    return end

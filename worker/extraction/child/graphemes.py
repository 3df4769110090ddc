"""Where a text may be cut without tearing a character apart as readers see it."""

import re
import unicodedata

#: Joiners, skin tones and halves of flags: they belong to the character before.
_JOINS = re.compile("[\u200d\U0001f3fb-\U0001f3ff\U0001f1e6-\U0001f1ff]")
#: Longer ones are made to harm: they are cut wherever it may be.
_MAX_GRAPHEME = 64


def before_grapheme(text: str, end: int) -> int:
    """The last place up to `end` where a character begins as readers see it; else `end`."""
    for place in range(end, max(0, end - _MAX_GRAPHEME), -1):
        joins = _JOINS.match(text[place]) or text[place - 1] == "\u200d"
        if not joins and not unicodedata.category(text[place]).startswith("M"):
            return place
    return end

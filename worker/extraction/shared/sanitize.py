"""The one place that decides which characters may travel on to Postgres."""

import re
from typing import TypeVar, cast

Value = TypeVar("Value")

_LINE_ENDS = re.compile("\r\n?|[\x0b\x0c]")
# Postgres refuses NUL, UTF-8 refuses lone surrogates, JSON and terminals choke on the rest of C0.
_FORBIDDEN = re.compile("[\x00-\x08\x0b-\x1f\ud800-\udfff]")

#: Zero-width spaces, embeddings and overrides of direction, tags. Not what Hebrew, Persian, Indic
#: scripts and emoji need: direction marks and joiners.
_HIDDEN = re.compile(
    "[\u180e\u200b\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff\U000e0000-\U000e007f]"
)


def count_hidden(text: str) -> int:
    """Characters that a reader does not see, but a model does: a sign of text that hides.

    They stay where they are, for offsets and for scripts that use them.
    """
    return len(_HIDDEN.findall(text))


def sanitize(value: Value) -> Value:
    """Strip NUL, lone surrogates and C0 controls but newline and tab, in all strings of a value.

    Other line ends (CR LF, CR, VT, FF) become a newline, so that no two words grow together.
    Dicts, lists and tuples are rebuilt, keys included. Sanitizing twice changes nothing.
    """
    return cast("Value", _sanitized(value))


def _sanitized(value: object) -> object:
    if isinstance(value, str):
        return _FORBIDDEN.sub("", _LINE_ENDS.sub("\n", value))
    if isinstance(value, dict):
        return {_sanitized(key): _sanitized(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_sanitized(item) for item in value]
    if isinstance(value, tuple):
        return tuple(_sanitized(item) for item in value)
    return value

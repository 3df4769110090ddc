"""The one place that decides which characters may go to Postgres."""

import re
from typing import TypeVar, cast

Value = TypeVar("Value")

_LINE_ENDS = re.compile("\r\n?|[\x0b\x0c]")
# Postgres refuses NUL, UTF-8 refuses lone surrogates, and JSON and terminals have trouble with the
# rest of C0.
_FORBIDDEN = re.compile("[\x00-\x08\x0b-\x1f\ud800-\udfff]")

#: Zero-width spaces, embeddings and overrides of direction, tags. It leaves out direction marks and
#: joiners, which Hebrew, Persian, Indic scripts and emoji need.
_HIDDEN = re.compile(
    "[\u180e\u200b\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff\U000e0000-\U000e007f]"
)


def count_hidden(text: str) -> int:
    """Number of characters that people do not see but a model does: a sign of hidden text.

    They stay in the text, because offsets and some scripts need them.
    """
    return len(_HIDDEN.findall(text))


def sanitize(value: Value) -> Value:
    """Remove NUL, lone surrogates, and C0 controls except newline and tab, from all strings.

    Other line ends (CR LF, CR, VT, FF) become a newline, so that no two words are joined. Dicts,
    lists and tuples are rebuilt, with their keys. Sanitizing twice changes nothing more.
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

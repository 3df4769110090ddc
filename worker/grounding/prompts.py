"""The prompts and limits of asking, from prompts.json: the function `ask` has the same file."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Final

_PLACE: Final = re.compile(r"\{([a-z_]+)\}")
#: Digits, and what separates numbers, in the forms of Chinese and Japanese texts too.
_DIGITS: Final = r"[0-9\uff10-\uff19]+"
_SEPARATOR: Final = r"[,;\uff0c\uff1b\u3001]"
#: A number of any length, or a range of two.
_NUMBERS: Final = rf"{_DIGITS}(?:[ \t]*[-\u2013][ \t]*{_DIGITS})?"
#: Numbers and ranges in brackets, as answers cite sources; with the space before them.
CITATION: Final = re.compile(
    rf"([ \t]*)[\[\u3010\uff3b][ \t]*({_NUMBERS}(?:[ \t]*{_SEPARATOR}[ \t]*{_NUMBERS})*)[ \t]*"
    r"[\]\u3011\uff3d]"
)


def ranges_of(numbers: str) -> list[list[str]]:
    """The ends of each range in a citation; a number alone is both."""
    return [re.findall(_DIGITS, part) for part in re.split(_SEPARATOR, numbers)]


@dataclass(frozen=True)
class Prompts:
    """The instructions for the model, and the limits."""

    answer: str
    question: str
    rewrite: str
    conversation: str
    not_found: str
    question_characters: int
    query_characters: int
    passages_searched: int
    sources_sent: int
    name_characters: int
    headings_sent: int
    source_tokens: int
    history_tokens: int
    answer_tokens: int
    answer_characters: int


PROMPTS: Final = Prompts(
    **json.loads(files("docmill.worker.grounding").joinpath("prompts.json").read_text("utf-8"))
)


def filled(template: str, values: Mapping[str, str]) -> str:
    """Fills the template in one pass: a value that looks like a placeholder stays as it is."""
    return _PLACE.sub(lambda match: values.get(match[1], match[0]), template)


def tokens_of(text: str) -> int:
    """Estimated tokens of a text, usually too many: a third of its bytes."""
    return math.ceil(len(text.encode()) / 3)

"""Shorter ways to what unstructured and python-docx find: the same, with less work.

Each replaces a function of theirs by one that returns the same. Nothing depends on them but speed.
"""

import inspect
import re
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

from docx.oxml.ns import nsmap
from docx.oxml.xmlchemy import BaseOxmlElement
from lxml import etree  # type: ignore[import-untyped]  # ships no types
from unstructured.documents.elements import Element as Found
from unstructured.nlp import tokenize
from unstructured.partition import text_type

#: Expressions may hold names from a document: there is no end to them.
_MAX_EXPRESSIONS = 256

_count_sentences = text_type.sentence_count


def take_shortcuts() -> None:
    """Put the shorter ways in place for this process. Repeatable."""
    text_type.sentence_count = sentence_count
    text_type.under_non_alpha_ratio = under_non_alpha_ratio
    BaseOxmlElement.xpath = _xpath  # type: ignore[method-assign]


def sentence_count(text: str, min_length: int | None = None) -> int:
    """How many sentences there are, or 2 where there are more.

    unstructured only asks whether there are two, of three or five words, and splits the whole text
    into words to know. Mostly it shows at once.
    """
    return 2 if _has_two_sentences(text) else min(2, _count_sentences(text, min_length))


@lru_cache(1)  # asked twice about each text
def _has_two_sentences(text: str) -> bool:
    """Whether there is an end of a sentence that is beyond doubt, between five words and five.

    Beyond doubt for the splitter by punctuation: it ends a sentence at a word that is one of its
    signs, before one that is no punctuation. A word in small letters gives away the sign behind it
    unless both are known as one word; words without a sign in them end nothing.
    """
    pattern, abbreviations = _sentence_ends()
    return any(end[1] not in abbreviations for end in pattern.finditer(text))


@lru_cache(1)
def _sentence_ends() -> tuple[re.Pattern[str], frozenset[str]]:
    splitter: Any = tokenize._get_nlp()  # noqa: SLF001 -- that which warm.py puts there
    signs = re.escape("".join(splitter.get_pipe("sentencizer").punct_chars))
    word = rf"[^\W_][^\s{signs}]*"
    pattern = rf"(?<!\S)(?:{word}\s+){{4}}([a-z]{{2,}}[.!?])\s+(?:{word}\s+){{4}}[^\W_]"
    return re.compile(pattern), frozenset(splitter.tokenizer.rules)


def under_non_alpha_ratio(text: str, threshold: float = 0.5) -> bool:
    """Whether too few of the characters are letters. unstructured looks at them one by one."""
    characters = len("".join(text.split()))
    return characters > 0 and sum(map(str.isalpha, text)) / characters < threshold


_compiled = lru_cache(_MAX_EXPRESSIONS)(partial(etree.XPath, namespaces=nsmap))


def _xpath(self: BaseOxmlElement, xpath_str: str) -> Any:
    """What python-docx finds. It would compile the expression for each element anew."""
    return _compiled(xpath_str)(self)


def bare(partitioner: Callable[..., list[Found]]) -> Callable[..., list[Found]]:
    """A partitioner without what is added when it is done: identifiers, hierarchy, language."""
    undecorated: Callable[..., list[Found]] = inspect.unwrap(partitioner)
    return undecorated

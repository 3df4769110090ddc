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
from unstructured.partition import text_type

#: A text that ends in a fifth word after a fifth word with a full stop.
_BEGINNING = re.compile(r"(?:\S+\s+){4,}?\S*[.!?]\s+(?:\S+\s+){4}\S+")
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
    to know. Sentences are found word by word, and more text adds words and sentences: two in a
    beginning that ends with a whole word are two in the text.
    """
    beginning = _BEGINNING.match(text)
    if beginning and _count_sentences(beginning[0], min_length) > 1:
        return 2
    return min(2, _count_sentences(text, min_length))


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

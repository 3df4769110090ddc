"""Shorter ways to what unstructured, Markdown and python-docx find: the same, with less work.

Each replaces a function of theirs by one that returns the same. Nothing depends on them but speed.
"""

import inspect
import re
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

from docx.oxml.ns import nsmap, qn
from docx.oxml.xmlchemy import BaseOxmlElement
from lxml import etree  # type: ignore[import-untyped]  # ships no types
from markdown.inlinepatterns import LinkInlineProcessor
from unstructured.documents.elements import Element as Found
from unstructured.nlp import tokenize
from unstructured.partition import text_type

#: Expressions may hold names from a document: there is no end to them.
_MAX_EXPRESSIONS = 256

_count_sentences = text_type.sentence_count
_LONG_WORD = re.compile(r"(\S{100})\S+(\S{100})")
_CHILDREN = re.compile(r"(?:\./)?w:\w+(?:\s*\|\s*(?:\./)?w:\w+)+")
_BRACKET = re.compile(r"[\[\]]")
#: Most links are shorter: for them nothing is prepared.
_NEAR_CHARACTERS = 200
_run_pipeline = tokenize._run_pipeline  # noqa: SLF001 -- see _split
_text_of_link: Callable[[LinkInlineProcessor, str, int], tuple[str, int, bool]] = (
    LinkInlineProcessor.getText
)


def take_shortcuts() -> None:
    """Put the shorter ways in place for this process. Repeatable."""
    text_type.sentence_count = sentence_count
    text_type.under_non_alpha_ratio = under_non_alpha_ratio
    BaseOxmlElement.xpath = _xpath  # type: ignore[method-assign]
    tokenize._run_pipeline = _split  # noqa: SLF001 -- what all of its questions come to
    LinkInlineProcessor.getText = text_of_link


def _split(text: str) -> Any:
    """What the splitter finds in a text whose words are no longer than words are.

    It takes the signs off a word one by one, and looks at all of it each time: of a word that no
    language has, both ends have to do. Nobody asks for the words themselves.
    """
    return _run_pipeline(_LONG_WORD.sub(r"\1\2", text))


def text_of_link(processor: LinkInlineProcessor, data: str, index: int) -> tuple[str, int, bool]:
    """What stands between a bracket and the one that closes it, where that ends, and whether.

    Markdown looks from each bracket to the end of the paragraph: 50,000 of them took five minutes.
    """
    if _brackets.data is not data:
        near = data[index : index + _NEAR_CHARACTERS]
        text, length, is_closed = _text_of_link(processor, near, 0)
        if is_closed:
            return text, index + length, True
        _brackets.pair(data)
    if index == 0 or data[index - 1] != "[":
        return _text_of_link(processor, data, index)
    closing = _brackets.closings.get(index - 1)
    if closing is None:
        return data[index:], len(data), False
    return data[index:closing], closing + 1, True


class _Brackets:
    """The brackets of the paragraph that was looked at last, in pairs."""

    def __init__(self) -> None:
        self.data = ""
        self.closings: dict[int, int] = {}  #: by the place of the one that opens

    def pair(self, data: str) -> None:
        """Look at this paragraph, once."""
        opened: list[int] = []
        self.data, self.closings = data, {}
        for bracket in _BRACKET.finditer(data):
            if bracket[0] == "[":
                opened.append(bracket.start())
            elif opened:
                self.closings[opened.pop()] = bracket.start()


_brackets = _Brackets()


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
    if names := _names_of_children(xpath_str):
        return list(self.iterchildren(*names))
    return _compiled(xpath_str)(self)


@lru_cache(_MAX_EXPRESSIONS)
def _names_of_children(expression: str) -> tuple[str, ...]:
    """The names in an expression that asks for children of several names; else nothing.

    Of these libxml2 looks at each pair: 20,000 breaks in one run of Word took 20 seconds.
    """
    if _CHILDREN.fullmatch(expression) is None:
        return ()
    return tuple(qn(name.strip().removeprefix("./")) for name in expression.split("|"))


def bare(partitioner: Callable[..., list[Found]]) -> Callable[..., list[Found]]:
    """A partitioner without what is added when it is done: identifiers, hierarchy, language."""
    undecorated: Callable[..., list[Found]] = inspect.unwrap(partitioner)
    return undecorated

"""Faster versions of functions of unstructured, Markdown and python-docx, with the same results.

Each replaces a function of theirs by one that returns the same. Only speed depends on them.
"""

import inspect
import re
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

from docx.oxml.ns import nsmap, qn
from docx.oxml.xmlchemy import BaseOxmlElement
from lxml import etree  # type: ignore[import-untyped]  # ships no types
from markdown.htmlparser import HTMLExtractor
from markdown.inlinepatterns import LinkInlineProcessor
from unstructured.documents.elements import Element as Found
from unstructured.nlp import tokenize
from unstructured.partition import text_type

#: Expressions may hold names from a document, so there may be any number of them.
_MAX_EXPRESSIONS = 256

_count_sentences = text_type.sentence_count
_LONG_WORD = re.compile(r"(\S{100})\S+(\S{100})")
_CHILDREN = re.compile(r"(?:\./)?w:\w+(?:\s*\|\s*(?:\./)?w:\w+)+")
_BRACKET = re.compile(r"[\[\]]")
#: Most links are shorter than this, and need no preparation.
_NEAR_CHARACTERS = 200
#: How many characters of a paragraph are searched in vain for the end of links.
_MAX_SEARCHED = 1_000_000
_run_pipeline = tokenize._run_pipeline  # noqa: SLF001 -- see _split
_text_of_link: Callable[[LinkInlineProcessor, str, int], tuple[str, int, bool]] = (
    LinkInlineProcessor.getText
)
_address_of_link: Callable[[LinkInlineProcessor, str, int], tuple[str, str | None, int, bool]] = (
    LinkInlineProcessor.getLink
)
_end_of_start_tag: Callable[[HTMLExtractor, int], int] = HTMLExtractor.check_for_whole_start_tag


def take_shortcuts() -> None:
    """Install the faster versions for this process. Repeatable."""
    text_type.sentence_count = sentence_count
    text_type.under_non_alpha_ratio = under_non_alpha_ratio
    BaseOxmlElement.xpath = _xpath  # type: ignore[method-assign]
    tokenize._run_pipeline = _split  # noqa: SLF001 -- all its functions end there
    LinkInlineProcessor.getText = text_of_link
    LinkInlineProcessor.getLink = address_of_link
    HTMLExtractor.check_for_whole_start_tag = end_of_start_tag


def _split(text: str) -> Any:
    """The result of the splitter for a text with shortened endless words.

    The splitter removes punctuation from a word character by character, and looks at the whole word
    each time. So of an endless word only both ends are kept. Nobody uses the words themselves.
    """
    return _run_pipeline(_LONG_WORD.sub(r"\1\2", text))


def text_of_link(processor: LinkInlineProcessor, data: str, index: int) -> tuple[str, int, bool]:
    """The text from a bracket to its closing bracket, the end of it, and whether it is closed.

    Markdown searches from each bracket to the end of the paragraph: 50,000 brackets took five
    minutes.
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


def address_of_link(
    processor: LinkInlineProcessor, data: str, index: int
) -> tuple[str, str | None, int, bool]:
    """Markdown's result for the brackets after a link's text, in a bounded time for a paragraph.

    It searches from each bracket to the end of the paragraph: 10,000 open brackets took a minute.
    After many characters were searched in vain, only the next ones are searched.
    """
    if _searches.data is not data:
        _searches.data, _searches.left = data, _MAX_SEARCHED
    if _searches.left > 0:
        found = _address_of_link(processor, data, index)
        _searches.left -= 0 if found[3] else len(data) - index
        return found
    near = data[index : index + _NEAR_CHARACTERS]
    address, title, length, is_closed = _address_of_link(processor, near, 0)
    return address, title, index + length, is_closed


class _Searches:
    """How much of the last paragraph may still be searched for the end of a link."""

    data = ""
    left = 0


_searches = _Searches()


def end_of_start_tag(parser: HTMLExtractor, begin: int) -> int:
    """Where the tag that begins here ends; -1 if it does not end.

    Python's parser looks for the end of each tag in all of the text that follows.
    """
    if parser.rawdata is not _tags.text:
        _tags.text, _tags.last = parser.rawdata, parser.rawdata.rfind(">")
    return _end_of_start_tag(parser, begin) if begin < _tags.last else -1


class _Tags:
    """The place of the last sign in a text that may end a tag."""

    text = ""
    last = -1


_tags = _Tags()


class _Brackets:
    """The pairs of brackets in the last paragraph."""

    def __init__(self) -> None:
        self.data = ""
        self.closings: dict[int, int] = {}  #: by the place of the opening one

    def pair(self, data: str) -> None:
        """Find the pairs in this paragraph."""
        opened: list[int] = []
        self.data, self.closings = data, {}
        for bracket in _BRACKET.finditer(data):
            if bracket[0] == "[":
                opened.append(bracket.start())
            elif opened:
                self.closings[opened.pop()] = bracket.start()


_brackets = _Brackets()


def sentence_count(text: str, min_length: int | None = None) -> int:
    """The number of sentences, or 2 if there are more.

    unstructured only needs to know whether there are two, with three or five words, and for this
    splits the whole text into words. Mostly the answer is found at once.
    """
    return 2 if _has_two_sentences(text) else min(2, _count_sentences(text, min_length))


@lru_cache(1)  # asked twice about each text
def _has_two_sentences(text: str) -> bool:
    """Whether a sentence surely ends between five words and five words.

    This is certain for the splitter by punctuation: it ends a sentence at an end sign that is a
    word by itself, before a word that is no punctuation. The sign after a word in small letters is
    a word by itself, unless both together are a known word. Words without such a sign end nothing.
    """
    pattern, abbreviations = _sentence_ends()
    return any(end[1] not in abbreviations for end in pattern.finditer(text))


@lru_cache(1)
def _sentence_ends() -> tuple[re.Pattern[str], frozenset[str]]:
    splitter: Any = tokenize._get_nlp()  # noqa: SLF001 -- warm.py puts it there
    signs = re.escape("".join(splitter.get_pipe("sentencizer").punct_chars))
    word = rf"[^\W_][^\s{signs}]*"
    pattern = rf"(?<!\S)(?:{word}\s+){{4}}([a-z]{{2,}}[.!?])\s+(?:{word}\s+){{4}}[^\W_]"
    return re.compile(pattern), frozenset(splitter.tokenizer.rules)


def under_non_alpha_ratio(text: str, threshold: float = 0.5) -> bool:
    """Whether too few characters are letters. unstructured checks them one by one."""
    characters = len("".join(text.split()))
    return characters > 0 and sum(map(str.isalpha, text)) / characters < threshold


_compiled = lru_cache(_MAX_EXPRESSIONS)(partial(etree.XPath, namespaces=nsmap))


def _xpath(self: BaseOxmlElement, xpath_str: str) -> Any:
    """The result of python-docx, which would compile the expression again for each element."""
    if names := _names_of_children(xpath_str):
        return list(self.iterchildren(*names))
    return _compiled(xpath_str)(self)


@lru_cache(_MAX_EXPRESSIONS)
def _names_of_children(expression: str) -> tuple[str, ...]:
    """The names in an expression for children with one of several names; otherwise nothing.

    For such an expression libxml2 compares each pair: 20,000 breaks in one run of Word took 20
    seconds.
    """
    if _CHILDREN.fullmatch(expression) is None:
        return ()
    return tuple(qn(name.strip().removeprefix("./")) for name in expression.split("|"))


def bare(partitioner: Callable[..., list[Found]]) -> Callable[..., list[Found]]:
    """A partitioner without its last steps, which add identifiers, hierarchy and language."""
    undecorated: Callable[..., list[Found]] = inspect.unwrap(partitioner)
    return undecorated

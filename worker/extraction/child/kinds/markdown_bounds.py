"""Markdown becomes HTML by Python-Markdown, with bounds on nesting and on work.

Python-Markdown looks at all of the rest of a block for each mark in it, and calls itself for each
level of a list. Text that is made to do harm, such as `1.` 33,000 times in a line, would take hours
or end in a RecursionError. Behind a bound a mark is only text: it is shown as it is written, and
no word is lost.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from xml.etree.ElementTree import Element, SubElement

from markdown import Markdown
from markdown.extensions import Extension
from markdown.htmlparser import HTMLExtractor
from markdown.inlinepatterns import BacktickInlineProcessor, InlineProcessor

#: Lists and quotes within each other. Each makes two levels of HTML, of which libxml2 reads 256.
_DEEPEST = 32
#: Characters that may be looked at for each character of the text: in blocks, and within lines.
#: No text that people wrote needs a tenth of this.
_BLOCK_WORK, _LINE_WORK = 100, 4_000
#: For a short text, which may need more for each of its characters.
_LEAST_WORK = 2_000_000
#: Python looks at one character in the time in which a hundred are copied.
_SLOW = 100
#: An emphasis with more of them inside is no emphasis: Markdown looks at all of them for each.
_MOST_INNER = 500
#: What a block costs, however short it is.
_BLOCK_COST = 50

_Found = tuple[Element | str | None, int | None, int | None]

_closes_later: Callable[[HTMLExtractor, str], bool] = HTMLExtractor.inline_close_follows


def html_of(text: str) -> str:
    """The HTML of a Markdown text, with tables and fenced code. Time grows with its length."""
    lines = _Work(_LINE_WORK, text)
    with _comments_bounded(lines):
        bounds = _Bounds(text, lines)
        return str(Markdown(extensions=["tables", "fenced_code", bounds]).convert(text))


@contextmanager
def _comments_bounded(work: "_Work") -> Iterator[None]:
    """After too much work, a comment of HTML counts as a block of its own.

    For each comment Markdown searches the rest of the document for the end of each open tag.
    """

    def closes_later(parser: HTMLExtractor, text: str) -> bool:
        work.take(len(parser.rawdata) * len(parser.inline_stack))
        return work.is_left and _closes_later(parser, text)

    HTMLExtractor.inline_close_follows = closes_later
    try:
        yield
    finally:
        HTMLExtractor.inline_close_follows = _closes_later


class _Work:
    """How many characters may still be looked at."""

    def __init__(self, each: int, text: str) -> None:
        self._left = _LEAST_WORK + each * len(text)

    @property
    def is_left(self) -> bool:
        return self._left > 0

    def take(self, characters: int) -> None:
        self._left -= characters


class _Bounds(Extension):  # type: ignore[misc]  # ships no types
    """Bounds the parser of blocks, and each pattern within lines."""

    def __init__(self, text: str, lines: _Work) -> None:
        super().__init__()
        self._text, self._lines = text, lines

    def extendMarkdown(self, md: Markdown) -> None:  # noqa: N802 -- Markdown calls it
        blocks = _Blocks(md, _Work(_BLOCK_WORK, self._text))
        md.parser.parseBlocks = blocks.parse
        for pattern in md.inlinePatterns:
            pattern.handleMatch = _bounded(pattern, self._lines)


class _Blocks:
    """Replaces the function of Markdown's parser that goes through blocks."""

    def __init__(self, md: Markdown, work: _Work) -> None:
        self._md, self._work = md, work
        self._depth = 0

    def parse(self, parent: Element, blocks: list[str]) -> None:
        """Parse all blocks, and leave none in the list.

        Each is alone in a list, because to remove the first one of a long list takes long.
        """
        waiting = blocks[::-1]
        blocks.clear()
        self._depth += 1
        while waiting:
            rest = [waiting.pop()]
            while rest:
                self._parse_first(parent, rest)
        self._depth -= 1

    def _parse_first(self, parent: Element, rest: list[str]) -> None:
        self._work.take(len(rest[0]) + _BLOCK_COST)
        if self._depth > _DEEPEST or not self._work.is_left:
            SubElement(parent, "p").text = rest.pop(0)
            return
        for processor in self._md.parser.blockprocessors:
            if processor.test(parent, rest[0]) and processor.run(parent, rest) is not False:
                return


def _bounded(pattern: InlineProcessor, work: _Work) -> Callable[[re.Match[str], str], _Found]:
    """The pattern's function, which finds nothing any more when too much was looked at."""
    found_at: Callable[[re.Match[str], str], _Found] = pattern.handleMatch
    searches = isinstance(pattern, BacktickInlineProcessor)

    def bounded(match: re.Match[str], data: str) -> _Found:
        if not work.is_left:
            return None, match.start(0), match.end(0)
        found = found_at(match, data)
        if isinstance(found[0], Element) and len(found[0]) > _MOST_INNER:
            return None, found[1], found[2]
        if found[0] is not None:
            work.take(len(data))
        elif searches:
            work.take(_SLOW * (len(data) - match.start(0)))
        return found

    return bounded

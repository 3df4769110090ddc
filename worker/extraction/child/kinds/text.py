"""Plain text and source code."""

import re
from collections.abc import Iterable, Iterator
from itertools import chain, groupby, pairwise
from math import inf
from statistics import median

from unstructured.partition.text import element_from_text

from docmill.worker.extraction.child.encodings import decode, plain_newlines
from docmill.worker.extraction.child.kinds import cuts
from docmill.worker.extraction.child.kinds.base import Reading, Source
from docmill.worker.extraction.child.kinds.grouping import grouped
from docmill.worker.extraction.child.kinds.partitioned import body_titles_demoted
from docmill.worker.extraction.child.kinds.titles import is_no_title
from docmill.worker.models import Element

#: Longer paragraphs are never titles, so unstructured, which is slow, need not be asked.
_MAX_TITLE_CHARACTERS = 120
_BULLET = re.compile(
    r"\s*([-*+\u2022\u2023\u25aa\u25cf\u25e6\u2043\u2219]|\(?\d{1,3}[.)]|[a-z][.)])\s+\S"
)
_BULLET_SIGN = re.compile(r"^[-*+\u2022\u2023\u25aa\u25cf\u25e6\u2043\u2219]\s+")
#: Text is never wrapped to a smaller width.
_MIN_WIDTH = 40
#: From this many lines on, breaks in the middle of a sentence are no accident.
_MIN_BROKEN = 2
#: A line that is at least this share of the width was broken because it was full.
_FULL_LINE = 0.75
#: In wrapped text, at least this share of the lines after full lines begins in lower case.
_MID_SENTENCE = 0.4
_SENTENCE_END = re.compile(r"[.!?\u2026\u3002\uff01\uff1f][\"'\u201d\u2019)\]]*$")
#: `== History ==` of a wiki; there may be spaces between the signs.
_WIKI_HEADING = re.compile(r"(=(?: ?=){0,5}) ?([^=\s](?:[^=]*[^=\s])?) ?\1")
_CUTS = (
    cuts.between_paragraphs,
    cuts.at_blank_line,
    cuts.at_line_end,
    cuts.at_carriage_return,
    cuts.at_space,
)


def read_text(source: Source) -> Reading:
    """Paragraphs, list items, and lines that unstructured takes for titles."""
    file = cuts.TextFile.of(source)
    starts = () if source.window else cuts.starts_of(file, *_CUTS)
    full = source.context.get("full_line_length")
    if full is None:
        # Measured in the first window, so that all windows use the same value.
        full = full_line_length(_lines(file.text(file.begin, [*starts, None][1])))
    windows = (text_elements(file.text(*bounds), full) for bounds in source.wanted(starts))
    context = {**file.context, "full_line_length": full}
    return Reading(chain.from_iterable(windows), starts=starts, context=context)


def text_elements(text: str, full: float | None = None) -> Iterator[Element]:
    """Elements of a text without markup. `full` is the full_line_length, measured if it is None."""
    blocks = chain([[""]], blocks_of(text, full))
    return body_titles_demoted(
        element
        for (*_, before), block in pairwise(blocks)
        for element in _block_elements(block, before)
    )


def read_source(source: Source) -> Reading:
    """Source code and configuration in groups of whole blocks, with indentation."""
    return Reading(_code_elements(decode(source.read())))


def blocks_of(text: str, full: float | None = None) -> Iterator[list[str]]:
    """Paragraphs between blank lines: wrapped lines are joined, list items are separate."""
    lines = _lines(text)
    if full is None:
        full = full_line_length(lines)
    for blank, block in groupby(lines, key=lambda line: not line.strip()):
        if not blank:
            yield list(_joined(block, full))


def _lines(text: str) -> list[str]:
    return plain_newlines(text).replace("\f", "\n\n").split("\n")


def full_line_length(lines: list[str]) -> float:
    """The length from which a line counts as broken because it was full; infinite if not wrapped.

    Wrapped prose has lines that begin in the middle of a sentence, and the lines before them have
    about the width of wrapping. The lines of a log have equal lengths too, but all begin alike.
    """
    pairs = [(len(line), new.lstrip()) for line, new in pairwise(lines) if new.strip()]
    broken = [length for length, new in pairs if length >= _MIN_WIDTH and new[0].islower()]
    if len(broken) < _MIN_BROKEN:
        return inf
    full = _FULL_LINE * median(broken)
    followed = sum(1 for length, _ in pairs if length >= full)
    return full if len(broken) > _MID_SENTENCE * followed else inf


def _joined(block: Iterable[str], full: float) -> Iterator[str]:
    paragraph: list[str] = []
    last_length = 0
    for line in block:
        if paragraph and (last_length < full or _BULLET.match(line)):
            yield " ".join(paragraph)
            paragraph = []
        paragraph.append(line.strip())
        last_length = len(line)
    yield " ".join(paragraph)


def _block_elements(paragraphs: list[str], before: str) -> Iterator[Element]:
    """Elements of one block: its first line may be a title; short lines after it stay together.

    `before` is the last paragraph of the block before it.
    """
    first, *rest = paragraphs
    if not rest or len(rest[0]) > _MAX_TITLE_CHARACTERS:
        yield _classified(first, before)
    else:
        rest = paragraphs
    for kind, run in groupby(rest, key=_shape):
        if kind == "line":
            yield from (Element("Text", group) for group in grouped(run, "\n"))
        else:
            yield from (Element(kind, _BULLET_SIGN.sub("", paragraph)) for paragraph in run)


def _shape(paragraph: str) -> str:
    if _BULLET.match(paragraph):
        return "ListItem"
    return "line" if len(paragraph) <= _MAX_TITLE_CHARACTERS else "NarrativeText"


def _classified(paragraph: str, before: str) -> Element:
    if len(paragraph) > _MAX_TITLE_CHARACTERS:
        return Element(_shape(paragraph), paragraph)
    if heading := _WIKI_HEADING.fullmatch(paragraph):
        return Element("Title", heading[2], depth=heading[1].count("=") - 1)
    found = element_from_text(paragraph)
    category = "Text" if found.category == "UncategorizedText" else found.category
    if category == "Title" and paragraph.endswith((".", "!", "?", ";", ":", ",")):
        category = "NarrativeText"
    if category == "Title" and (is_no_title(paragraph) or _goes_on(before, paragraph)):
        category = "Text"
    return Element(category, found.text)


def _goes_on(before: str, paragraph: str) -> bool:
    """Whether a paragraph continues the unfinished sentence of the paragraph before."""
    if not before or _SENTENCE_END.search(before) or before == before.lower():
        return False  # in a text without capitals, small letters mean nothing
    return paragraph[0].islower() and paragraph.split(maxsplit=1)[0].islower()


def _code_elements(text: str) -> Iterator[Element]:
    # Cut at a blank line before an unindented line, so no function is cut in two.
    blocks = re.split(r"\n[ \t]*\n(?=\S)", text.replace("\r\n", "\n"))
    yield from (Element("CodeSnippet", group) for group in grouped(blocks, "\n\n"))

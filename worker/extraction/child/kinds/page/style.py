"""How a document's ordinary text looks, and which lines are at the edge of many pages."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from docmill.worker.extraction.child.kinds.page.layout import Line
from docmill.worker.extraction.shared.running import marks_of

#: How many running lines are looked for.
_MAX_RUNNING = 20
_LEADING_NUMBER = re.compile(r"^\s*(?:\d+(?:\.\d+)*|[A-Z]|[IVX]+)[.)]?\s+")
_WORD_CHARACTERS = re.compile(r"[^\W_]+")


@dataclass(frozen=True)
class Style:
    """How a document's ordinary text looks."""

    body_size: float
    running: frozenset[str]  #: marks of the lines at the top or bottom of many pages
    #: Titles that the document's outline names, by page, with their depth.
    outline: Mapping[int, Mapping[str, int]] = field(default_factory=dict)


def style_of(pages: Mapping[int, Sequence[Line]]) -> Style:
    """The most common size, by characters, and the lines at the edges of many pages."""
    exact: Counter[float] = Counter()
    marks: Counter[str] = Counter()
    for number, lines in pages.items():
        for line in lines:
            exact[line.size] += len(line.text)
        at_edges = [line.text for line in edges(lines)]
        # Sorted, because the choice of kept ones must not depend on the order of a set.
        marks.update(sorted({mark for text in at_edges for mark in marks_of(text, number)}))
    sizes: Counter[float] = Counter()
    for size, characters in exact.items():
        sizes[round(size, 1)] += characters
    often = max(3, len(pages) // 3)
    commonest = marks.most_common(_MAX_RUNNING)
    return Style(
        body_size=sizes.most_common(1)[0][0] if sizes else 1.0,
        running=frozenset(mark for mark, count in commonest if count >= often),
    )


def edges(lines: Sequence[Line]) -> list[Line]:
    """The two highest and the two lowest lines of a page that may be running lines."""
    by_height = sorted((line for line in lines if line.runs), key=lambda line: -line.top)
    return by_height[:2] + by_height[-2:]


def letters_of(text: str) -> str:
    """The letters of a title, to compare two spellings: one may lack the numbering."""
    return "".join(_WORD_CHARACTERS.findall(_LEADING_NUMBER.sub("", text))).lower()

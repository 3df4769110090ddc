"""What a document's ordinary text looks like, and which lines stand on the edge of many pages."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from docmill.worker.extraction.child.kinds.page.layout import Line
from docmill.worker.extraction.shared.running import marks_of

#: Running lines that are looked for.
_MAX_RUNNING = 20
_LEADING_NUMBER = re.compile(r"^\s*(?:\d+(?:\.\d+)*|[A-Z]|[IVX]+)[.)]?\s+")
_WORD_CHARACTERS = re.compile(r"[^\W_]+")


@dataclass(frozen=True)
class Style:
    """What a document's ordinary text looks like."""

    body_size: float
    running: frozenset[str]  #: marks of the lines that stand at the top or foot of many pages
    #: Titles that the document's outline names, by page, with their depth.
    outline: Mapping[int, Mapping[str, int]] = field(default_factory=dict)


def style_of(pages: Mapping[int, Sequence[Line]]) -> Style:
    """The commonest size, by characters, and what many pages have at their edges."""
    sizes: Counter[float] = Counter()
    marks: Counter[str] = Counter()
    for number, lines in pages.items():
        for line in lines:
            sizes[round(line.size, 1)] += len(line.text)
        at_edges = [line.text for line in edges(lines)]
        # In order: which of many are kept must not depend on how a set happens to be laid out.
        marks.update(sorted({mark for text in at_edges for mark in marks_of(text, number)}))
    often = max(3, len(pages) // 3)
    commonest = marks.most_common(_MAX_RUNNING)
    return Style(
        body_size=sizes.most_common(1)[0][0] if sizes else 1.0,
        running=frozenset(mark for mark, count in commonest if count >= often),
    )


def edges(lines: Sequence[Line]) -> list[Line]:
    """The two highest and the two lowest lines of a page, of those that may be running lines."""
    by_height = sorted((line for line in lines if line.runs), key=lambda line: -line.top)
    return by_height[:2] + by_height[-2:]


def letters_of(text: str) -> str:
    """What two spellings of a title have in common: its numbering may be missing in one."""
    return "".join(_WORD_CHARACTERS.findall(_LEADING_NUMBER.sub("", text))).lower()

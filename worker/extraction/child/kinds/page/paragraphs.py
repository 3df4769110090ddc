"""Runs of lines that make one paragraph, one title or one table."""

import re
import statistics
from collections.abc import Collection, Iterator, Sequence
from itertools import groupby, pairwise

from docmill.worker.extraction.child.kinds.page.items import begins_item, is_contents_entry
from docmill.worker.extraction.child.kinds.page.layout import Line
from docmill.worker.extraction.child.kinds.page.style import letters_of

#: A larger distance than this ends a paragraph: in usual distances, or in sizes of a large font.
_PARAGRAPH_PITCH, _TITLE_PITCH = 1.35, 1.45
_SENTENCE_END = re.compile(r"[.!?:;\u3002\uff01\uff1f][\"'\u201d\u2019)\]]?$")
#: The end of a sentence has at most two characters, and a line end may follow it.
_END_CHARACTERS = 3


def ends_sentence(text: str) -> bool:
    """Whether a sentence may end here."""
    return bool(_SENTENCE_END.search(text, max(0, len(text) - _END_CHARACTERS)))


def blocks(lines: Sequence[Line], titles: Collection[str]) -> Iterator[list[Line]]:
    """Runs of lines that make one paragraph, one title or one table."""
    for (is_table, _number), run in groupby(lines, key=lambda line: (bool(line.cells), line.table)):
        if is_table:
            yield list(run)
        else:
            yield from _paragraphs(list(run), titles)


def _paragraphs(lines: Sequence[Line], titles: Collection[str]) -> Iterator[list[Line]]:
    pitch = _usual_pitch(lines)
    block: list[Line] = []
    was_named = False
    for line in lines:
        named = bool(titles) and letters_of(line.text) in titles
        if block and (named or was_named or not _continues(block, line, pitch)):
            yield block
            block = []
        block.append(line)
        was_named = named
    if block:
        yield block


def _usual_pitch(lines: Sequence[Line]) -> float:
    """The usual distance from one line to the next one below."""
    steps = (_step(above, below) for above, below in pairwise(lines))
    usual = [step for step in steps if step > 0]
    return statistics.median(usual) if usual else 0.0


def _step(above: Line, below: Line) -> float:
    """Distance between two lines; 0 if the second does not follow, say in another column."""
    step = above.bottom - (below.top - below.size)
    return step if 0 < step < 4 * above.size else 0.0


def _continues(block: Sequence[Line], line: Line, pitch: float) -> bool:
    """Whether a line belongs to the same paragraph as those before it."""
    last = block[-1]
    if abs(line.size - last.size) > 0.12 * last.size or line.bold != last.bold:
        return False
    if begins_item(line.text) or is_contents_entry(last.text):
        return False
    ended = ends_sentence(last.text)
    step = _step(last, line)
    if step == 0:
        # A sentence may go on in the next column.
        return not ended and line.text[:1].islower()
    if step > max(_PARAGRAPH_PITCH * pitch, _TITLE_PITCH * last.size):
        return False
    return not (ended and (_is_indented(block, line) or _is_short(block, line)))


def _is_indented(block: Sequence[Line], line: Line) -> bool:
    return len(block) > 1 and line.left > block[-1].left + 0.8 * line.size


def _is_short(block: Sequence[Line], line: Line) -> bool:
    """Whether the last line of a block ends well before the others do."""
    left = min(other.left for other in [*block, line])
    right = max(other.right for other in [*block, line])
    return block[-1].right < right - 0.15 * (right - left)

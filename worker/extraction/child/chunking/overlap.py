"""The end of a chunk, with which the next chunk of the same section begins."""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from docmill.worker.extraction.child.chunking.blocks import Block
from docmill.worker.extraction.child.chunking.tokens import TokenCounter
from docmill.worker.extraction.child.graphemes import before_grapheme

_BEFORE_WORD: Final = re.compile(r"\s+")


def end_of(blocks: Sequence[Block], counter: TokenCounter, limit: int) -> list[Block]:
    """The last whole blocks with at most `limit` tokens together, or the end of the last one.

    Nothing of a table: each of its pieces repeats the header row already.
    """
    taken: list[Block] = []
    cost = 0
    for block in reversed(blocks):
        cost += block.cost
        if cost > limit or block.metadata.get("category") == "Table":
            break
        taken.insert(0, block)
    if taken or blocks[-1].metadata.get("category") == "Table":
        return taken
    return _last_words(blocks[-1], counter, limit)


def _last_words(block: Block, counter: TokenCounter, limit: int) -> list[Block]:
    """The last words of a block, or its last characters if it is one long word."""
    ends = counter.ends(block.text)
    start = int(ends[-limit - 1]) if len(ends) > limit else 0
    word = _BEFORE_WORD.search(block.text, start)
    start = word.end() if word and word.end() < len(block.text) else start
    text = block.text[before_grapheme(block.text, start) :]
    tokens = counter.count(text)
    return [replace(block, text=text, tokens=tokens)] if text.strip() and tokens <= limit else []

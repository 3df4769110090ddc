"""Blocks, the pieces from which chunks are packed: a sentence, a list item, rows of a table."""

import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from docmill.worker.extraction.child.chunking.tokens import TokenCounter, split
from docmill.worker.models import Element, JsonObject


@dataclass(frozen=True)
class Block:
    """A piece of text that stays whole, if possible, when chunks are packed."""

    text: str
    tokens: int  #: of the text by itself
    page: int | None
    joint: str  #: the text between the previous block and this one
    metadata: JsonObject
    keeps_lines: bool = False  #: source code, in which indentation matters
    ends_paragraph: bool = True  #: or another unit of text

    @property
    def cost(self) -> int:
        """About how many tokens it adds to a chunk, with the joint.

        A space before a word is part of the word's token.
        """
        return self.tokens + ("\n" in self.joint)

    @property
    def characters(self) -> int:
        """Its size in memory."""
        return len(self.text) + sum(len(link) for link in self.metadata.get("links", ()))


class Blocks:
    """Blocks in order, and their sizes together."""

    def __init__(self, blocks: Iterable[Block] = ()) -> None:
        self.all: list[Block] = []
        self.cost = 0  #: about how many tokens in one chunk
        self.characters = 0
        for block in blocks:
            self.append(block)

    def append(self, block: Block) -> None:
        """Add one at the end."""
        self.all.append(block)
        self.cost += block.cost
        self.characters += block.characters


def joined_text(blocks: Sequence[Block]) -> str:
    """The text of the blocks in one chunk."""
    return blocks[0].text + "".join(block.joint + block.text for block in blocks[1:])


def blocks_of(element: Element, text: str, counter: TokenCounter, limit: int) -> Iterator[Block]:
    """The blocks of one element, of at most `limit` tokens each."""
    joint = "\n" if element.category == "ListItem" else "\n\n"
    metadata: JsonObject = {"category": "Table"} if element.category == "Table" else {}
    if links := element.metadata.get("links"):
        metadata["links"] = links.split("\n")
    if element.category in ("Table", "CodeSnippet"):
        is_code = element.category == "CodeSnippet"
        block = Block(text, counter.count(text), element.page, joint, metadata, is_code)
        yield from fitting(block, counter, limit)
    else:
        for sentence in _sentences(Block(text, 0, element.page, joint, metadata), counter):
            yield from fitting(sentence, counter, limit)


#: Before a small letter, a full stop ends an abbreviation more often than a sentence.
_NEXT_SENTENCE: Final = re.compile(
    "[.!?\u2026\u061f\u0964][\"'\u201d\u2019\u00bb)\\]]*\\s+(?=[^\\sa-z\u00df-\u00ff])"
    "|[\u3002\uff01\uff1f][\u300d\u300f\u201d\u2019\uff09]*\\s*"
)


def _sentences(paragraph: Block, counter: TokenCounter) -> Iterator[Block]:
    """The sentences of a paragraph, by punctuation; their tokens add up to the paragraph's.

    A text of lines, such as a record, stays whole.
    """
    text = paragraph.text
    is_prose = "\n" not in text
    starts = [0, *(found.end() for found in _NEXT_SENTENCE.finditer(text) if is_prose)]
    if starts[-1] == len(text):
        starts.pop()
    if len(starts) == 1:
        yield replace(paragraph, tokens=counter.count(text))
        return
    joint, places = paragraph.joint, counter.ends(text)
    reached = np.searchsorted(places, [*starts[1:], len(text)], side="left") + 1
    for start, end, tokens in zip(
        starts, [*starts[1:], len(text)], np.diff(reached, prepend=0), strict=True
    ):
        piece = text[start:end].rstrip()
        yield replace(
            paragraph,
            text=piece,
            tokens=max(1, int(tokens)),
            joint=joint,
            ends_paragraph=end == len(text),
        )
        joint = joint_of(text[start + len(piece) : end])


def joint_of(between: str) -> str:
    """The joint of two pieces that had this white space between them."""
    return "\n" if "\n" in between else " " if between else ""


def fitting(block: Block, counter: TokenCounter, limit: int) -> Iterator[Block]:
    """The block, or pieces of it, of at most `limit` tokens each."""
    if block.tokens <= limit:
        yield block
    elif block.metadata.get("category") == "Table":
        yield from _cut_table(block, counter, limit)
    else:
        yield from cut_text(block, counter, limit)


def cut_text(block: Block, counter: TokenCounter, limit: int) -> Iterator[Block]:
    """Pieces of at most `limit` tokens. In one chunk the text between them joins them again."""
    joint, end = block.joint, 0
    for offset, piece in split(block.text, counter, limit, keeps_lines=block.keeps_lines):
        between = block.text[end:offset]
        if end:
            joint = joint_of(between)
        tokens, end = counter.count(piece), offset + len(piece)
        ends_paragraph = block.ends_paragraph and end == len(block.text)
        yield replace(block, text=piece, tokens=tokens, joint=joint, ends_paragraph=ends_paragraph)


_ROW_END: Final = 1  # tokens, at most


def _cut_table(block: Block, counter: TokenCounter, limit: int) -> Iterator[Block]:
    """Groups of whole rows, each under the header row; a row that is too long is cut as text."""
    header, *rows = block.text.split("\n")
    header_tokens = counter.count(header) + _ROW_END
    if header_tokens > limit // 2 or not rows:
        # One endless row: there is no header to repeat, and no end of a row to cut at.
        yield from cut_text(block, counter, limit)
        return
    room = limit - header_tokens
    waiting = deque((row, counter.count(row) + _ROW_END) for row in rows)
    while waiting:
        if waiting[0][1] > room:
            yield from cut_text(replace(block, text=waiting.popleft()[0]), counter, limit)
            continue
        taken, tokens = [waiting.popleft()], header_tokens
        tokens += taken[0][1]
        while waiting and tokens + waiting[0][1] <= limit:
            taken.append(waiting.popleft())
            tokens += taken[-1][1]
        yield from _under_header(block, header, [row for row, _ in taken], counter, limit)


def _under_header(
    block: Block, header: str, rows: Sequence[str], counter: TokenCounter, limit: int
) -> Iterator[Block]:
    """The rows in one piece, or in halves if together they have too many tokens."""
    text = "\n".join([header, *rows])
    tokens = counter.count(text)
    if tokens <= limit:
        yield replace(block, text=text, tokens=tokens)
    elif len(rows) == 1:
        yield from cut_text(replace(block, text=text), counter, limit)
    else:
        half = len(rows) // 2
        yield from _under_header(block, header, rows[:half], counter, limit)
        yield from _under_header(block, header, rows[half:], counter, limit)

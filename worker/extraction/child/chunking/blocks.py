"""Blocks, the pieces from which chunks are packed: a sentence, a list item, rows of a table."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from docmill.worker.extraction.child.chunking.tokens import TokenCounter, split
from docmill.worker.extraction.shared.protocol import ROWS_MORE, ROWS_WITHOUT_NAMES
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
    names: str = ""  #: the line of column names, which stands above the rows in each chunk
    names_tokens: int = 0  #: of that line, with its end
    is_first: bool = False  #: the first rows of their table

    @property
    def cost(self) -> int:
        """About how many tokens it adds to a chunk, with the joint.

        A space before a word is part of the word's token.
        """
        return self.tokens + ("\n" in self.joint) + (self.names_tokens if self.is_first else 0)

    @property
    def lead(self) -> int:
        """About how many tokens it costs more if a chunk begins with it."""
        return 0 if self.is_first else self.names_tokens

    @property
    def characters(self) -> int:
        """Its size in memory."""
        links = self.metadata.get("links")
        return len(self.text) + len(self.names) + (sum(map(len, links)) if links else 0)


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
    """The text of the blocks in one chunk. Rows stand under the names of their columns."""
    pieces: list[str] = []
    before: Block | None = None
    for block in blocks:
        is_new = block.is_first or before is None or block.names != before.names
        if before is not None:
            # The rows of two tables never follow each other without a blank line.
            pieces.append("\n\n" if is_new and before.names and block.names else block.joint)
        if block.names and is_new:
            pieces += block.names, "\n"
        pieces.append(block.text)
        before = block
    return "".join(pieces)


def blocks_of(element: Element, text: str, counter: TokenCounter, limit: int) -> Iterator[Block]:
    """The blocks of one element, of at most `limit` tokens each."""
    joint = "\n" if element.category == "ListItem" else "\n\n"
    metadata: JsonObject = {"category": "Table"} if element.category == "Table" else {}
    if links := element.metadata.get("links"):
        metadata["links"] = links.split("\n")
    if element.category == "Table":
        table = Block(text, 0, element.page, joint, metadata)
        yield from _table_blocks(table, element.metadata.get("rows", ""), counter, limit)
    elif element.category == "CodeSnippet":
        block = Block(text, counter.count(text), element.page, joint, metadata, keeps_lines=True)
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
        yield replace(
            block,
            text=piece,
            tokens=tokens,
            joint=joint,
            ends_paragraph=block.ends_paragraph and end == len(block.text),
            is_first=block.is_first and not offset,
        )


def _table_blocks(table: Block, rows: str, counter: TokenCounter, limit: int) -> Iterator[Block]:
    """The rows of a table, which may be cut between any two of them.

    A table that fits into a chunk stays whole, if the reader did not cut it. `rows` says what the
    reader did: see protocol.py.
    """
    if rows == ROWS_WITHOUT_NAMES:
        yield from _rows(replace(table, joint="\n"), counter, limit)
        return
    names, _, text = table.text.partition("\n")
    named = replace(
        table,
        text=text,
        joint="\n" if rows == ROWS_MORE else table.joint,
        names=names,
        names_tokens=counter.count(names) + 1,
        is_first=rows != ROWS_MORE,
    )
    if not text or named.names_tokens > limit // 2:
        # One endless row, or names that would fill each chunk: nothing is repeated.
        yield from _rows(table, counter, limit)
    elif rows or named.names_tokens + (tokens := counter.count(text)) > limit:
        yield from _rows(named, counter, limit - named.names_tokens)
    else:
        yield replace(named, tokens=tokens)


def _rows(table: Block, counter: TokenCounter, limit: int) -> Iterator[Block]:
    """A block for each row; a row that is too long is cut as text. One call counts all tokens."""
    text = table.text
    lines = text.split("\n")
    row_ends = np.cumsum([len(line) + 1 for line in lines])
    reached = np.searchsorted(counter.ends(text), np.minimum(row_ends, len(text)), side="left") + 1
    costs = np.diff(reached, prepend=0)
    joint, is_first = table.joint, table.is_first
    for line, cost in zip(lines, costs.tolist(), strict=True):
        if not line.strip():
            continue
        # Written in full, because `replace` takes several times as long.
        row = Block(
            text=line,
            tokens=max(1, cost - 1),
            page=table.page,
            joint=joint,
            metadata=table.metadata,
            names=table.names,
            names_tokens=table.names_tokens,
            is_first=is_first,
        )
        joint, is_first = "\n", False
        if row.tokens <= limit:
            yield row
        else:
            yield from cut_text(row, counter, limit)

"""Turns elements into chunks: by title, sized in tokens, deterministic.

It takes one element after the other and looks only at the current section. So the result depends
only on the elements, and not on how a document was cut into windows.

- A Title opens a section; its depth decides which headings above it are still valid.
- A small chunk joins the one before it, or else the one after it, if the two fit. The headings that
  only one of them has are then lines of the content.
- A table is never cut inside a row that fits, and every chunk of it has the names of its columns.
- A title without text below it becomes content, so no text is lost.
- The embedded text of a chunk, with its headings, has at most the requested number of tokens.
- Places to cut a long section depend on its text, so an inserted line changes few chunks: see
  packing.py.
- Memory is bounded for any elements: a long section is passed on in parts.
- If chunks overlap, each chunk of a section after the first begins with the end of the chunk before
  it. Documents are cut as if chunks were smaller by the overlap, so all of the above stays true.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import chain, count
from typing import Final

from docmill.worker.extraction.child.chunking.blocks import (
    Block,
    Blocks,
    blocks_of,
    cut_text,
    fitting,
    joined_text,
)
from docmill.worker.extraction.child.chunking.overlap import end_of
from docmill.worker.extraction.child.chunking.packing import Packer
from docmill.worker.extraction.child.chunking.tokens import TokenCounter
from docmill.worker.extraction.shared.protocol import (
    MAX_CHUNK_LINKS,
    MAX_HEADING_CHARACTERS,
    MAX_HEADINGS,
)
from docmill.worker.models import Chunk, Element, JsonObject, headings_line

#: Chunks smaller than this share of the size join a neighbour, if the two fit.
_SMALL_SHARE: Final = 10
#: So do chunks with fewer characters than this, however many tokens they have: numbers and rare
#: names have many.
_FEW_CHARACTERS: Final = 100
#: If the estimate leaves a greater share of the size than this, two chunks fit together; if it is
#: more than so many times the size, they do not. In between, their tokens are counted.
_SURE_SHARE: Final = 16
_SURELY_TOO_MANY: Final = 1.5
#: Headings may take this share of the embedded text; a heading that does not fit becomes content.
_HEADINGS_SHARE: Final = 3
#: A section longer than this many chunks (at least one), or this many characters, is passed on
#: piece by piece.
_RUN_CHUNKS: Final = 8
_RUN_CHARACTERS: Final = 200_000
#: After this many tries to meet the size, further tries halve the text.
_TRIES: Final = 3


@dataclass
class Section:
    """Blocks under one path of headings, each no longer than a chunk."""

    headings: tuple[str, ...]
    blocks: Blocks = field(default_factory=Blocks)
    goes_on: bool = False  #: the next section continues it
    continues: bool = False  #: it begins within the section of the chunk before it


@dataclass(frozen=True)
class Heading:
    """A title that is valid for the text after it."""

    text: str
    depth: int
    page: int | None


@dataclass
class ChunkState:
    """The state after the elements so far; it is small for any elements."""

    #: The valid headings; only the last one may have no content so far.
    path: list[Heading] = field(default_factory=list)
    section: Section = field(default_factory=lambda: Section(()))  #: the current one
    has_content: bool = False  #: whether that section has any content
    open: list[Block] = field(default_factory=list)  #: its blocks that are in no chunk so far
    is_begun: bool = False  #: whether a chunk was made of that section
    held: Section | None = None  #: the last chunk, which the next one may join
    tail: list[Block] = field(default_factory=list)  #: the end of the chunk before it


def chunk_elements(
    elements: Iterable[Element], counter: TokenCounter, *, max_tokens: int, overlap: int = 0
) -> Iterator[Chunk]:
    """Chunks of at most `max_tokens` tokens, headings and overlap included, in reading order."""
    chunker = Chunker(counter, max_tokens=max_tokens, overlap=overlap, state=ChunkState())
    found = chain(chain.from_iterable(map(chunker.add, elements)), _last(chunker))
    for ordinal, chunk in enumerate(found):
        yield replace(chunk, ordinal=ordinal)


def _last(chunker: "Chunker") -> Iterator[Chunk]:
    yield from chunker.finish()


class Chunker:
    """Takes elements, and returns chunks as soon as they are complete. Remembers only its state."""

    def __init__(
        self, counter: TokenCounter, *, max_tokens: int, overlap: int = 0, state: ChunkState
    ) -> None:
        self._counter = counter
        self._overlap = overlap
        self._most = max_tokens
        self._own = max_tokens - overlap  #: of a chunk, without the end of the one before it
        self._measured: tuple[tuple[str, ...], int] = (), self._own  #: see _room
        self._packer: Packer | None = None  #: of the current section; made from the state
        self._held_chunk: Chunk | None = None  #: that of the state, if it is known
        self.state = state

    def add(self, element: Element) -> Iterator[Chunk]:
        """Take the next element. Chunks have no ordinals yet."""
        for section in self._sections(element):
            yield from self._cut(section)

    def finish(self) -> Iterator[Chunk]:
        """No more elements follow: the remaining chunks."""
        for section in self._end_section(next_depth=0):
            yield from self._cut(section)
        yield from self._release()

    # -- sections

    def _sections(self, element: Element) -> Iterator[Section]:
        text = element.text.strip()
        if not text:
            return
        if element.category == "CodeSnippet":
            # The indentation of a line is part of its meaning.
            text = element.text.strip("\n").rstrip()
        if element.category == "Title" and len(text) <= MAX_HEADING_CHARACTERS:
            heading = Heading(" ".join(text.split()), _depth(element), element.page)
            yield from self._end_section(next_depth=heading.depth)
            self._begin_section(heading)
        else:
            yield from self._add_content(element, text)

    def _end_section(self, *, next_depth: int) -> Iterator[Section]:
        """The section that ends here; or a title without text below it, as content."""
        state = self.state
        if state.has_content:
            yield state.section
        elif state.path and state.path[-1].depth >= next_depth:
            *above, last = state.path
            yield self._as_content(last, _texts(above))

    def _begin_section(self, heading: Heading) -> None:
        state = self.state
        above = [held for held in state.path if held.depth < heading.depth]
        path = [*above, heading]
        if self._own - self._room(_texts(path)) <= self._own // _HEADINGS_SHARE:
            state.path, state.has_content = path, False
            state.section = Section(_texts(path))
        else:
            # Such a long path would leave too little room for the text.
            state.path, state.has_content = above, True
            state.section = self._as_content(heading, _texts(above))

    def _as_content(self, heading: Heading, above: tuple[str, ...]) -> Section:
        block = Block(heading.text, self._counter.count(heading.text), heading.page, "\n\n", {})
        return Section(above, Blocks(fitting(block, self._counter, self._room(above))))

    def _add_content(self, element: Element, text: str) -> Iterator[Section]:
        state = self.state
        state.has_content = True
        room = self._room(state.section.headings)
        for block in blocks_of(element, text, self._counter, room):
            blocks = state.section.blocks
            blocks.append(block)
            if blocks.cost > _RUN_CHUNKS * self._own or blocks.characters > _RUN_CHARACTERS:
                yield replace(state.section, goes_on=True)
                state.section = Section(state.section.headings)

    def _room(self, headings: tuple[str, ...]) -> int:
        """About how many tokens the text of a chunk under these headings may have."""
        if self._measured[0] != headings:
            room = self._own - self._counter.count(headings_line(headings))
            self._measured = headings, room
        return self._measured[1]

    # -- from sections to chunks

    def _cut(self, section: Section) -> Iterator[Chunk]:
        packer = self._packer or Packer(self._room(section.headings), self.state.open)
        for block in section.blocks.all:
            for group in packer.add(block):
                yield from self._hold(*self._fitted(group, section.headings, packer))
        if section.goes_on:
            self._packer, self.state.open = packer, packer.open
        else:
            for group in packer.finish():
                yield from self._hold(*self._fitted(group, section.headings, packer))
            self._packer, self.state.open, self.state.is_begun = None, [], False

    def _fitted(
        self, group: list[Block], headings: tuple[str, ...], packer: Packer
    ) -> tuple[Section, Chunk]:
        """A chunk with as many blocks of the group as fit; the others go back to the packer."""
        taken, chunk, rest = self._fit(group, headings)
        if rest:
            packer.put_back(rest)
        found = Section(headings, Blocks(taken), continues=self.state.is_begun)
        self.state.is_begun = True
        return found, chunk

    def _fit(
        self, group: list[Block], headings: tuple[str, ...]
    ) -> tuple[list[Block], Chunk, list[Block]]:
        """The blocks that fit, their chunk, and the rest of the group.

        Costs are estimates, because a text may have more tokens than its parts. Only the count of
        the whole text decides.
        """
        taken, rest = group, list[Block]()
        for tried in count():
            chunk = _chunk(headings, taken)
            tokens = self._counter.count(chunk.embedded_text)
            excess = tokens - self._own
            if excess <= 0:
                break
            fewer = self._fewer(taken, excess, halve=tried >= _TRIES)
            taken, rest = fewer[0], [*fewer[1], *rest]
        return taken, replace(chunk, token_count=tokens), rest

    # -- joining small chunks

    def _hold(self, found: Section, chunk: Chunk) -> Iterator[Chunk]:
        """Keep the next chunk. Return the one before it, unless the two become one."""
        held = self.state.held
        if held is not None and (joined := self._joined(held, found)):
            self.state.held, self._held_chunk = joined, None
            return
        yield from self._release()
        self.state.held, self._held_chunk = found, chunk

    def _release(self) -> Iterator[Chunk]:
        held, self.state.held = self.state.held, None
        if held is None:
            return
        if self._held_chunk is not None:
            yield self._overlapped(self._held_chunk, held)
            return
        rest, continues = held.blocks.all, held.continues
        while rest:
            taken, chunk, rest = self._fit(rest, held.headings)
            yield self._overlapped(chunk, Section(held.headings, Blocks(taken), False, continues))
            continues = True

    def _overlapped(self, chunk: Chunk, found: Section) -> Chunk:
        """The chunk, with as much of the end of the chunk before it as fits, if it continues it."""
        if not self._overlap:
            return chunk
        tail = self.state.tail if found.continues else []
        self.state.tail = end_of(found.blocks.all, self._counter, self._overlap)
        for skipped in range(len(tail)):
            longer = _chunk(found.headings, [*tail[skipped:], *found.blocks.all])
            tokens = self._counter.count(longer.embedded_text)
            if tokens <= self._most:
                return replace(longer, token_count=tokens)
        return chunk

    def _joined(self, left: Section, right: Section) -> Section | None:
        """Two neighbours as one; None if they should stay separate, or would be too long."""
        if not (self._is_small(left) or self._is_small(right)):
            return None
        if left.blocks.cost + right.blocks.cost > _SURELY_TOO_MANY * self._own:
            return None
        common = _common_prefix(left.headings, right.headings)
        # Headings that are not kept become lines of the text.
        blocks = Blocks([*self._inlined(left, common), *self._inlined(right, common)])
        joined = Section(common, blocks, continues=left.continues)
        spare = self._room(common) - blocks.cost
        if spare > self._own // _SURE_SHARE:
            return joined
        tokens = self._counter.count(_chunk(common, blocks.all).embedded_text)
        return joined if tokens <= self._own else None

    def _is_small(self, section: Section) -> bool:
        blocks = section.blocks
        if blocks.cost < self._own // _SMALL_SHARE:
            return True
        few = sum(len(block.text) for block in blocks.all[:_FEW_CHARACTERS]) < _FEW_CHARACTERS
        return few and len(joined_text(blocks.all)) < _FEW_CHARACTERS

    def _inlined(self, section: Section, common: tuple[str, ...]) -> list[Block]:
        own = "\n".join(section.headings[len(common) :])
        if not own:
            return section.blocks.all
        first, *rest = section.blocks.all
        heading = Block(own, self._counter.count(own), first.page, "\n\n", {})
        return [heading, replace(first, joint="\n"), *rest]

    def _fewer(
        self, blocks: list[Block], excess: int, *, halve: bool
    ) -> tuple[list[Block], list[Block]]:
        """Split the blocks: a first list, shorter by about `excess` tokens, and the rest."""
        if len(blocks) > 1:
            kept = len(blocks) // 2 if halve else _without(blocks, excess)
            return blocks[:kept], blocks[kept:]
        (block,) = blocks
        limit = block.tokens // 2 if halve else block.tokens - excess
        first, *others = cut_text(block, self._counter, max(1, limit))
        return [first], others


def _without(blocks: list[Block], excess: int) -> int:
    """How many blocks remain without the last ones that cost this much; at least one."""
    kept = len(blocks)
    while kept > 1 and excess > 0:
        kept -= 1
        excess -= blocks[kept].cost
    return kept


def _depth(element: Element) -> int:
    return min(max(element.depth or 0, 0), MAX_HEADINGS - 1)


def _texts(path: list[Heading]) -> tuple[str, ...]:
    return tuple(heading.text for heading in path)


def _common_prefix(left: tuple[str, ...], right: tuple[str, ...]) -> tuple[str, ...]:
    length = 0
    while length < min(len(left), len(right)) and left[length] == right[length]:
        length += 1
    return left[:length]


def _chunk(headings: tuple[str, ...], blocks: list[Block]) -> Chunk:
    pages = [block.page for block in blocks if block.page is not None]
    metadata: JsonObject = {}
    for block in blocks:
        links = dict.fromkeys([*metadata.get("links", ()), *block.metadata.get("links", ())])
        metadata.update(block.metadata)
        if links:
            metadata["links"] = list(links)[:MAX_CHUNK_LINKS]
    return Chunk(
        ordinal=0,
        content=joined_text(blocks),
        headings=headings,
        page_start=min(pages, default=None),
        page_end=max(pages, default=None),
        token_count=0,
        metadata=metadata,
    )

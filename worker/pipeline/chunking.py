"""Elements to chunks: by title, sized in tokens, deterministic.

Works on a stream and looks no further than the section it is in, so the result depends on the
elements alone, never on how a document was cut into windows.

- A Title opens a section; its depth decides which headings above it still hold.
- Neighbouring small sections share a chunk: their headings then stand in the content, and the
  path they have in common is the chunk's.
- A table is never cut inside a row, and every piece of a table repeats its header row.
- A title with nothing under it is content, so no text is lost.
- Memory is bounded whatever the elements: a long section is handed on in runs.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from docmill.worker.models import Chunk, Element, JsonObject
from docmill.worker.ports import TokenSplitter

#: Version of these rules; part of what decides whether a document must be read again.
CHUNKING_VERSION: Final = "1"

#: Sections below this share of the chunk size are packed together with their neighbours.
_SMALL_SHARE: Final = 10
_MAX_HEADINGS: Final = 6
_MAX_HEADING_CHARACTERS: Final = 200
#: Addresses that a chunk's metadata names.
_MAX_LINKS: Final = 50
#: A section longer than this many chunks (one at least) is handed on piece by piece.
_RUN_CHUNKS: Final = 8


@dataclass(frozen=True)
class _Block:
    """A piece of text that stays whole when chunks are packed."""

    text: str
    tokens: int
    page: int | None
    joint: str  #: what stands between it and the block before it
    metadata: JsonObject
    keeps_lines: bool = False  #: source code, whose lines are indented with a meaning


@dataclass
class _Section:
    """Blocks under one path of headings, each no longer than a chunk."""

    headings: tuple[str, ...]
    blocks: list[_Block]
    goes_on: bool = False  #: the next one continues it

    @property
    def tokens(self) -> int:
        return sum(block.tokens for block in self.blocks)


def chunk_elements(
    elements: Iterable[Element], splitter: TokenSplitter, *, max_tokens: int
) -> Iterator[Chunk]:
    """Chunks of at most about `max_tokens` tokens of content, in reading order."""
    sections = _sections(elements, splitter, max_tokens=max_tokens)
    packed = _packed(sections, splitter, max_tokens=max_tokens)
    for ordinal, chunk in enumerate(_cut(packed, splitter, max_tokens=max_tokens)):
        yield replace(chunk, ordinal=ordinal)


# -- sections


@dataclass(frozen=True)
class _Heading:
    text: str
    depth: int
    page: int | None


def _sections(
    elements: Iterable[Element], splitter: TokenSplitter, *, max_tokens: int
) -> Iterator[_Section]:
    # The headings that hold here; only the last one can be without content so far.
    path: list[_Heading] = []
    open_section = _Section((), [])
    has_content, tokens = False, 0
    for element in elements:
        text = element.text.strip()
        if not text:
            continue
        if element.category == "CodeSnippet":
            # How far a line is indented is part of what it says.
            text = element.text.strip("\n").rstrip()
        if element.category != "Title" or len(text) > _MAX_HEADING_CHARACTERS:
            has_content = True
            for block in _blocks(element, text, splitter, max_tokens=max_tokens):
                open_section.blocks.append(block)
                tokens += block.tokens
                if tokens > _RUN_CHUNKS * max_tokens:
                    yield replace(open_section, goes_on=True)
                    open_section, tokens = _Section(open_section.headings, []), 0
            continue
        heading = _Heading(" ".join(text.split()), _depth(element), element.page)
        if has_content:
            yield open_section
        else:
            yield from _lonely(path, heading.depth, splitter, max_tokens=max_tokens)
        path = [*(held for held in path if held.depth < heading.depth), heading]
        open_section = _Section(tuple(held.text for held in path), [])
        has_content, tokens = False, 0
    if has_content:
        yield open_section
    else:
        yield from _lonely(path, 0, splitter, max_tokens=max_tokens)


def _depth(element: Element) -> int:
    return min(max(element.depth or 0, 0), _MAX_HEADINGS - 1)


def _lonely(
    path: list[_Heading], next_depth: int, splitter: TokenSplitter, *, max_tokens: int
) -> Iterator[_Section]:
    """A title under which nothing follows: it would be lost as a mere heading."""
    if path and path[-1].depth >= next_depth:
        *above, last = path
        block = _Block(last.text, splitter.count(last.text), last.page, "\n\n", {})
        blocks = list(_fitting(block, splitter, max_tokens=max_tokens))
        yield _Section(tuple(heading.text for heading in above), blocks)


def _blocks(
    element: Element, text: str, splitter: TokenSplitter, *, max_tokens: int
) -> Iterator[_Block]:
    """The blocks of one element, none longer than a chunk."""
    joint = "\n" if element.category == "ListItem" else "\n\n"
    metadata: JsonObject = {"category": "Table"} if element.category == "Table" else {}
    if links := element.metadata.get("links"):
        metadata["links"] = links.split("\n")
    is_code = element.category == "CodeSnippet"
    block = _Block(text, splitter.count(text), element.page, joint, metadata, is_code)
    yield from _fitting(block, splitter, max_tokens=max_tokens)


def _fitting(block: _Block, splitter: TokenSplitter, *, max_tokens: int) -> Iterator[_Block]:
    if block.tokens <= max_tokens:
        yield block
    elif block.metadata.get("category") == "Table":
        yield from _cut_table(block, splitter, max_tokens=max_tokens)
    else:
        yield from _cut_text(block, splitter)


def _cut_text(block: _Block, splitter: TokenSplitter) -> Iterator[_Block]:
    joint, end = block.joint, 0
    for offset, piece in splitter.split(block.text):
        # Pieces that end up in one chunk are joined by what stood between them.
        between = block.text[end:offset]
        if end:
            joint = "\n" if "\n" in between else " " if between else ""
        if block.keeps_lines and (joint == "\n" or not end):
            indented = between.rpartition("\n")[2] + piece
        else:
            indented = piece
        yield replace(block, text=indented, tokens=splitter.count(indented), joint=joint)
        end = offset + len(piece)


def _cut_table(block: _Block, splitter: TokenSplitter, *, max_tokens: int) -> Iterator[_Block]:
    header, *rows = block.text.split("\n")
    header_tokens = splitter.count(header)
    if header_tokens > max_tokens // 2 or not rows:
        # One endless row: there is nothing to repeat, and no row end to cut at.
        yield from _cut_text(block, splitter)
        return
    lines, tokens = [header], header_tokens
    for row in rows:
        row_tokens = splitter.count(row)
        if len(lines) > 1 and tokens + row_tokens > max_tokens:
            yield replace(block, text="\n".join(lines), tokens=tokens)
            lines, tokens = [header], header_tokens
        if header_tokens + row_tokens > max_tokens:
            yield from _cut_text(replace(block, text=row), splitter)
            continue
        lines.append(row)
        tokens += row_tokens
    if len(lines) > 1:
        yield replace(block, text="\n".join(lines), tokens=tokens)


# -- packing small sections


def _packed(
    sections: Iterable[_Section], splitter: TokenSplitter, *, max_tokens: int
) -> Iterator[_Section]:
    held: _Section | None = None
    small = max_tokens // _SMALL_SHARE
    is_run = False
    for section in sections:
        if is_run or section.goes_on:
            # Longer than a chunk: its neighbours stay by themselves.
            if held is not None:
                yield held
                held = None
            is_run = section.goes_on
            yield section
        elif held is None:
            held = section
        elif joined := _joined(held, section, splitter, small=small, max_tokens=max_tokens):
            held = joined
        else:
            yield held
            held = section
    if held is not None:
        yield held


def _joined(
    left: _Section, right: _Section, splitter: TokenSplitter, *, small: int, max_tokens: int
) -> _Section | None:
    """Two neighbours as one section; None where they had better stay apart."""
    if min(left.tokens, right.tokens) >= small or left.tokens + right.tokens > max_tokens:
        return None
    common = _common_prefix(left.headings, right.headings)
    blocks = [*_inlined(left, common, splitter), *_inlined(right, common, splitter)]
    # Their headings count as well, now that they are lines of the text.
    joined = _Section(common, blocks)
    return joined if joined.tokens <= max_tokens else None


def _common_prefix(left: tuple[str, ...], right: tuple[str, ...]) -> tuple[str, ...]:
    length = 0
    while length < min(len(left), len(right)) and left[length] == right[length]:
        length += 1
    return left[:length]


def _inlined(section: _Section, common: tuple[str, ...], splitter: TokenSplitter) -> list[_Block]:
    # Headings that the joined section no longer carries become lines of its text.
    own = "\n".join(section.headings[len(common) :])
    if not own:
        return section.blocks
    first, *rest = section.blocks
    heading = _Block(own, splitter.count(own), first.page, "\n\n", {})
    return [heading, replace(first, joint="\n"), *rest]


# -- from sections to chunks


def _cut(
    sections: Iterable[_Section], splitter: TokenSplitter, *, max_tokens: int
) -> Iterator[Chunk]:
    group: list[_Block] = []
    tokens = 0
    for section in sections:
        for block in section.blocks:
            if group and tokens + block.tokens > max_tokens:
                yield _chunk(section, group, splitter)
                group, tokens = [], 0
            group.append(block)
            tokens += block.tokens
        if group and not section.goes_on:
            yield _chunk(section, group, splitter)
            group, tokens = [], 0


def _chunk(section: _Section, blocks: list[_Block], splitter: TokenSplitter) -> Chunk:
    content = blocks[0].text + "".join(block.joint + block.text for block in blocks[1:])
    pages = [block.page for block in blocks if block.page is not None]
    metadata: JsonObject = {}
    for block in blocks:
        links = dict.fromkeys([*metadata.get("links", ()), *block.metadata.get("links", ())])
        metadata.update(block.metadata)
        if links:
            metadata["links"] = list(links)[:_MAX_LINKS]
    chunk = Chunk(
        ordinal=0,
        content=content,
        headings=section.headings,
        page_start=min(pages, default=None),
        page_end=max(pages, default=None),
        token_count=0,
        metadata=metadata,
    )
    return replace(chunk, token_count=splitter.count(chunk.embedded_text))

"""Small chunks join a neighbour, and rows of tables always stand under their columns' names."""

import random
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from docmill.worker.extraction.child.chunking.chunker import chunk_elements
from docmill.worker.extraction.child.chunking.tokens import TokenCounter, counter_for
from docmill.worker.extraction.child.chunking.window import chunked
from docmill.worker.extraction.child.kinds.tables import table_elements
from docmill.worker.extraction.shared.parts import Summary
from docmill.worker.models import Chunk, ChunkRules, Element
from tests.support.prose import prose

COUNTER = counter_for("openai")
TEXTS = [
    Path(__file__).parents[1] / "fixtures" / "prose.txt",
    *sorted((Path(__file__).parents[2] / "docs").glob("*.md")),
]


def elements_of(path: Path) -> Iterator[Element]:
    """Paragraphs, and headings of Markdown, taken in the simplest way."""
    for paragraph in path.read_text().split("\n\n"):
        signs = len(paragraph) - len(paragraph.lstrip("#"))
        if signs:
            yield Element("Title", paragraph[signs:], depth=signs - 1)
        else:
            yield Element("Text", paragraph)


def joined(left: Chunk, right: Chunk) -> str:
    """The text of two chunks as one, written apart from the code: shared headings stay above."""
    shared = []
    for one, other in zip(left.headings, right.headings, strict=False):
        if one != other:
            break
        shared.append(one)
    pieces = []
    for chunk in (left, right):
        own = chunk.headings[len(shared) :]
        pieces.append("\n".join([*own, chunk.content]))
    line = " > ".join(shared) + "\n" if shared else ""
    return line + "\n\n".join(pieces)


def alone_for_no_reason(chunks: Sequence[Chunk], counter: TokenCounter, limit: int) -> list[str]:
    """Small chunks that would have fitted into a neighbour, with some tokens to spare."""
    return [
        min(left.content, right.content, key=len)
        for left, right in pairwise(chunks)
        if min(len(left.content), len(right.content)) < 100
        and counter.count(joined(left, right)) <= limit
    ]


words = st.integers(1, 120).map(lambda number: "word " * number)
element_lists = st.lists(
    st.builds(
        Element,
        category=st.sampled_from(
            ["Title", "NarrativeText", "ListItem", "Text", "CodeSnippet", "Table"]
        ),
        text=words | st.text("aäあ .\n", min_size=1, max_size=150),
        page=st.none() | st.integers(1, 3),
        depth=st.none() | st.integers(0, 3),
    ),
    max_size=25,
)


@settings(max_examples=200, deadline=None)
@given(element_lists, st.sampled_from([60, 200, 400]))
def test_no_small_chunk_stands_alone_that_would_fit_into_a_neighbour(
    elements: list[Element], limit: int
) -> None:
    chunks = list(chunk_elements(elements, COUNTER, max_tokens=limit))
    assert alone_for_no_reason(chunks, COUNTER, limit) == []


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
@pytest.mark.parametrize("limit", [100, 400])
def test_no_small_chunk_of_a_real_text_stands_alone(path: Path, limit: int) -> None:
    elements = list(elements_of(path))
    chunks = list(chunk_elements(elements, COUNTER, max_tokens=limit))
    assert chunks
    assert alone_for_no_reason(chunks, COUNTER, limit) == []


@pytest.mark.parametrize("where", ["before", "after"])
def test_a_small_section_joins_a_long_one(where: str) -> None:
    small = [Element("Title", "Fees", depth=1), Element("Text", "None.")]
    long = [Element("Title", "Terms", depth=1), *prose(1, 40)]
    chunks = list(
        chunk_elements(small + long if where == "before" else long + small, COUNTER, max_tokens=400)
    )
    assert len(chunks) > 3
    holder = chunks[0 if where == "before" else -1]
    assert "Fees\nNone." in holder.content
    assert len(holder.content) > 400


# -- tables


NAMES = "name | place | amount"


def rows_of(seed: int, number: int) -> list[list[str]]:
    rng = random.Random(seed)
    return [
        [f"item{rng.randrange(10**6)}", " ".join(["town"] * rng.randint(1, 9)), str(n)]
        for n in range(number)
    ]


def table(rows: list[list[str]]) -> list[Element]:
    return list(table_elements([NAMES.split(" | "), *rows]))


def rows_in(chunks: Sequence[Chunk]) -> list[str]:
    lines = [line for chunk in chunks for line in chunk.content.split("\n")]
    return [line for line in lines if line.startswith("item")]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 1000),
    number=st.integers(1, 200),
    around=st.lists(words, max_size=3),
    limit=st.sampled_from([60, 200, 400]),
)
def test_rows_always_stand_under_the_names_of_their_columns(
    seed: int, number: int, around: list[str], limit: int
) -> None:
    rows = rows_of(seed, number)
    before = [Element("Text", text) for text in around]
    elements = [*before, *table(rows), *before]
    chunks = list(chunk_elements(elements, COUNTER, max_tokens=limit))
    assert rows_in(chunks) == [" | ".join(row) for row in rows]
    for chunk in chunks:
        lines = chunk.content.split("\n")
        shown = [line for line in lines if line == NAMES or line.startswith("item")]
        assert shown.count(NAMES) == bool(shown)
        assert shown[:1] in ([], [NAMES])


def test_two_tables_with_the_same_names_stay_two() -> None:
    one = table([["itema", "x", "1"]])
    (chunk,) = chunk_elements([*one, *one], COUNTER, max_tokens=400)
    assert chunk.content == f"{NAMES}\nitema | x | 1\n\n{NAMES}\nitema | x | 1"


def test_a_row_that_is_too_long_is_cut_under_the_names() -> None:
    rows = [["item1", "town " * 300, "1"], ["item2", "town", "2"]]
    chunks = list(chunk_elements(table(rows), COUNTER, max_tokens=100))
    assert len(chunks) > 3
    assert all(chunk.content.startswith(NAMES + "\n") for chunk in chunks)
    assert sum(chunk.content.count("town") for chunk in chunks) == 301


def test_tables_that_are_read_in_turns_keep_their_own_names() -> None:
    left = list(table_elements([["left", "l"], *[[f"itemL{n}", "x" * 30] for n in range(90)]]))
    right = list(table_elements([["right", "r"], *[[f"itemR{n}", "y" * 30] for n in range(90)]]))
    mixed = [part for pair in zip(left, right, strict=True) for part in pair]
    for chunk in chunk_elements(mixed, COUNTER, max_tokens=200):
        names = ""
        for line in chunk.content.split("\n"):
            names = line if line in ("left | l", "right | r") else names
            assert not line.startswith("itemL") or names == "left | l"
            assert not line.startswith("itemR") or names == "right | r"


def test_an_inserted_row_changes_few_chunks() -> None:
    changed = []
    for seed in range(4):
        rows = rows_of(seed, 300)
        before = {c.content for c in chunk_elements(table(rows), COUNTER, max_tokens=400)}
        for place in range(0, 300, 10):
            more = [*rows[:place], ["item-new", "the new town", "0"], *rows[place:]]
            after = chunk_elements(table(more), COUNTER, max_tokens=400)
            changed.append(sum(chunk.content not in before for chunk in after))
    assert sum(number <= 3 for number in changed) >= 0.97 * len(changed)
    assert max(changed) <= 6


# -- windows


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 1000), cuts=st.lists(st.integers(0, 100), max_size=6), data=element_lists
)
def test_windows_of_any_size_have_the_same_chunks(
    seed: int, cuts: list[int], data: list[Element]
) -> None:
    elements = [*data[:12], *prose(seed, 30), *table(rows_of(seed, 80)), *data[12:]]
    whole = list(chunk_elements(elements, COUNTER, max_tokens=100))
    bounds = sorted({0, len(elements), *(cut * len(elements) // 100 for cut in cuts)})
    state, found = "", []
    for begin, end in pairwise(bounds):
        parts = list(
            chunked(
                elements[begin:end],
                ChunkRules(100, "openai"),
                state,
                media_type="text/plain",
                last=end == len(elements),
            )
        )
        summary = parts.pop()
        assert isinstance(summary, Summary)
        state = summary.state
        found += [part for part in parts if isinstance(part, Chunk)]
    assert [chunk.embedded_text for chunk in found] == [chunk.embedded_text for chunk in whole]
    assert [chunk.metadata for chunk in found] == [chunk.metadata for chunk in whole]

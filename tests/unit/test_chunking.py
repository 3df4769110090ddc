"""From elements to chunks."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from docmill.worker.extraction.child.chunking import chunker
from docmill.worker.extraction.child.chunking.chunker import chunk_elements
from docmill.worker.extraction.child.chunking.tokens import LocalCounter
from docmill.worker.extraction.child.chunking.window import chunked
from docmill.worker.extraction.shared.parts import Summary
from docmill.worker.extraction.shared.protocol import MAX_STATE_CHARACTERS
from docmill.worker.models import Chunk, ChunkRules, Element

MAX_TOKENS = 60
COUNTER = LocalCounter()


def chunks_of(*elements: Element, max_tokens: int = MAX_TOKENS, overlap: int = 0) -> list[Chunk]:
    return list(chunk_elements(elements, COUNTER, max_tokens=max_tokens, overlap=overlap))


def title(text: str, depth: int = 0, page: int | None = None) -> Element:
    return Element("Title", text, page, depth)


def text(words: str, page: int | None = None) -> Element:
    return Element("NarrativeText", words, page)


LONG = "a sentence that goes on for a while and fills a good part of one chunk. " * 2


def test_a_title_becomes_the_heading_of_what_follows() -> None:
    (chunk,) = chunks_of(title("Handbook"), title("Sourdough", 1), text(LONG))
    assert chunk.headings == ("Handbook", "Sourdough")
    assert chunk.content == LONG.strip()
    assert chunk.embedded_text.startswith("Handbook > Sourdough\n")


def test_a_title_of_the_same_depth_ends_the_heading_before_it() -> None:
    first, second = chunks_of(
        title("Book"), title("One", 1), text(LONG), title("Two", 1), text(LONG)
    )
    assert (first.headings, second.headings) == (("Book", "One"), ("Book", "Two"))


def test_a_title_with_nothing_under_it_is_content() -> None:
    (chunk,) = chunks_of(title("Lonely", page=3))
    assert (chunk.content, chunk.headings, chunk.page_start) == ("Lonely", (), 3)


def test_small_sections_share_a_chunk_under_their_common_heading() -> None:
    (chunk,) = chunks_of(
        title("Menu"), title("Soup", 1), text("Leek."), title("Cake", 1), text("Plum.")
    )
    assert chunk.headings == ("Menu",)
    assert chunk.content == "Soup\nLeek.\n\nCake\nPlum."


def test_a_section_of_few_characters_shares_a_chunk_however_many_tokens_it_has() -> None:
    number = "x9-7Q." * 3
    assert COUNTER.count(number) > MAX_TOKENS // 10
    (chunk,) = chunks_of(title("A"), text("word " * 20), title("B"), text(number))
    assert chunk.content.endswith(number)


def test_a_chunk_spans_the_pages_of_its_pieces() -> None:
    (chunk,) = chunks_of(text("one", 2), text("two", 3), text("three", 5))
    assert (chunk.page_start, chunk.page_end) == (2, 5)


def test_a_chunk_names_the_links_of_its_pieces_once() -> None:
    links = [{"links": "https://a.example\nhttps://b.example"}, {}, {"links": "https://a.example"}]
    (chunk,) = chunks_of(*(Element("Text", "words", metadata=found) for found in links))
    assert chunk.metadata == {"links": ["https://a.example", "https://b.example"]}


def test_a_long_table_is_cut_between_rows_and_repeats_its_header() -> None:
    rows = [f"row{number} value{number}" for number in range(80)]
    chunks = chunks_of(Element("Table", "\n".join(["name value", *rows]), 1))
    assert len(chunks) > 1
    assert all(chunk.content.startswith("name value\n") for chunk in chunks)
    assert [row for chunk in chunks for row in chunk.content.split("\n")[1:]] == rows


def test_code_keeps_its_lines_and_their_indentation_wherever_it_is_cut() -> None:
    lines = [f"    {'    ' * (number % 3)}call_number_{number}(value)" for number in range(40)]
    chunks = chunks_of(Element("CodeSnippet", "\n".join(lines)))
    assert len(chunks) > 1
    assert [line for chunk in chunks for line in chunk.content.split("\n")] == lines


def test_list_items_stand_on_lines_and_paragraphs_apart() -> None:
    (chunk,) = chunks_of(text("List:"), Element("ListItem", "a"), Element("ListItem", "b"))
    assert chunk.content == "List:\na\nb"


def test_a_title_too_long_for_a_heading_is_content() -> None:
    long_title = "word " * 60
    chunks = chunks_of(title(long_title), text("after"))
    assert "".join(chunk.content for chunk in chunks).count("word") == 60


def test_whitespace_makes_no_chunk() -> None:
    assert chunks_of(text("  \n "), Element("Title", " ")) == []


element_lists = st.lists(
    st.builds(
        Element,
        category=st.sampled_from(
            ["Title", "NarrativeText", "ListItem", "Table", "Text", "CodeSnippet"]
        ),
        text=st.lists(
            st.sampled_from(["alpha", "beta", "gamma", "שלום", "日本", "e\u0301"]), max_size=90
        )
        .map(" ".join)
        .map(lambda words: words.replace("gamma ", "gamma\n")),
        page=st.none() | st.integers(1, 9),
        depth=st.none() | st.integers(0, 8),
    ),
    max_size=12,
)


def letters(words: str) -> str:
    return "".join(words.split())


@settings(max_examples=150, deadline=None)
@given(elements=element_lists)
def test_no_text_is_lost(elements: list[Element]) -> None:
    kept = letters(" ".join(chunk.embedded_text for chunk in chunks_of(*elements)))
    for element in elements:
        for line in element.text.split("\n"):
            for word in line.split():
                assert word in kept
    if not any(element.category in ("Title", "Table") for element in elements):
        # Without headings and repeated table headers, every letter occurs exactly once.
        assert kept == letters(" ".join(element.text for element in elements))


@settings(max_examples=100, deadline=None)
@given(elements=element_lists)
def test_sizes_are_kept_and_ordinals_count_up(elements: list[Element]) -> None:
    chunks = chunks_of(*elements)
    assert [chunk.ordinal for chunk in chunks] == list(range(len(chunks)))
    for chunk in chunks:
        assert chunk.token_count == COUNTER.count(chunk.embedded_text) <= MAX_TOKENS


@settings(max_examples=50, deadline=None)
@given(elements=element_lists)
def test_the_same_elements_give_the_same_chunks(elements: list[Element]) -> None:
    assert chunks_of(*elements) == chunks_of(*elements)


@settings(max_examples=100, deadline=None)
@given(elements=element_lists, run=st.integers(1, 3), overlap=st.sampled_from([0, 15]))
def test_runs_of_a_long_section_leave_no_trace(
    elements: list[Element], run: int, overlap: int
) -> None:
    whole = chunks_of(*elements, overlap=overlap)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunker, "_RUN_CHUNKS", run)
        assert chunks_of(*elements, overlap=overlap) == whole


OVERLAP = 15


@settings(max_examples=150, deadline=None)
@given(elements=element_lists)
def test_overlapping_chunks_are_smaller_ones_with_the_end_of_the_one_before(
    elements: list[Element],
) -> None:
    own = chunks_of(*elements, max_tokens=MAX_TOKENS - OVERLAP)
    found = chunks_of(*elements, overlap=OVERLAP)
    assert len(found) == len(own)
    before = None
    for chunk, alone in zip(found, own, strict=True):
        assert chunk.headings == alone.headings
        assert chunk.token_count == COUNTER.count(chunk.embedded_text) <= MAX_TOKENS
        assert chunk.content.endswith(alone.content)
        repeated = chunk.content.removesuffix(alone.content).rstrip()
        if repeated:
            assert before is not None
            assert before.content.endswith(repeated)
            # One section: a small chunk that joined it may have left only the headings of both.
            fewer = min(len(before.headings), len(alone.headings))
            assert before.headings[:fewer] == alone.headings[:fewer]
            assert COUNTER.count(repeated) <= OVERLAP
        before = alone


def test_a_chunk_begins_with_the_last_sentences_of_the_one_before() -> None:
    sentences = [f"The sentence number {number} has some words." for number in range(12)]
    first, second, *_ = chunks_of(text(" ".join(sentences)), overlap=OVERLAP)
    (last,) = [one for one in sentences if first.content.endswith(one)]
    assert second.content.startswith(last)
    assert chunks_of(text(" ".join(sentences)), overlap=0) == chunks_of(text(" ".join(sentences)))


def test_a_long_sentence_is_repeated_from_a_word_on_and_a_table_not_at_all() -> None:
    words = " ".join(f"word{number}" for number in range(60))
    first, second, *_ = chunks_of(text(words), overlap=OVERLAP)
    (repeated,) = [
        first.content[place:]
        for place in range(len(first.content))
        if second.content.startswith(first.content[place:] + " ")
    ]
    assert repeated.startswith("word")
    assert 3 < COUNTER.count(repeated) <= OVERLAP

    rows = "\n".join(["name value", *(f"row{number} value{number}" for number in range(80))])
    pieces = chunks_of(Element("Table", rows), overlap=OVERLAP)
    assert [row for piece in pieces for row in piece.content.split("\n")[1:]] == rows.split("\n")[
        1:
    ]


def test_another_overlap_is_another_way_to_cut() -> None:
    assert ChunkRules(400).version == ChunkRules(400, overlap=0).version
    assert len({ChunkRules(400, overlap=overlap).version for overlap in (0, 20, 40)}) == 3


@settings(max_examples=150, deadline=None)
@given(elements=element_lists, overlap=st.sampled_from([0, OVERLAP]), data=st.data())
def test_what_a_window_leaves_open_travels(
    elements: list[Element], overlap: int, data: st.DataObject
) -> None:
    """Windows cut anywhere have the chunks of the whole: they share only the state."""
    cut = data.draw(st.integers(0, len(elements)))
    found: list[Chunk] = []
    state = ""
    rules = ChunkRules(MAX_TOKENS, "local", overlap)
    for window, last in ((elements[:cut], False), (elements[cut:], True)):
        parts = list(chunked(window, rules, state, media_type="text/plain", last=last))
        summary = parts.pop()
        assert isinstance(summary, Summary)
        state = summary.state
        found += [part for part in parts if isinstance(part, Chunk)]
    assert state == ""
    whole = chunks_of(*elements, overlap=overlap)
    assert [replace(chunk, ordinal=n) for n, chunk in enumerate(found)] == whole


@pytest.mark.parametrize("words", ["x", "的", "a\n", "[" * 50], ids=["x", "Han", "lines", "links"])
def test_what_a_window_leaves_open_is_small(words: str) -> None:
    links = {"links": "https://example.org/" + words * 1000}
    window = [Element("ListItem", words, metadata=links if "[" in words else {})] * 20_000
    (*_, summary) = chunked(window, ChunkRules(6000), "", media_type="text/plain", last=False)
    assert isinstance(summary, Summary)
    assert len(summary.state) < MAX_STATE_CHARACTERS


def test_an_endless_section_is_handed_on_as_it_comes() -> None:
    taken = 0

    def endless() -> Iterator[Element]:
        nonlocal taken
        while True:
            taken += 1
            yield Element("Text", str(taken))

    chunks = chunk_elements(endless(), COUNTER, max_tokens=MAX_TOKENS)
    for _ in range(100):
        next(chunks)
    assert taken < 100 * MAX_TOKENS


def test_pieces_of_one_text_are_joined_by_what_stood_between_them() -> None:
    words = " ".join(f"word{number}" for number in range(3000))
    chunks = chunks_of(text(words))
    assert " ".join(chunk.content for chunk in chunks) == words


def test_a_text_without_a_space_is_cut() -> None:
    chunks = chunks_of(text("x" * 5000))
    assert len(chunks) > 1
    assert "".join(chunk.content for chunk in chunks) == "x" * 5000


@pytest.mark.parametrize("words", ["e\u0301" * 300, "👩‍👩‍👧" * 100])
def test_a_grapheme_is_never_cut(words: str) -> None:
    for chunk in chunks_of(text(words)):
        assert chunk.content[0] not in "\u0301\u200d"
        assert chunk.content[-1] != "\u200d"

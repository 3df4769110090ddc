"""Where a section is cut: the cheapest way, and few other chunks for an inserted line."""

import random
from collections.abc import Sequence
from functools import cache
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from docmill.worker.extraction.child.chunking.blocks import Block
from docmill.worker.extraction.child.chunking.chunker import chunk_elements
from docmill.worker.extraction.child.chunking.packing import Packer, price
from docmill.worker.extraction.child.chunking.tokens import counter_for
from docmill.worker.models import Element

ROOM = 40
SMALL = 4
COUNTER = counter_for(local=False)

blocks = st.lists(
    st.builds(
        Block,
        text=st.text("abcdefgh", min_size=1, max_size=6),
        tokens=st.integers(1, ROOM),
        page=st.none(),
        joint=st.just(" "),
        metadata=st.just({}),
        ends_paragraph=st.booleans(),
    ),
    max_size=14,
)


def packed(found: Sequence[Block], *, packer: Packer | None = None) -> list[list[Block]]:
    packer = packer or Packer(ROOM)
    groups = [group for block in found for group in packer.add(block)]
    return [*groups, *packer.finish()]


def cost_of(groups: Sequence[Sequence[Block]]) -> float:
    """Said once more, in other words: cuts, and chunks that are too small."""
    cuts = sum(price(group[-1]) for group in groups[:-1])
    return cuts + 16 * sum(sum(block.tokens for block in group) < SMALL for group in groups)


def cheapest(found: tuple[Block, ...]) -> float:
    """Tries every way to cut."""

    @cache
    def after(start: int) -> float:
        if start == len(found):
            return 0
        ways = []
        for end in range(start + 1, len(found) + 1):
            group = found[start:end]
            if sum(block.tokens for block in group) > ROOM:
                break
            is_last = end == len(found)
            ways.append(cost_of([group]) + after(end) + (0 if is_last else price(group[-1])))
        return min(ways)

    return after(0)


@settings(max_examples=300, deadline=None)
@given(blocks)
def test_no_way_to_cut_is_cheaper(found: list[Block]) -> None:
    groups = packed(found)
    assert [block for group in groups for block in group] == found
    assert all(sum(block.tokens for block in group) <= ROOM for group in groups)
    assert cost_of(groups) <= cheapest(tuple(found)) + 1e-9


@settings(max_examples=100, deadline=None)
@given(blocks, st.data())
def test_a_packer_made_of_what_is_open_goes_on_as_the_first_would(
    found: list[Block], data: st.DataObject
) -> None:
    place = data.draw(st.integers(0, len(found)))
    first = Packer(ROOM)
    groups = [group for block in found[:place] for group in first.add(block)]
    groups += packed(found[place:], packer=Packer(ROOM, first.open))
    assert groups == packed(found)


def test_what_repeats_itself_is_cut_without_end_or_memory() -> None:
    packer = Packer(ROOM)
    same = Block("again", 3, None, " ", {})
    groups: list[list[Block]] = []
    for _ in range(5000):
        groups += packer.add(same)
        assert len(packer.open) < 10 * ROOM
    sizes = [len(group) for group in groups]
    assert min(sizes) * 3 >= ROOM // 2


def prose(seed: int, paragraphs: int) -> list[Element]:
    """Paragraphs of one to seven sentences of made-up words."""
    rng = random.Random(seed)
    letters = "aeioubcdfghklmnprst"
    words = ["".join(rng.choices(letters, k=rng.randint(2, 9))) for _ in range(800)]

    def sentence() -> str:
        return " ".join(rng.choices(words, k=rng.randint(6, 24))).capitalize() + "."

    return [
        Element("NarrativeText", " ".join(sentence() for _ in range(rng.randint(1, 7))))
        for _ in range(paragraphs)
    ]


def texts(elements: Sequence[Element]) -> list[str]:
    found = chunk_elements(elements, COUNTER, max_tokens=400)
    return [chunk.embedded_text for chunk in found]


def with_line(elements: list[Element], place: int, sentence: int | None) -> list[Element]:
    """With one line more: a paragraph of its own, or a sentence of one that is there."""
    line = f"The lamp of room {place} was lit at seven by somebody whom nobody knew."
    if sentence is None:
        return [*elements[:place], Element("NarrativeText", line), *elements[place:]]
    sentences = elements[place].text.split(". ")
    sentences.insert(sentence % (len(sentences) + 1), line.rstrip("."))
    changed = Element("NarrativeText", ". ".join(sentences))
    return [*elements[:place], changed, *elements[place + 1 :]]


def test_an_inserted_line_changes_few_chunks_wherever_it_is() -> None:
    changed = []
    for seed in range(3):
        elements = prose(seed, 90)
        before = set(texts(elements))
        for place in range(0, 90, 3):
            for sentence in (None, place):
                after = texts(with_line(elements, place, sentence))
                changed.append(sum(text not in before for text in after))
    assert sum(changed) / len(changed) < 1.6
    assert sum(number <= 3 for number in changed) >= 0.97 * len(changed)
    assert max(changed) <= 6


def test_chunks_are_nearly_as_few_as_when_they_are_filled_to_the_brim() -> None:
    ours = brim = 0
    for seed in range(6):
        elements = prose(seed, 90)
        ours += len(texts(elements))
        brim += filled_to_the_brim(elements)
    assert ours <= 1.15 * brim


def filled_to_the_brim(elements: Sequence[Element]) -> int:
    """Whole paragraphs, as many as there is room for."""
    chunks, tokens = 1, 0
    for element in elements:
        more = COUNTER.count(element.text) + 1
        if tokens + more > 400:
            chunks, tokens = chunks + 1, 0
        tokens += more
    return chunks


def test_sentences_are_cut_rather_at_the_end_of_a_paragraph() -> None:
    """Most cuts are there, although most places are within paragraphs."""
    elements = prose(1, 120)
    ends = {element.text[-40:] for element in elements}
    cuts = [before[-40:] in ends for before, _ in pairwise(texts(elements))]
    places = sum(element.text.count(".") for element in elements)
    assert sum(cuts) / len(cuts) > 1.5 * len(elements) / places


def test_a_record_of_lines_is_cut_between_records() -> None:
    """Its values may be sentences: they stay with the lines that say whose they are."""
    records = [
        Element("Text", f"id: {number}\ntitle: Thing {number}\nbody: {sentences} It was {number}.")
        for number, sentences in enumerate(["Now it is so. Then it was not."] * 200)
    ]
    assert all(text.startswith("id: ") for text in texts(records))

"""A section is cut in the cheapest way, and an inserted line changes few chunks."""

from collections.abc import Sequence
from functools import cache

from hypothesis import given, settings
from hypothesis import strategies as st

from docmill.worker.extraction.child.chunking.blocks import Block
from docmill.worker.extraction.child.chunking.chunker import chunk_elements
from docmill.worker.extraction.child.chunking.packing import Packer, price
from docmill.worker.extraction.child.chunking.tokens import counter_for
from docmill.worker.models import Element
from tests.support.prose import prose, to_the_brim, with_line

ROOM = 40
SMALL = 4
COUNTER = counter_for("openai")

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
    """The cost, computed in another way: cuts, and chunks that are too small."""
    cuts = sum(price(group[-1]) for group in groups[:-1])
    return cuts + 4 * sum(sum(block.tokens for block in group) < SMALL for group in groups)


def cheapest(found: tuple[Block, ...]) -> float:
    """The lowest cost, found by trying every way to cut."""

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


def texts(elements: Sequence[Element]) -> list[str]:
    found = chunk_elements(elements, COUNTER, max_tokens=400)
    return [chunk.embedded_text for chunk in found]


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
        brim += len(to_the_brim(elements, COUNTER, 400))
    assert ours <= 1.2 * brim


def test_a_record_of_lines_is_cut_between_records() -> None:
    """Its values may be sentences: they stay with the lines that name their record."""
    records = [
        Element("Text", f"id: {number}\ntitle: Thing {number}\nbody: {sentences} It was {number}.")
        for number, sentences in enumerate(["Now it is so. Then it was not."] * 200)
    ]
    assert all(text.startswith("id: ") for text in texts(records))

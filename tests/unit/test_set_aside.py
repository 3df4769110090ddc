"""Refused chunks are cut or set aside; every word of the document is accounted for."""

import itertools
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docmill.worker.errors import JobError
from docmill.worker.models import Chunk, Placed, SetAside
from docmill.worker.pipeline.set_aside import SPLITS, Hashed, Refusals, allowed


def chunk(text: str) -> Chunk:
    return Chunk(0, text, ("Heading",), 1, 2, max(1, len(text) // 4))


class Provider:
    """Accepts texts up to a length, and none with a forbidden word."""

    def __init__(self, longest: int, forbidden: str = "bad") -> None:
        self.longest = longest
        self.forbidden = forbidden
        self.accepted: dict[bytes, str] = {}
        self.asked = 0

    def takes(self, text: str) -> bool:
        return len(text) <= self.longest and not any(
            word.startswith(self.forbidden) for word in text.split()
        )

    def embed(self, parts: Sequence[Hashed]) -> Sequence[Hashed]:
        self.asked += len(parts)
        taken = {digest: part.content for digest, part in parts if self.takes(part.content)}
        self.accepted |= taken
        return [(digest, part) for digest, part in parts if digest not in taken]


class Document:
    """Chunks on their way through a provider, like in a stager."""

    def __init__(self, provider: Provider, texts: Sequence[str]) -> None:
        self.texts: dict[bytes, str] = {}
        self.refusals = Refusals(name=self.name, embed=provider.embed)
        self.placed: list[Placed] = []
        chunks = [chunk(text) for text in texts]
        for each in chunks:
            self.placed.append(Placed(self.name(each), each.page_start, each.page_end))
        distinct = {self.name(each): each for each in chunks}
        self.refusals.add(provider.embed(list(distinct.items())))

    def name(self, each: Chunk) -> bytes:
        digest = each.content.encode()
        self.texts[digest] = each.content
        return digest

    def outcome(self) -> tuple[list[Placed], list[SetAside]]:
        self.refusals.settle(allowed(len(self.placed)))
        return self.refusals.outcome(self.placed)


words = st.lists(st.sampled_from(["good", "word", "bad", "a", "longer-word"]), min_size=1)
documents = st.lists(words.map(" ".join), min_size=1, max_size=40)


def numbered(texts: Sequence[str]) -> list[str]:
    """The same texts, changed so that no word occurs twice."""
    numbers = itertools.count()
    return [" ".join(f"{word}{next(numbers)}" for word in text.split()) for text in texts]


@given(documents, st.integers(min_value=1, max_value=90))
def test_no_word_is_lost_but_what_is_named(written: list[str], longest: int) -> None:
    texts = numbered(written)
    provider = Provider(longest)
    document = Document(provider, texts)
    refused = [text for text in texts if not provider.takes(text)]
    try:
        published, aside = document.outcome()
    except JobError:
        assert len(refused) > allowed(len(texts))
        return
    # All searchable text was accepted, and nothing else was set aside.
    assert {place.content_hash for place in published} <= provider.accepted.keys()
    assert not {found.content_hash for found in aside} & provider.accepted.keys()
    # The published chunks and those set aside have all letters of the document in order.
    pieces = [document.texts[place.content_hash] for place in published]
    for before, found in enumerate(aside):
        pieces.insert(found.ordinal + before, document.texts[found.content_hash])
    assert letters(pieces) == letters(texts)


def letters(texts: Sequence[str]) -> str:
    return "".join("".join(texts).split())


@given(st.integers(min_value=1, max_value=60), st.integers(min_value=40, max_value=300))
def test_what_is_too_long_is_cut_even_when_all_of_the_document_is(count: int, longest: int) -> None:
    # Only half of what so many halvings could do, because words are not cut in the middle.
    texts = numbered(["w " * (longest * 2**SPLITS // 2 // 8)] * count)
    provider = Provider(longest)
    document = Document(provider, texts)
    published, aside = document.outcome()
    assert not aside
    assert letters([document.texts[place.content_hash] for place in published]) == letters(texts)


@pytest.mark.parametrize(
    ("chunks", "bad", "kept"), [(10, 3, True), (10, 4, False), (500, 5, True), (500, 6, False)]
)
@pytest.mark.parametrize("at_the_start", [True, False])
def test_a_hundredth_may_be_set_aside_and_three_of_any(
    chunks: int, bad: int, *, kept: bool, at_the_start: bool
) -> None:
    texts = ["bad"] * bad + ["good"] * (chunks - bad)
    document = Document(Provider(1000), numbered(texts if at_the_start else texts[::-1]))
    if kept:
        published, aside = document.outcome()
        assert (len(published), len(aside)) == (chunks - bad, bad)
    else:
        with pytest.raises(JobError, match="chunks") as raised:
            document.outcome()
        assert raised.value.code == "embedding_rejected"


def test_a_hostile_document_is_given_up_after_a_few_tries() -> None:
    provider = Provider(1000)
    document = Document(provider, [f"bad {number} bad" for number in range(10_000)])
    before = provider.asked
    with pytest.raises(JobError):
        document.outcome()
    assert provider.asked - before < 100


def test_the_smallest_part_is_set_aside_with_its_place() -> None:
    text = " ".join(f"word{number}" for number in range(64))
    document = Document(Provider(1000), ["first", f"{text} bad {text}", "last", "bad"])
    published, aside = document.outcome()
    found = [document.texts[place.content_hash] for place in published]
    assert (found[0], found[-1]) == ("first", "last")
    assert [(place.ordinal, place.page_start, place.page_end) for place in aside] == [
        (2, 1, 2),
        (len(published), 1, 2),
    ]
    assert len(document.texts[aside[0].content_hash]) <= len(text) / 3

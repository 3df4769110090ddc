"""Which owners' texts make up the next request."""

import threading
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docmill.worker.embedding.submission import Item, Submission
from docmill.worker.embedding.turns import Turns

MAX_TEXTS, MAX_TOKENS = 64, 6400
CHANGED = threading.Condition()


def document(owner: str, texts: int, tokens: int = 10, *, alone: bool = False) -> list[Item]:
    submission = Submission([owner] * texts, [tokens] * texts, changed=CHANGED)
    return [Item(owner, submission, position, alone) for position in range(texts)]


@pytest.fixture
def turns() -> Turns:
    return Turns(max_texts=MAX_TEXTS, max_tokens=MAX_TOKENS)


def owners_of(request: list[Item]) -> Counter[str]:
    return Counter(item.owner for item in request)


def test_owners_get_the_same_of_a_request(turns: Turns) -> None:
    turns.add(document("flood", 500))
    turns.add(document("anna", 500))
    turns.add(document("berta", 10))
    found = owners_of(turns.take())
    assert found["berta"] == 10
    assert abs(found["flood"] - found["anna"]) <= MAX_TEXTS // 3


def test_long_texts_count_by_their_tokens(turns: Turns) -> None:
    for _ in range(40):
        turns.add(document("long", 10, 1000))
        turns.add(document("short", 10, 100))
    tokens: Counter[str] = Counter()
    for _ in range(10):
        for item in turns.take():
            tokens[item.owner] += item.tokens
    assert 0.7 < tokens["long"] / tokens["short"] < 1.5


def test_who_had_least_goes_first(turns: Turns) -> None:
    turns.add(document("flood", 1000))
    for _ in range(3):
        turns.take()
    turns.add(document("anna", 2))
    assert owners_of(turns.take())["anna"] == 2


def test_a_small_document_is_not_spread_over_requests(turns: Turns) -> None:
    for number in range(60):
        turns.add(document(f"owner {number}", 3))
    while request := turns.take():
        assert set(owners_of(request).values()) == {3}
        assert len(request) > MAX_TEXTS * 0.9 or not turns.texts


def test_a_long_document_fills_what_is_left(turns: Turns) -> None:
    for _ in range(4):
        turns.add(document("anna", 50))
    assert [len(turns.take()) for _ in range(4)] == [64, 64, 64, 8]


def test_texts_that_were_put_back_come_first_and_in_order(turns: Turns) -> None:
    turns.add(document("anna", 100))
    turns.add(document("anna", 3))
    first = turns.take()
    turns.put_back(first)
    assert turns.texts == 103
    assert turns.take() == first


def test_a_request_may_be_held_smaller(turns: Turns) -> None:
    turns.add(document("anna", 60, 100))
    assert len(turns.take(max_tokens=700)) == 7


@given(
    documents=st.lists(
        st.tuples(
            st.sampled_from("abcdefgh"),
            st.integers(1, 90),
            st.sampled_from([1, 100, 1000, 8000]),
            st.booleans(),
            st.booleans(),
        ),
        max_size=40,
    ),
    apart=st.sets(st.sampled_from("abcdefgh"), max_size=3),
)
def test_every_text_is_taken_once_and_no_request_is_too_large(
    documents: list[tuple[str, int, int, bool, bool]], apart: set[str]
) -> None:
    turns = Turns(max_texts=MAX_TEXTS, max_tokens=MAX_TOKENS)
    wanted = []
    for owner, texts, tokens, alone, withdrawn in documents:
        items = document(owner, texts, tokens, alone=alone)
        turns.add(items)
        if withdrawn:
            items[0].submission.withdraw()
        else:
            wanted += items
    taken: list[Item] = []
    while turns.texts:
        request = turns.take(apart=apart)
        taken += request
        owners = set(owners_of(request))
        assert len(owners) <= 1 or not owners & apart
        assert len(request) <= MAX_TEXTS
        assert len(request) <= 1 or sum(item.tokens for item in request) <= MAX_TOKENS
        assert len(request) <= 1 or not any(item.alone for item in request)
    assert turns.tokens == 0
    assert Counter(map(id, taken)) == Counter(map(id, wanted))

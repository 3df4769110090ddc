"""How docmill reindex compare recognises that two searches found the same."""

from typing import Any

import pytest

from docmill.worker.admin.overlap import (
    Place,
    document_overlap,
    drawn_query,
    first_sentence,
    is_found,
    passage_overlap,
    percentile,
)

LONG = " ".join(f"word{number}" for number in range(100))
WORDS = LONG.split()


def place(content: str, document: str = "d", page: int | None = None, **more: Any) -> Place:
    return Place(document, page, more.get("page_end", page), content)


@pytest.mark.parametrize(
    ("first", "other", "same"),
    [
        (place(LONG), place(LONG), True),
        (place(LONG), place(LONG, "other"), False),
        (place(LONG), place("\n".join(WORDS[40:])), True),
        (place(" ".join(WORDS[:60])), place(" ".join(WORDS[40:])), True),
        (place(" ".join(WORDS[:50])), place(" ".join(WORDS[50:])), False),
        (place("short"), place("a short text"), True),
        (place("short"), place("a long text"), False),
        (place(""), place("a long text"), False),
        (place(LONG, page=1), place(LONG, page=2), False),
        (place(LONG, page=1, page_end=2), place(LONG, page=2, page_end=3), True),
        (place(LONG, page=1), place(LONG), True),
    ],
)
def test_passages_overlap_where_they_hold_the_same_text(first: Place, other: Place, same: bool):
    assert first.overlaps(other) is same
    assert other.overlaps(first) is same


def test_documents_and_passages_are_counted_apart():
    first = [place(LONG), place("another one", "e")]
    other = [place(" ".join(WORDS[:50])), place(" ".join(WORDS[50:])), place("else", "e")]
    assert document_overlap(first, other) == 1
    # One of two, and two of three.
    assert passage_overlap(first, other) == pytest.approx(3 / 5)
    assert document_overlap(first, [place(LONG)]) == pytest.approx(2 / 3)
    assert document_overlap([], []) == passage_overlap([], []) == 1
    assert document_overlap(first, []) == passage_overlap([], other) == 0


def test_an_item_is_found_where_a_part_of_it_is():
    assert is_found(place(first_sentence(LONG)), [place("x"), place(LONG)])
    assert not is_found(place(first_sentence(LONG)), [place("x"), place(LONG, "other")])
    assert not is_found(place("x"), [])


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("The roof is old. It leaks.", "The roof is old."),
        ("The roof of\n the house is old!  It leaks.", "The roof of the house is old!"),
        ("No. The roof of the house is old. It leaks.", "No. The roof of the house is old."),
        ("Version 2.5 of it is what is used. Yes.", "Version 2.5 of it is what is used."),
        (
            "屋顶每四十年更换一次,石板瓦由工匠从山里取来。然后运走。",
            "屋顶每四十年更换一次,石板瓦由工匠从山里取来。",
        ),
        ("no end", "no end"),
        (LONG, LONG[:200]),
    ],
)
def test_a_sentence_is_short(text: str, sentence: str):
    assert first_sentence(text) == sentence


def test_a_passage_is_asked_for_by_its_heading_or_its_first_sentence():
    text = "Slates are replaced every forty years. Nails earlier."
    assert drawn_query(["House", "Care of the roof"], text) == "Care of the roof"
    assert drawn_query(["House", "Roof"], text) == "Slates are replaced every forty years."
    assert drawn_query([], text) == "Slates are replaced every forty years."


def test_a_percentile_is_one_of_the_values():
    values = [float(number) for number in range(100, 0, -1)]
    assert percentile(values, 0.95) == 95
    assert percentile(values, 0.5) == 50
    assert percentile([7.0], 0.95) == 7

"""The measure of `make bench-fidelity` names missing text, but not text that is only divided."""

import pytest

from tests.benchmarks.fidelity import compare


@pytest.mark.parametrize(
    ("expected", "found", "recall", "missing"),
    [
        ("The notice period is ninety days.", "The notice period is ninety days.", 1.0, []),
        ("The notice period is ninety days.", "the notice period is days", 21 / 27, ["ninety"]),
        ("an exam- ple", "an example", 1.0, []),
        ("NorthSouth", "North South", 1.0, []),
        ("twice twice", "twice", 0.5, ["twice"]),
        ("東京は大きい", "東京(とうきょう)は大きい", 1.0, []),
        ("", "anything", 1.0, []),
    ],
)
def test_recall_counts_letters_of_words_that_are_missing(
    expected: str, found: str, recall: float, missing: list[str]
) -> None:
    measured, lacking, _ = compare(expected, found)
    assert measured == pytest.approx(recall)
    assert lacking == missing


def test_surplus_is_what_is_read_twice() -> None:
    assert compare("one two", "one two one two")[2] == 1.0

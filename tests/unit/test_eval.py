"""The measures of search, and docmill's own labelled set."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tests.eval.__main__ import OWN
from tests.eval.collection import documents_of, plain, questions_of
from tests.eval.documents import blocks_of, made
from tests.eval.measures import compare, fused_by_rank, interval, scores_of
from tests.eval.page import MARK, PAGE, tables
from tests.eval.results import kept
from tests.eval.search import DEFAULT


def test_a_ranking_is_worth_what_its_right_hits_are() -> None:
    assert scores_of(["a", "b"], {"a"}) == (1, 1, 1)
    assert scores_of(["b", "a"], {"a"}) == pytest.approx((1, 0.5, 0.63093), abs=1e-5)
    assert scores_of([*"bcdefa"], {"a"}) == pytest.approx((0, 1 / 6, 0.35621), abs=1e-5)
    assert scores_of(["b"], {"a"}) == scores_of([], {"a"}) == scores_of(["a"], set()) == (0, 0, 0)
    assert scores_of(["a", "b"], {"a", "b"}) == (1, 1, 1)
    assert scores_of([*"bcdefghijka"], {"a"}) == (0, 0, 0), "the eleventh does not count"


def test_ranks_are_fused() -> None:
    assert fused_by_rank(["a", "b", "c"], ["c", "b", "d"]) == ["c", "b", "a", "d"]


def test_an_interval_holds_the_mean_and_is_the_same_each_time() -> None:
    values = np.array([0.0, 1.0] * 50)
    one = interval(values)
    assert one == interval(values)
    assert 0.35 < one.low < one.mean == 0.5 < one.high < 0.65


def test_a_method_is_compared_question_by_question_with_the_better_list() -> None:
    lists = {"good": np.array([1.0] * 90 + [0.0] * 10), "bad": np.zeros(100)}
    assert compare(lists["good"], lists).verdict == "no difference shown"
    assert compare(np.ones(100), lists).verdict == "better"
    worse = compare(np.array([1.0] * 60 + [0.0] * 40), lists)
    assert (worse.better, worse.verdict) == ("good", "worse")


def test_our_own_set_is_large_and_varied() -> None:
    questions = questions_of(OWN)
    assert len(questions) >= 150
    assert len({question.question for question in questions}) == len(questions)
    languages = Counter(question.language for question in questions)
    assert min(languages[language] for language in ("en", "de", "es", "zh")) >= 30
    kinds = {Path(question.document or "").suffix for question in questions}
    assert kinds >= {".md", ".pdf", ".docx", ".html", ".pptx", ".csv", ".xlsx"}


def test_each_answer_is_in_its_document_and_no_question_is_its_answer() -> None:
    sources = {path.name: plain(path.read_text()) for path in (OWN / "documents").iterdir()}
    for question in questions_of(OWN):
        name = question.document or ""
        names = {name, f"{name}.md", f"{name}.csv"}
        (text,) = (source for found, source in sources.items() if found in names)
        assert plain(question.answer) in text, question
        if question.kind == "paraphrase":
            assert plain(question.answer) not in plain(question.question), question


def test_sources_become_documents_of_their_kind(tmp_path: Path) -> None:
    beginnings = {".pdf": b"%PDF", ".docx": b"PK", ".pptx": b"PK", ".xlsx": b"PK", ".html": b"<!"}
    for path in documents_of(OWN, tmp_path):
        assert path.read_bytes().startswith(beginnings.get(path.suffix, b"")), path
    plain_file = tmp_path / "plain.md"
    plain_file.write_text("# It stays")
    assert made(plain_file, tmp_path) == plain_file


def test_a_source_is_read_as_blocks() -> None:
    text = "# One\n\nTwo\nlines.\n\n- a\n- b\n\n## Three\n\nFour."
    assert list(blocks_of(text)) == [
        *((1, "One"), (0, "Two lines."), (-1, "a"), (-1, "b"), (2, "Three"), (0, "Four.")),
    ]


def test_the_default_weights_are_never_worse_than_the_better_list() -> None:
    for name, results in kept().items():
        for result in results:
            for measure, compared in result["against"][DEFAULT].items():
                assert compared["verdict"] != "worse", (name, result["chunk_tokens"], measure)


def test_the_page_shows_the_figures_that_are_kept() -> None:
    assert PAGE.read_text().split(MARK)[1].strip() == tables().strip()

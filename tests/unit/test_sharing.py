"""Equal texts of one owner under way together are asked for once; the judge is who is asked."""

import random
import threading
from collections import Counter
from collections.abc import Iterator

import pytest

from docmill.worker.embedding.batcher import Batcher
from docmill.worker.embedding.submission import EmbeddedBatch, Submission
from docmill.worker.errors import JobError
from tests.unit.test_batcher import FakeEmbedder


@pytest.fixture
def embedder() -> FakeEmbedder:
    return FakeEmbedder()


@pytest.fixture
def batcher(embedder: FakeEmbedder) -> Iterator[Batcher]:
    made = Batcher(embedder, max_texts=8, max_tokens=1000, requests=2)
    yield made
    embedder.may_answer.set()
    made.close()


def submit(batcher: Batcher, *texts: str, owner: str = "anna", shared: bool = True) -> Submission:
    return batcher.submit(owner, texts, [len(text) for text in texts], is_shared=shared)


def result(submission: Submission) -> EmbeddedBatch:
    assert submission.wait(60)
    return submission.result(2)


def asked(embedder: FakeEmbedder) -> Counter[str]:
    return Counter(text for request in embedder.requests for text in request)


def test_a_text_under_way_is_not_asked_for_again(batcher: Batcher, embedder: FakeEmbedder) -> None:
    embedder.may_answer.clear()
    first = submit(batcher, "one", "three")
    assert embedder.asked.wait(60)
    second = submit(batcher, "three", "seven..")
    embedder.may_answer.set()
    assert result(first).tokens == 8
    found = result(second)
    assert found.vectors[:, 0].tolist() == [5, 7]
    assert (found.tokens, found.shared, found.error) == (7, 1, None)
    assert asked(embedder) == {"one": 1, "three": 1, "seven..": 1}


def test_nor_is_one_that_has_arrived_and_is_not_staged(
    batcher: Batcher, embedder: FakeEmbedder
) -> None:
    first = submit(batcher, "one")
    result(first)
    second = submit(batcher, "one")
    assert (result(second).tokens, result(second).shared) == (0, 1)
    batcher.release(first)
    # Whoever comes now finds it in the database.
    third = submit(batcher, "one")
    assert (result(third).tokens, result(third).shared) == (3, 0)
    assert asked(embedder) == {"one": 2}


def test_who_has_looked_before_it_was_staged_joins_it(
    batcher: Batcher, embedder: FakeEmbedder
) -> None:
    first = submit(batcher, "one")
    result(first)
    with batcher.looking():
        # Here it finds nothing; then the first is staged.
        batcher.release(first)
        second = submit(batcher, "one")
    assert (result(second).tokens, result(second).shared) == (0, 1)
    batcher.release(second)
    assert asked(embedder) == {"one": 1}
    assert not batcher._sharing._leads
    assert not batcher._sharing._led_by


def test_another_owner_pays(batcher: Batcher, embedder: FakeEmbedder) -> None:
    embedder.may_answer.clear()
    both = [submit(batcher, "one", owner=owner) for owner in ("anna", "berta")]
    embedder.may_answer.set()
    assert [(result(one).tokens, result(one).shared) for one in both] == [(3, 0), (3, 0)]
    assert asked(embedder) == {"one": 2}


def test_texts_without_an_owner_are_not_shared(batcher: Batcher, embedder: FakeEmbedder) -> None:
    embedder.may_answer.clear()
    both = [submit(batcher, "one", shared=False) for _ in range(2)]
    embedder.may_answer.set()
    assert [result(one).tokens for one in both] == [3, 3]


def test_a_refused_text_is_refused_for_all_and_tried_anew_later(
    batcher: Batcher, embedder: FakeEmbedder
) -> None:
    embedder.may_answer.clear()
    both = [submit(batcher, "bad", "good") for _ in range(2)]
    embedder.may_answer.set()
    assert [result(one).refused for one in both] == [[0], [0]]
    assert [result(one).positions for one in both] == [[1], [1]]
    before = asked(embedder)["bad"]
    assert result(submit(batcher, "bad")).refused == [0]
    assert asked(embedder)["bad"] > before


def test_who_follows_one_that_is_withdrawn_asks_itself(
    batcher: Batcher, embedder: FakeEmbedder
) -> None:
    embedder.may_answer.clear()
    busy = [submit(batcher, text * 3) for text in "ab"]  # both requests are taken
    first = submit(batcher, "one", "two")
    second, third = (submit(batcher, "one", "two") for _ in range(2))
    first.withdraw()
    second.withdraw()
    embedder.may_answer.set()
    assert result(third).vectors[:, 0].tolist() == [3, 3]
    assert result(third).error is None
    assert result(second).positions == result(first).positions == []
    for one in busy:
        result(one)
    assert asked(embedder)["one"] == asked(embedder)["two"] == 1


def test_who_follows_one_that_fails_meets_the_error_or_an_answer(
    batcher: Batcher, embedder: FakeEmbedder
) -> None:
    embedder.may_answer.clear()
    embedder.error = JobError("provider_unavailable")
    first = submit(batcher, "one")
    assert embedder.asked.wait(60)
    second = submit(batcher, "one")
    embedder.may_answer.set()
    assert (result(first).error, result(second).error) != (None, None)
    embedder.error = None
    assert result(submit(batcher, "one")).error is None


def test_whatever_happens_every_submission_ends_and_no_text_is_kept(embedder: FakeEmbedder) -> None:
    chance = random.Random(7)
    for _ in range(20):
        batcher = Batcher(embedder, max_texts=4, max_tokens=1000, requests=2)
        made: list[Submission] = []

        def run(seed: int, batcher: Batcher = batcher, made: list[Submission] = made) -> None:
            mine = random.Random(seed)
            texts = [mine.choice(("a", "bb", "ccc", "bad", "eeeee")) for _ in range(3)]
            with batcher.looking():
                submission = submit(batcher, *dict.fromkeys(texts), owner=mine.choice(("x", "y")))
            made.append(submission)
            if mine.random() < 0.3:
                submission.withdraw()
            submission.wait(60)
            batcher.release(submission)

        seeds = [chance.randrange(1 << 30) for _ in range(12)]
        threads = [threading.Thread(target=run, args=(seed,)) for seed in seeds]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert all(one.wait(0) for one in made)
        assert not batcher._sharing._leads
        assert not batcher._sharing._led_by
        batcher.close()

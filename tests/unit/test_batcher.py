"""Texts of many jobs in full requests."""

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future

import numpy as np
import pytest

from docmill.worker.embedding.batcher import Batcher, EmbeddedBatch
from docmill.worker.errors import JobError
from docmill.worker.ports import Vectors


class FakeEmbedder:
    """Vector of a text: its length. Notes requests; refuses texts that hold `bad`."""

    model = "fake"
    dimensions = 2

    def __init__(self) -> None:
        self.requests: list[list[str]] = []
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.asked = threading.Event()
        self.error: JobError | None = None

    def embed(self, texts: Sequence[str]) -> tuple[Vectors, int]:
        self.requests.append(list(texts))
        self.asked.set()
        assert self.may_answer.wait(10)
        if self.error:
            raise self.error
        if any("bad" in text for text in texts):
            raise JobError("embedding_rejected")
        vectors = np.array([[len(text), 1] for text in texts], dtype=np.float32)
        return vectors, sum(len(text) for text in texts)


@pytest.fixture
def embedder() -> FakeEmbedder:
    return FakeEmbedder()


@pytest.fixture
def batcher(embedder: FakeEmbedder) -> Iterator[Batcher]:
    made = Batcher(embedder, max_texts=8, max_tokens=1000, requests=2, linger_seconds=0.2)
    yield made
    embedder.may_answer.set()
    made.close()


def submit(batcher: Batcher, *texts: str, owner: str = "anna") -> "Future[EmbeddedBatch]":
    return batcher.submit(owner, texts, [len(text) for text in texts])


def test_texts_of_several_jobs_share_one_request(batcher: Batcher, embedder: FakeEmbedder) -> None:
    futures = [submit(batcher, f"job {number}", "x" * number) for number in range(1, 5)]
    for number, future in enumerate(futures, start=1):
        result = future.result(5)
        assert result.vectors[:, 0].tolist() == [5, number]
        assert result.tokens == 5 + number
    assert len(embedder.requests) == 1


def test_a_large_submission_is_spread_over_requests(
    batcher: Batcher, embedder: FakeEmbedder
) -> None:
    texts = ["y" * number for number in range(1, 21)]
    result = submit(batcher, *texts).result(5)
    assert result.vectors[:, 0].tolist() == list(range(1, 21))
    assert max(map(len, embedder.requests)) == 8


def test_a_request_holds_no_more_tokens_than_allowed(embedder: FakeEmbedder) -> None:
    batcher = Batcher(embedder, max_texts=100, max_tokens=10, requests=1, linger_seconds=0.01)
    submit(batcher, *["zzzz"] * 6).result(5)
    batcher.close()
    assert all(sum(map(len, request)) <= 10 for request in embedder.requests)


def test_a_refused_text_fails_its_own_job_only(batcher: Batcher, embedder: FakeEmbedder) -> None:
    good = [submit(batcher, f"good {number}") for number in range(3)]
    bad = submit(batcher, "bad", "innocent")
    for future in good:
        assert future.result(5).vectors.shape == (1, 2)
    with pytest.raises(JobError) as caught:
        bad.result(5)
    assert caught.value.code == "embedding_rejected"


def test_an_outage_fails_every_job_of_the_request(batcher: Batcher, embedder: FakeEmbedder) -> None:
    embedder.error = JobError("provider_unavailable")
    futures = [submit(batcher, "one"), submit(batcher, "two")]
    for future in futures:
        with pytest.raises(JobError) as caught:
            future.result(5)
        assert caught.value.code == "provider_unavailable"
    embedder.error = None
    assert submit(batcher, "later").result(5).tokens == 5


def test_a_cancelled_submission_is_not_paid_for(batcher: Batcher, embedder: FakeEmbedder) -> None:
    embedder.may_answer.clear()
    blocked = [submit(batcher, *["b"] * 8) for _ in range(2)]
    assert embedder.asked.wait(5)
    cancelled = submit(batcher, "never sent")
    assert cancelled.cancel()
    embedder.may_answer.set()
    for future in blocked:
        future.result(5)
    assert submit(batcher, "after").result(5).tokens == 5
    assert not any("never sent" in request for request in embedder.requests)


def test_nothing_to_embed_is_answered_at_once(batcher: Batcher) -> None:
    assert batcher.submit("anna", [], []).result(0).vectors.shape == (0, 2)


def test_owners_take_turns_however_much_one_of_them_has(
    batcher: Batcher, embedder: FakeEmbedder
) -> None:
    embedder.may_answer.clear()
    blocked = []
    for _ in range(2):
        embedder.asked.clear()
        blocked.append(submit(batcher, *["b"] * 8))
        assert embedder.asked.wait(5)
    flood = [submit(batcher, *[f"flood {number}"] * 8) for number in range(50)]
    single = submit(batcher, "single", owner="berta")
    two = submit(batcher, "two", "three", owner="carl")
    embedder.may_answer.set()
    single.result(5)
    two.result(5)
    assert [future.result(5).tokens for future in (*blocked, *flood)]
    first = embedder.requests[2]
    assert {"single", "two", "three"} < set(first)
    assert len(first) == 8

"""Texts of many jobs fill requests."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, cast

import numpy as np
import pytest

from docmill.worker.embedding import batcher as batcher_module
from docmill.worker.embedding.batcher import Batcher
from docmill.worker.embedding.company import Company
from docmill.worker.embedding.submission import EmbeddedBatch, Submission
from docmill.worker.errors import JobError
from docmill.worker.ports import Outcome, Permit, Vectors
from docmill.worker.providers.base import RequestLimits


class FakeEmbedder:
    """The vector of a text is its length. Notes requests; refuses texts with `bad`."""

    model = "fake"
    dimensions = 2
    request_limits = RequestLimits(texts=1000, tokens=100_000, text_tokens=8191)

    def __init__(self) -> None:
        self.requests: list[list[str]] = []
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.asked = threading.Event()
        self.error: JobError | None = None

    def embed(self, texts: Sequence[str]) -> tuple[Vectors, int]:
        self.requests.append(list(texts))
        self.asked.set()
        assert self.may_answer.wait(180)
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
def company() -> Company:
    return Company(together=True)


@pytest.fixture
def batcher(embedder: FakeEmbedder, company: Company) -> Iterator[Batcher]:
    made = Batcher(embedder, max_texts=8, max_tokens=1000, requests=2, company=company)
    yield made
    embedder.may_answer.set()
    made.close()


def submit(
    batcher: Batcher, *texts: str, owner: str = "anna", company: Company | None = None
) -> Submission:
    """Texts of a run that will submit no more; they wait for other runs in this company."""
    member = None
    if company is not None:
        with company.join(owner) as member:
            pass
    return batcher.submit(owner, texts, [len(text) for text in texts], member=member)


def result(submission: Submission) -> EmbeddedBatch:
    assert submission.wait(180)
    return submission.result(2)


def test_texts_of_several_jobs_share_one_request(
    batcher: Batcher, embedder: FakeEmbedder, company: Company
) -> None:
    with company.join("anna"):
        futures = [
            submit(batcher, f"job {number}", "x" * number, company=company)
            for number in range(1, 4)
        ]
        # Texts of another owner wait too, and texts that wait for no other run.
        futures.append(submit(batcher, "job 4", "xxxx", owner="berta", company=company))
    for number, future in enumerate(futures, start=1):
        embedded = result(future)
        assert embedded.vectors[:, 0].tolist() == [5, number]
        assert (embedded.tokens, embedded.error) == (5 + number, None)
    assert len(embedder.requests) == 1


def test_a_large_submission_is_spread_over_requests(
    batcher: Batcher, embedder: FakeEmbedder
) -> None:
    texts = ["y" * number for number in range(1, 21)]
    embedded = result(submit(batcher, *texts))
    assert embedded.vectors[:, 0].tolist() == list(range(1, 21))
    assert max(map(len, embedder.requests)) == 8


def test_a_request_holds_no_more_tokens_than_allowed(embedder: FakeEmbedder) -> None:
    batcher = Batcher(embedder, max_texts=100, max_tokens=10, requests=1)
    result(submit(batcher, *["zzzz"] * 6))
    batcher.close()
    assert all(sum(map(len, request)) <= 10 for request in embedder.requests)


def test_a_refused_text_is_found_and_the_others_arrive(batcher: Batcher, company: Company) -> None:
    with company.join("anna"):
        good = [submit(batcher, f"good {number}", company=company) for number in range(3)]
        bad = submit(batcher, "bad", "innocent", "bad too", company=company)
    for future in good:
        assert result(future).vectors.shape == (1, 2)
    embedded = result(bad)
    assert (embedded.error, embedded.refused) == (None, [0, 2])
    # The other text was paid for.
    assert embedded.positions == [1]
    assert embedded.vectors[:, 0].tolist() == [8]


def test_a_provider_that_refuses_everything_blames_no_text(embedder: FakeEmbedder) -> None:
    embedder.error = JobError("embedding_rejected")
    batcher = Batcher(embedder, max_texts=1024, max_tokens=99_999, requests=1)
    embedded = result(submit(batcher, *[f"text {number}" for number in range(1024)]))
    batcher.close()
    assert embedded.error is not None
    assert embedded.error.code == "embedding_rejected"
    assert embedded.positions == []
    assert len(embedder.requests) < 40


def test_who_had_a_text_refused_shares_no_request_for_a_while(
    batcher: Batcher, embedder: FakeEmbedder, company: Company
) -> None:
    assert result(submit(batcher, "bad", owner="mallory")).refused == [0]
    embedder.requests.clear()
    with company.join("anna"):
        both = [
            submit(batcher, *[f"{owner}'s {number}" for number in range(20)], owner=owner)
            for owner in ("mallory", "anna", "berta")
        ]
    for future in both:
        assert len(result(future).positions) == 20
    groups = [{text.split("'")[0] for text in request} for request in embedder.requests]
    assert {"mallory"} in groups
    assert {"anna", "berta"} in groups
    assert not any(len(group) > 1 and "mallory" in group for group in groups)


def test_what_is_likely_to_be_refused_is_asked_for_alone(
    batcher: Batcher, embedder: FakeEmbedder
) -> None:
    texts = ["one", "two", "bad", "three"]
    alone = batcher.submit("anna", texts, [1] * 4, alone=True)
    others = submit(batcher, "four", "five")
    assert (result(alone).positions, result(alone).refused) == ([0, 1, 3], [2])
    result(others)
    for text in texts:
        assert embedder.requests.count([text]) == 1


def test_an_outage_fails_every_job_of_the_request(
    batcher: Batcher, embedder: FakeEmbedder, company: Company
) -> None:
    embedder.error = JobError("provider_unavailable")
    with company.join("anna"):
        futures = [submit(batcher, word, company=company) for word in ("one", "two")]
    for future in futures:
        embedded = result(future)
        assert embedded.error is not None
        assert (embedded.error.code, embedded.positions) == ("provider_unavailable", [])
    embedder.error = None
    assert result(submit(batcher, "later")).tokens == 5


def test_a_withdrawn_submission_is_not_paid_for(batcher: Batcher, embedder: FakeEmbedder) -> None:
    embedder.may_answer.clear()
    blocked = [submit(batcher, *["b"] * 8) for _ in range(2)]
    assert embedder.asked.wait(180)
    withdrawn = submit(batcher, "never sent")
    withdrawn.withdraw()
    assert withdrawn.wait(0)
    embedder.may_answer.set()
    for future in blocked:
        result(future)
    assert result(submit(batcher, "after")).tokens == 5
    assert not any("never sent" in request for request in embedder.requests)


def test_nothing_to_embed_is_answered_at_once(batcher: Batcher) -> None:
    assert batcher.submit("anna", [], []).wait(0)
    assert result(batcher.submit("anna", [], [])).vectors.shape == (0, 2)


def test_owners_take_turns_however_much_one_of_them_has(
    batcher: Batcher, embedder: FakeEmbedder
) -> None:
    embedder.may_answer.clear()
    blocked = []
    for _ in range(2):
        embedder.asked.clear()
        blocked.append(submit(batcher, *["b"] * 8))
        assert embedder.asked.wait(180)
    flood = [submit(batcher, *[f"flood {number}"] * 8) for number in range(50)]
    single = submit(batcher, "single", owner="berta")
    two = submit(batcher, "two", "three", owner="carl")
    embedder.may_answer.set()
    result(single)
    result(two)
    assert [result(future).tokens for future in (*blocked, *flood)]
    first = embedder.requests[2]
    assert {"single", "two", "three"} < set(first)
    assert len(first) == 8


@pytest.fixture
def owners() -> Company:
    """As for uploads: each owner's runs are a company."""
    return Company(patience_seconds=60)


@pytest.fixture
def waiting(embedder: FakeEmbedder, owners: Company) -> Iterator[Batcher]:
    made = Batcher(embedder, max_texts=8, max_tokens=1000, requests=2, company=owners)
    yield made
    made.close()


def test_the_only_document_of_its_owner_waits_for_nobody(waiting: Batcher, owners: Company) -> None:
    with owners.join("berta"), owners.join("carl"), owners.join("anna") as anna:
        embedded = waiting.submit("anna", ["alone"], [5], member=anna)
        assert result(embedded).tokens == 5


def test_a_text_waits_for_another_document_that_is_being_read(
    waiting: Batcher, embedder: FakeEmbedder, owners: Company
) -> None:
    with owners.join("anna") as first, owners.join("anna") as second:
        one = waiting.submit("anna", ["one"], [3], member=first)
        first.leave()
        assert not embedder.asked.wait(0.1)
        two = waiting.submit("anna", ["two"], [3], member=second)
        second.leave()
        assert (result(one).tokens, result(two).tokens) == (3, 3)
    assert embedder.requests == [["one", "two"]]


@pytest.mark.parametrize("how", ["it fails", "it waits for its own texts"])
def test_nobody_waits_for_a_document_that_brings_nothing_now(
    waiting: Batcher, owners: Company, how: str
) -> None:
    with owners.join("anna") as first, ExitStack() as second:
        member = second.enter_context(owners.join("anna"))
        one = waiting.submit("anna", ["one"], [3], member=first)
        if how == "it fails":
            second.close()
        else:
            second.enter_context(member.waiting())
        assert result(one).tokens == 3


def test_a_text_waits_no_longer_than_its_time(embedder: FakeEmbedder) -> None:
    owners = Company(patience_seconds=0.1)
    batcher = Batcher(embedder, max_texts=8, max_tokens=1000, requests=2, company=owners)
    with owners.join("anna") as first, owners.join("anna"):
        assert result(batcher.submit("anna", ["one"], [3], member=first)).tokens == 3
    batcher.close()


def test_who_waits_for_nobody_takes_the_others_along(
    waiting: Batcher, embedder: FakeEmbedder, owners: Company
) -> None:
    with owners.join("anna") as first, owners.join("anna"), owners.join("berta") as berta:
        anna = waiting.submit("anna", ["one"], [3], member=first)
        assert not embedder.asked.wait(0.1)
        result(waiting.submit("berta", ["two"], [3], member=berta))
        result(anna)
    assert [sorted(request) for request in embedder.requests] == [["one", "two"]]


def test_the_first_chunks_of_a_long_document_go_while_it_is_read(
    waiting: Batcher, owners: Company
) -> None:
    with owners.join("anna") as reading:
        result(waiting.submit("anna", ["first"], [5], member=reading))
        assert reading.reads


class Limited(FakeEmbedder):
    """Refuses the first requests because of a limit, and reports headers."""

    def __init__(self, refusals: int, pause: float = 0) -> None:
        super().__init__()
        self.refusals = refusals
        self.pause = pause
        self.on_headers: Callable[[Mapping[str, str]], None] = lambda _headers: None

    def embed(self, texts: Sequence[str]) -> tuple[Vectors, int]:
        self.on_headers({"number": str(len(self.requests))})
        if len(self.requests) < self.refusals:
            self.requests.append(list(texts))
            raise JobError("rate_limited", retry_after_seconds=self.pause)
        return super().embed(texts)


class Books:
    """Limits that note all calls, and give a permit after some refusals."""

    def __init__(self, waits: int = 0) -> None:
        self.waits = waits
        self.asked: list[int] = []
        self.outcomes: list[Outcome | None] = []
        self.left = 0
        self.wait: float = 0.01

    def ask(self, tokens: int) -> Permit | float:
        self.asked.append(tokens)
        self.waits -= 1
        return self.wait if self.waits >= 0 else Permit(tokens)

    def leave(self) -> None:
        self.left += 1

    def settle(self, permit: Permit, outcome: Outcome | None) -> None:
        assert permit.tokens
        self.outcomes.append(outcome)

    def most_tokens(self) -> int | None:
        return 50


def limited(embedder: FakeEmbedder, limits: Books | None = None) -> Batcher:
    return Batcher(embedder, max_texts=8, max_tokens=1000, requests=2, limits=limits)


def test_texts_that_a_limit_refuses_are_asked_for_again() -> None:
    embedder = Limited(3)
    batcher = limited(embedder)
    embedded = result(submit(batcher, "one", "two"))
    batcher.close()
    assert (embedded.positions, embedded.tokens, embedded.error) == ([0, 1], 6, None)
    assert embedder.requests == [["one", "two"]] * 4


def test_a_pause_that_the_provider_asks_for_is_kept() -> None:
    embedder = Limited(1, pause=0.3)
    batcher = limited(embedder)
    began = time.monotonic()
    result(submit(batcher, "one"))
    batcher.close()
    assert time.monotonic() - began >= 0.3


def test_a_limit_that_lasts_is_the_jobs_to_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batcher_module, "RATE_LIMITED_SECONDS", 0.05)
    embedder = Limited(10**6, pause=0.02)
    batcher = limited(embedder)
    embedded = result(submit(batcher, "one"))
    batcher.close()
    assert embedded.error is not None
    assert embedded.error.code == "rate_limited"
    assert len(embedder.requests) >= 2


@pytest.mark.parametrize("seconds", [31, 86_400, 1e300, float("inf")])
def test_a_permit_that_takes_long_is_not_waited_for(seconds: float) -> None:
    books = Books(waits=1)
    books.wait = seconds
    batcher = limited(FakeEmbedder(), books)
    embedded = result(submit(batcher, *[str(number) for number in range(20)]))
    assert embedded.error is not None
    assert (embedded.error.code, embedded.error.retry_after_seconds) == ("rate_limited", seconds)
    assert (embedded.positions, len(books.asked), books.left) == ([], 1, 1)
    assert result(submit(batcher, "later")).error is None
    batcher.close()


def test_a_fault_of_the_limits_ends_no_thread() -> None:
    books = Books()
    batcher = limited(FakeEmbedder(), books)
    books.most_tokens = lambda: 1 // 0  # type: ignore[method-assign]
    for _ in range(2):
        embedded = result(submit(batcher, "one", "two"))
        assert embedded.error is not None
        assert embedded.error.code == "internal_error"
    del books.most_tokens
    assert result(submit(batcher, "three")).error is None
    batcher.close()


def test_who_withdraws_is_not_asked_for_again() -> None:
    embedder = Limited(1, pause=0.3)
    batcher = limited(embedder)
    submission = submit(batcher, "one")
    while not embedder.requests:
        time.sleep(0.01)
    submission.withdraw()
    assert submission.wait(180)
    assert result(submit(batcher, "two")).tokens == 3
    batcher.close()
    assert embedder.requests == [["one"], ["two"]]


def test_each_request_has_a_permit_and_its_outcome_is_told() -> None:
    embedder, books = Limited(1), Books(waits=2)
    batcher = limited(embedder, books)
    result(submit(batcher, "x" * 30, "y" * 30, "z" * 30))
    batcher.close()
    # It asks again until it gets a permit; no request is too large.
    assert max(books.asked) == 50
    assert [len(request) for request in embedder.requests] == [1] * 4
    refused, *others = books.outcomes
    assert refused is not None
    assert (refused.refused, refused.pause_seconds, refused.headers) == (True, 0, {"number": "0"})
    assert [outcome.billed for outcome in others if outcome] == [30] * 3


def test_a_worker_that_ends_waits_for_no_permit() -> None:
    books = Books(waits=10**9)
    batcher = limited(FakeEmbedder(), books)
    submission = submit(batcher, "one")
    while not books.asked:
        time.sleep(0.01)
    batcher.close()
    embedded = result(submission)
    assert embedded.error is not None
    assert embedded.error.code == "rate_limited"
    assert books.left


class Crashing(FakeEmbedder):
    """Gives answers that an embedder must never give."""

    def __init__(self, answer: Any) -> None:
        super().__init__()
        self.answer = answer

    def embed(self, texts: Sequence[str]) -> tuple[Vectors, int]:
        if isinstance(self.answer, BaseException):
            raise self.answer
        return cast("tuple[Vectors, int]", self.answer)


@pytest.mark.parametrize(
    "answer",
    [
        (np.ones((1, 2), dtype=np.float32), None),
        (np.ones((1, 2), dtype=np.float32), "4"),
        (np.ones((2, 2), dtype=np.float32), 4),
        (np.ones((0, 2), dtype=np.float32), 4),
        (None, 4),
        None,
        MemoryError(),
        SystemExit(),
    ],
    ids=repr,
)
def test_whatever_happens_every_submission_ends(answer: Any) -> None:
    batcher = Batcher(Crashing(answer), max_texts=8, max_tokens=99, requests=1)
    try:
        for _ in range(2):  # the request's thread continues
            embedded = result(submit(batcher, "text"))
            assert embedded.error is not None
            assert (embedded.error.code, embedded.positions) == ("internal_error", [])
    finally:
        batcher.close()


def test_a_failure_waits_for_what_is_under_way(batcher: Batcher, embedder: FakeEmbedder) -> None:
    """Of two requests one fails at once; the other one is paid for, and answered later."""
    first = threading.Event()
    answered = embedder.embed

    def embed(texts: Sequence[str]) -> tuple[Vectors, int]:
        if first.is_set():
            raise JobError("provider_unavailable")
        first.set()
        return answered(texts)

    embedder.may_answer.clear()
    embedder.embed = embed  # type: ignore[method-assign]
    submission = submit(batcher, *[str(number) for number in range(16)])
    assert first.wait(180)
    while submission.result(2).error is None:
        time.sleep(0.01)
    assert not submission.wait(0.2)
    embedder.may_answer.set()
    assert len(result(submission).positions) == 8


def test_what_arrived_is_handed_over_when_another_request_fails(
    batcher: Batcher, embedder: FakeEmbedder
) -> None:
    embedder.may_answer.clear()
    submission = submit(batcher, *[str(number) for number in range(40)])
    while len(embedder.requests) < 2:
        assert embedder.asked.wait(180)

    def embed_once(texts: Sequence[str]) -> tuple[Vectors, int]:
        raise JobError("rate_limited", retry_after_seconds=3600)

    embedder.embed = embed_once  # type: ignore[method-assign]
    embedder.may_answer.set()
    embedded = result(submission)
    assert embedded.error is not None
    assert embedded.error.code == "rate_limited"
    # Two requests were running and are paid for; the waiting texts were not requested.
    assert embedded.positions == list(range(16))
    assert embedded.tokens == sum(len(str(number)) for number in range(16))

"""Packs the texts of all running jobs into full requests, the owners of the jobs taking turns.

One small document fills no request; a hundred of them do. Jobs submit their texts and wait for
their vectors; a thread collects what is there, and a few request threads keep as many requests
in flight. A request goes when it is full, or when the first of its texts has waited long enough,
which is not at all where nobody would join it (`Company`). A text that the provider
refuses is found by halving its request; the others arrive. For a while the owner of such a text
shares no request with others, who would pay for the search with their time. What arrived is handed
over even when another request of the same job failed: it was paid for. The texts of a request that
a limit of the provider refuses wait again, and for a while the provider is asked less.
"""

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import Final

from docmill.worker.embedding.company import Company, Member
from docmill.worker.embedding.in_flight import InFlight
from docmill.worker.embedding.serving import serves
from docmill.worker.embedding.sharing import Sharing
from docmill.worker.embedding.submission import Item, Submission
from docmill.worker.embedding.traced import TracedRequest, UntracedRequest, traced_request
from docmill.worker.embedding.turns import Turns
from docmill.worker.errors import JobError
from docmill.worker.log import get_logger
from docmill.worker.ports import (
    Embedder,
    Limits,
    Outcome,
    Permit,
    TellsHeaders,
    Vector,
    Vectors,
)

log = get_logger(__name__)

#: More tokens than a provider takes in one text: 8,191 of OpenAI's.
MAX_TEXT_TOKENS: Final = 8191
#: A limit of the provider is waited for so long, then the jobs are given back: they say why.
RATE_LIMITED_SECONDS: Final = 30.0
#: Whoever waits for a limit asks for a permit at least this often; otherwise others go first.
ASK_AGAIN_SECONDS: Final = 1.0
#: After a refusal that names no pause.
PAUSE_SECONDS: Final = 1.0
#: So many refused texts of a request, and none accepted: it may be the provider, not the texts.
SUSPICIOUS_TEXTS: Final = 4
#: How long an owner's texts travel apart from others' after one of them was refused.
APART_SECONDS: Final = 300


class NoLimits:
    """Of a provider that tells none: a refusal is followed by a pause, and nothing else counts."""

    def __init__(self) -> None:
        self._paused_until = 0.0

    def ask(self, tokens: int) -> Permit | float:
        """A permit, but for a pause."""
        wait = self._paused_until - time.monotonic()
        return wait if wait > 0 else Permit(tokens)

    def leave(self) -> None:
        """Nobody waits here."""

    def settle(self, permit: Permit, outcome: Outcome | None) -> None:  # noqa: ARG002 -- Limits
        """Note a pause that is asked for."""
        if outcome is not None and outcome.refused:
            pause = PAUSE_SECONDS if outcome.pause_seconds is None else outcome.pause_seconds
            self._paused_until = time.monotonic() + pause

    def most_tokens(self) -> int | None:
        """No limit is known."""


@dataclass
class _Search:
    """What is known of a request while its refused texts are looked for."""

    accepted: bool = False  #: any text of it
    refused: int = 0
    provider_serves: bool | None = None


class Batcher:
    """Embeds for many jobs at once. Thread-safe."""

    def __init__(
        self,
        embedder: Embedder,
        *,
        max_texts: int,
        max_tokens: int,
        requests: int,
        company: Company | None = None,
        limits: Limits | None = None,
        provider: str = "",
    ) -> None:
        """Begin to work, with so many requests in flight at most.

        `company` is asked whether a text is to wait for others, `limits` before each request.
        `provider` is whom traces name.
        """
        self._embedder = embedder
        self._provider = provider
        self._max_tokens = max_tokens
        self._limits = limits or NoLimits()
        #: In each request's thread: the headers of the latest answer.
        self._heard = threading.local()
        if isinstance(embedder, TellsHeaders):
            embedder.on_headers = self._hear
        self._company = company or Company()
        self._turns = Turns(max_texts=max_texts, max_tokens=max_tokens)
        self._sharing = Sharing(self._wait_again)
        #: Until when the texts of an owner travel apart.
        self._apart: dict[str, float] = {}
        self._changed = threading.Condition()
        self._company.on_left = self._look_again
        self._closing = threading.Event()
        self._in_flight = InFlight(requests)
        self._is_in_line = False  # for a permit
        self._requests = ThreadPoolExecutor(requests, thread_name_prefix="embed")
        self._thread = threading.Thread(target=self._loop, name="batcher", daemon=True)
        self._thread.start()

    def submit(
        self,
        owner: str,
        texts: Sequence[str],
        token_counts: Sequence[int],
        *,
        member: Member | None = None,
        alone: bool = False,
        is_shared: bool = False,
    ) -> Submission:
        """Ask for the vectors of some texts.

        However many texts of other owners wait, the next request takes some of these, or the next
        but few where many owners wait. `member` is the run that they are of. `alone`: each in a
        request of its own, because it is likely to be refused. `is_shared`: a text that this owner
        has under way already is not asked for again; then call `release` once this is staged.
        """
        submission = Submission(texts, token_counts, changed=self._changed, member=member)
        if not texts:
            return submission
        items = [
            _item(owner, submission, position, alone, is_shared) for position in range(len(texts))
        ]
        if member is not None:
            self._company.brought(member)
        with self._changed:
            submission.on_left = self._sharing.left
            asked = [item for item in items if not (item.is_shared and self._sharing.joins(item))]
            if asked:
                self._turns.add(asked)
            self._changed.notify()
        return submission

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Around a look for texts that are staged, and `submit` for those that are not.

        A text is under way or staged: what is released meanwhile is kept until the end of this.
        """
        look = object()
        with self._changed:
            self._sharing.begin_look(look)
        try:
            yield
        finally:
            with self._changed:
                self._sharing.end_look(look)
                self._changed.notify()

    def release(self, submission: Submission) -> None:
        """What has come of a submission is staged, or nobody will stage it. Repeatable."""
        with self._changed:
            self._sharing.release(submission)
            self._changed.notify()

    def serves(self) -> bool:
        """Whether the provider embeds a harmless text now."""
        return serves(self._embedder)

    def close(self) -> None:
        """Take no more texts and wait for the requests in flight."""
        with self._changed:
            self._closing.set()
            self._changed.notify()
        self._thread.join()
        self._requests.shutdown(wait=True, cancel_futures=True)

    def _wait_again(self, items: Sequence[Item]) -> None:
        """Texts that followed others are to be asked for after all; called with the lock."""
        if self._closing.is_set():
            # Perhaps nobody sends requests any more.
            for item in items:
                item.submission.ask()
                item.submission.fail(JobError("provider_unavailable", "the worker ends"))
        else:
            self._turns.put_back(items)
            self._changed.notify()

    def _look_again(self) -> None:
        with self._changed:
            self._changed.notify()

    def _loop(self) -> None:
        while self._wait_until_due():
            try:
                self._ask_for_next()
            except Exception as error:
                # Without this thread nobody would ask for anything any more.
                log.exception("batcher_crashed")
                self._give_up(JobError("internal_error", type(error).__name__))
        self._leave_line()

    def _ask_for_next(self) -> None:
        """Send the next request, or wait for a permit, but not for one that takes long."""
        asked = self._limits.ask(self._tokens_of_next())
        self._is_in_line = not isinstance(asked, Permit)
        if isinstance(asked, Permit):
            self._send(asked)
        elif asked > RATE_LIMITED_SECONDS:
            self._give_up(JobError("rate_limited", "a long wait", retry_after_seconds=asked))
        elif self._closing.wait(min(asked, ASK_AGAIN_SECONDS)):
            self._give_up(JobError("rate_limited", "the worker ends"))
        if not self._turns.texts:
            self._leave_line()

    def _leave_line(self) -> None:
        if self._is_in_line:
            self._is_in_line = False
            self._limits.leave()

    def _wait_until_due(self) -> bool:
        """Return when a request is to be made. False: closed, and nothing is left."""
        with self._changed:
            while True:
                if self._closing.is_set() and not self._turns.texts:
                    return False
                # While no request is free the texts gather, and requests get full.
                may_ask = self._turns.texts and self._in_flight.has_room()
                wait = self._seconds_until_due() if may_ask else None
                if wait is not None and wait <= 0:
                    return True
                self._changed.wait(wait)

    def _tokens_of_next(self) -> int:
        with self._changed:
            most = self._limits.most_tokens() or self._max_tokens
            return max(1, min(self._turns.tokens, self._max_tokens, most))

    def _send(self, permit: Permit) -> None:
        with self._changed:
            batch = self._turns.take(apart=self._those_apart(), max_tokens=permit.tokens)
            for item in batch:
                item.submission.ask()
            self._in_flight.requests += bool(batch)
        if batch:
            self._requests.submit(self._request_then_free, batch, permit)
        else:
            self._limits.settle(permit, None)

    def _give_up(self, error: JobError) -> None:
        """All texts that wait fail with an error: nobody waits for them in vain."""
        with self._changed:
            while self._turns.texts:
                batch = self._turns.take()
                for item in batch:
                    item.submission.ask()
                self._fail(batch, error)

    def _seconds_until_due(self) -> float:
        if self._closing.is_set() or self._turns.is_full():
            return 0
        return min(map(self._due_at, self._turns.heads())) - time.monotonic()

    def _due_at(self, item: Item) -> float:
        submission = item.submission
        if item.alone or submission.is_withdrawn() or submission.member is None:
            return 0
        return self._company.due_at(submission.member, submission.submitted_at)

    def _those_apart(self) -> Sequence[str]:
        now = time.monotonic()
        self._apart = {owner: until for owner, until in self._apart.items() if until > now}
        return list(self._apart)

    def _request_then_free(self, batch: list[Item], permit: Permit) -> None:
        try:
            self._request(batch, permit)
        finally:
            with self._changed:
                self._in_flight.requests -= 1
                self._changed.notify()

    def _request(self, batch: list[Item], permit: Permit) -> None:
        # Whatever happens here, every text of the batch gets its vector, a refusal or an error, or
        # waits again: jobs wait for it.
        self._heard.headers = {}
        began = time.monotonic()
        billed, error = self._ask(batch, _Search())
        seconds = time.monotonic() - began
        outcome = Outcome(billed, self._heard.headers, seconds)
        if error is not None and error.code == "rate_limited":
            outcome = replace(outcome, refused=True, pause_seconds=error.retry_after_seconds)
        self._limits.settle(permit, outcome)
        with self._changed:
            if error is None:
                self._in_flight.answered(len(batch), seconds)
            elif error.code in ("rate_limited", "provider_unavailable"):
                self._in_flight.too_much()

    def _hear(self, headers: Mapping[str, str]) -> None:
        self._heard.headers = headers

    def _ask(self, batch: list[Item], search: _Search) -> tuple[int | None, JobError | None]:
        """Ask for a batch, see to its texts; the tokens that were billed, and what went wrong."""
        try:
            with self._traced(batch) as request:
                vectors, tokens = self._embedder.embed([item.text for item in batch])
                request.answered(tokens)
            shares = _shares(batch, vectors, tokens)
        except JobError as error:
            if error.code == "embedding_rejected":
                self._find_refused(batch, error, search)
            elif error.code == "rate_limited":
                self._ask_again_later(batch, error)
            else:
                self._fail(batch, error)
            return None, error
        except BaseException as error:
            log.exception("embedding_crashed")
            crashed = JobError("internal_error", type(error).__name__)
            self._fail(batch, crashed)
            return None, crashed
        search.accepted = True
        with self._changed:
            for item, vector, billed in shares:
                item.submission.deliver(item.position, vector, billed)
                self._sharing.delivered(item, vector)
        return tokens, None

    def _traced(self, batch: list[Item]) -> AbstractContextManager[TracedRequest | UntracedRequest]:
        return traced_request(batch, provider=self._provider, model=self._embedder.model)

    def _ask_again_later(self, batch: list[Item], error: JobError) -> None:
        """Put texts back that a limit refused; when that goes on for long, they fail with it."""
        now = time.monotonic()
        is_long = (error.retry_after_seconds or 0) > RATE_LIMITED_SECONDS
        failed = []
        back = []
        with self._changed:
            for item in batch:
                submission = item.submission
                submission.refused_at = submission.refused_at or now
                if is_long or now - submission.refused_at > RATE_LIMITED_SECONDS:
                    failed.append(item)
                elif submission.put_back():
                    back.append(item)
            self._turns.put_back(back)
        self._fail(failed, error)

    def _find_refused(self, batch: list[Item], error: JobError, search: _Search) -> None:
        if len(batch) == 1:
            search.refused += 1
            self._refuse(batch[0])
            return
        middle = len(batch) // 2
        for half in (batch[:middle], batch[middle:]):
            if self._refuses_everything(search):
                self._fail(half, error)
            else:
                self._ask(half, search)

    def _refuses_everything(self, search: _Search) -> bool:
        """Whether the provider takes no text at all: then no text is to blame, and none is sought.

        A request of a thousand texts would otherwise be asked for two thousand times.
        """
        if search.accepted or search.refused < SUSPICIOUS_TEXTS:
            return False
        if search.provider_serves is None:
            search.provider_serves = self.serves()
        return not search.provider_serves

    def _refuse(self, item: Item) -> None:
        with self._changed:
            self._apart[item.owner] = time.monotonic() + APART_SECONDS
            item.submission.refuse(item.position)
            self._sharing.refused(item)

    def _fail(self, batch: list[Item], error: JobError) -> None:
        with self._changed:
            for item in batch:
                item.submission.fail(error)


def _item(owner: str, submission: Submission, position: int, alone: bool, is_shared: bool) -> Item:
    alone = alone or submission.token_counts[position] > MAX_TEXT_TOKENS
    return Item(owner, submission, position, alone, is_shared=is_shared and not alone)


def _shares(batch: list[Item], vectors: Vectors, tokens: int) -> list[tuple[Item, Vector, float]]:
    """Each text with its vector and its share of the tokens. Raises ValueError if they do not pair.

    Nothing is delivered before all of it is known to fit.
    """
    estimated = sum(item.tokens for item in batch) or 1
    return [
        (item, vector, tokens * item.tokens / estimated)
        for item, vector in zip(batch, vectors, strict=True)
    ]

"""Packs the texts of all running jobs into full requests, the owners of the jobs taking turns.

One small document fills no request; a hundred of them do. Jobs submit their texts and wait for
their vectors; a thread collects what is there, and a few request threads keep as many requests
in flight. A text that the provider refuses is found by halving its request; the others arrive. For
a while the owner of such a text shares no request with others, who would pay for the search with
their time. What arrived is handed over even when another request of the same job failed: it was
paid for.
"""

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import numpy as np

from docmill.worker.embedding.serving import serves
from docmill.worker.errors import JobError
from docmill.worker.log import get_logger
from docmill.worker.ports import Embedder, Vector, Vectors

log = get_logger(__name__)

#: How long the first text of a request waits for company. Measured in a model of 2,000 documents
#: of one chunk: 5 ms need 1,336 requests, 50 ms the ideal 8, 2 s no fewer but more time.
LINGER_SECONDS: Final = 0.05
#: So many refused texts of a request, and none accepted: it may be the provider, not the texts.
SUSPICIOUS_TEXTS: Final = 4
#: How long an owner's texts travel apart from others' after one of them was refused.
APART_SECONDS: Final = 300


@dataclass(frozen=True)
class EmbeddedBatch:
    """What came of a submission: vectors of the texts at these positions, in order.

    Without an error these and the refused ones are all of its texts. With one they are what arrived
    all the same.
    """

    positions: Sequence[int]
    vectors: Vectors  #: shape (len(positions), dimensions)
    tokens: int  #: its share of the tokens that were billed
    refused: Sequence[int]  #: positions of texts that the provider takes from nobody
    error: JobError | None


class Submission:
    """Texts of one job on their way through requests. Made by `Batcher.submit`."""

    def __init__(
        self, texts: Sequence[str], token_counts: Sequence[int], *, changed: threading.Condition
    ) -> None:
        self.texts = texts
        self.token_counts = token_counts
        self._changed = changed
        self._vectors: dict[int, Vector] = {}
        self._refused: list[int] = []
        self._billed = 0.0
        self._error: JobError | None = None
        self._queued = len(texts)  # texts that no request has taken yet
        self._asked = 0  # texts of requests that are under way
        self._settled = threading.Event()
        self._settle_if_over()

    def wait(self, seconds: float) -> bool:
        """Wait until every text has arrived, failed or been withdrawn. False: not yet."""
        return self._settled.wait(seconds)

    def withdraw(self) -> None:
        """Leave the texts that no request has taken out of later ones. Repeatable."""
        with self._changed:
            self._leave_queue()

    def result(self, dimensions: int) -> EmbeddedBatch:
        """What has come so far; all there will be once `wait` has returned True."""
        with self._changed:
            positions = sorted(self._vectors)
            vectors = np.empty((len(positions), dimensions), dtype=np.float32)
            for row, position in enumerate(positions):
                vectors[row] = self._vectors[position]
            return EmbeddedBatch(
                positions, vectors, round(self._billed), sorted(self._refused), self._error
            )

    # The rest is for the batcher, which holds the lock.

    def is_withdrawn(self) -> bool:
        """Whether its queued texts are to be passed over."""
        return not self._queued

    def ask(self) -> None:
        """One of its texts is taken into a request."""
        self._queued -= 1
        self._asked += 1

    def deliver(self, position: int, vector: Vector, billed: float) -> None:
        """A text's vector has arrived."""
        self._vectors[position] = vector
        self._billed += billed
        self._asked -= 1
        self._settle_if_over()

    def refuse(self, position: int) -> None:
        """The provider refuses a text that was alone in its request."""
        self._refused.append(position)
        self._asked -= 1
        self._settle_if_over()

    def fail(self, error: JobError) -> None:
        """A text's request has failed: those that wait need not be asked for."""
        self._error = self._error or error
        self._asked -= 1
        self._leave_queue()

    def _leave_queue(self) -> None:
        self._queued = 0
        self._settle_if_over()

    def _settle_if_over(self) -> None:
        if not self._queued and not self._asked:
            self._settled.set()


@dataclass(frozen=True)
class _Item:
    owner: str
    submission: Submission
    position: int
    alone: bool

    @property
    def text(self) -> str:
        return self.submission.texts[self.position]

    @property
    def tokens(self) -> int:
        return self.submission.token_counts[self.position]


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
        linger_seconds: float = LINGER_SECONDS,
    ) -> None:
        self._embedder = embedder
        self._max_texts = max_texts
        self._max_tokens = max_tokens
        self._linger = linger_seconds
        #: Of each owner whose texts wait, in the order of their turns.
        self._queues: OrderedDict[str, deque[_Item]] = OrderedDict()
        self._queued = 0
        self._queued_tokens = 0
        #: Until when the texts of an owner travel apart.
        self._apart: dict[str, float] = {}
        self._changed = threading.Condition()
        self._closing = False
        self._free = threading.Semaphore(requests)
        self._requests = ThreadPoolExecutor(requests, thread_name_prefix="embed")
        self._thread = threading.Thread(target=self._loop, name="batcher", daemon=True)
        self._thread.start()

    def submit(
        self,
        owner: str,
        texts: Sequence[str],
        token_counts: Sequence[int],
        *,
        alone: bool = False,
    ) -> Submission:
        """Ask for the vectors of some texts.

        However many texts of other owners wait, the next request takes some of these. `alone`: each
        in a request of its own, because it is likely to be refused.
        """
        submission = Submission(texts, token_counts, changed=self._changed)
        if not texts:
            return submission
        with self._changed:
            queue = self._queues.setdefault(owner, deque())
            queue.extend(
                _Item(owner, submission, position, alone) for position in range(len(texts))
            )
            self._queued += len(texts)
            self._queued_tokens += sum(token_counts)
            self._changed.notify()
        return submission

    def serves(self) -> bool:
        """Whether the provider embeds a harmless text now."""
        return serves(self._embedder)

    def close(self) -> None:
        """Take no more texts and wait for the requests in flight."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()
        self._requests.shutdown(wait=True, cancel_futures=True)

    def _loop(self) -> None:
        while True:
            # A request slot first: while none is free the queue fills up, and requests get full.
            self._free.acquire()
            batch = self._collect()
            if batch is None:
                return
            if batch:
                self._requests.submit(self._request_then_free, batch)
            else:
                self._free.release()

    def _collect(self) -> list[_Item] | None:
        # None: closed, and nothing is left.
        with self._changed:
            while not self._queued and not self._closing:
                self._changed.wait()
            if not self._queued:
                return None
            deadline = time.monotonic() + self._linger
            while not self._is_full() and not self._closing:
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    break
                self._changed.wait(remaining)
            return self._take()

    def _is_full(self) -> bool:
        return self._queued >= self._max_texts or self._queued_tokens >= self._max_tokens

    def _take(self) -> list[_Item]:
        # May be empty: the texts of a withdrawn submission are passed over.
        batch: list[_Item] = []
        tokens = 0
        owners = self._owners_of_next()
        while owners and len(batch) < self._max_texts:
            head = self._queues[owners[0]][0]
            if batch and (head.alone or tokens + head.tokens > self._max_tokens):
                break
            self._leave_queue(head)
            if head.owner in self._queues:
                owners.rotate(-1)
            else:
                owners.popleft()
            if head.submission.is_withdrawn():
                continue
            head.submission.ask()
            batch.append(head)
            tokens += head.tokens
            if head.alone:
                break
        return batch

    def _owners_of_next(self) -> deque[str]:
        """Those whose texts may share the next request, in the order of their turns."""
        now = time.monotonic()
        self._apart = {owner: until for owner, until in self._apart.items() if until > now}
        first = next(iter(self._queues), None)
        if first in self._apart:
            return deque([first])
        return deque(owner for owner in self._queues if owner not in self._apart)

    def _leave_queue(self, head: _Item) -> None:
        queue = self._queues[head.owner]
        queue.popleft()
        self._queues.move_to_end(head.owner)
        if not queue:
            del self._queues[head.owner]
        self._queued -= 1
        self._queued_tokens -= head.tokens

    def _request_then_free(self, batch: list[_Item]) -> None:
        try:
            self._request(batch)
        finally:
            self._free.release()

    def _request(self, batch: list[_Item]) -> None:
        # Whatever happens here, every text of the batch gets its vector, a refusal or an error:
        # jobs wait for it.
        self._ask(batch, _Search())

    def _ask(self, batch: list[_Item], search: _Search) -> None:
        try:
            vectors, tokens = self._embedder.embed([item.text for item in batch])
            shares = _shares(batch, vectors, tokens)
        except JobError as error:
            if error.code == "embedding_rejected":
                self._find_refused(batch, error, search)
            else:
                self._fail(batch, error)
        except BaseException as error:
            log.exception("embedding_crashed")
            self._fail(batch, JobError("internal_error", type(error).__name__))
        else:
            search.accepted = True
            with self._changed:
                for item, vector, billed in shares:
                    item.submission.deliver(item.position, vector, billed)

    def _find_refused(self, batch: list[_Item], error: JobError, search: _Search) -> None:
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

    def _refuse(self, item: _Item) -> None:
        with self._changed:
            self._apart[item.owner] = time.monotonic() + APART_SECONDS
            item.submission.refuse(item.position)

    def _fail(self, batch: list[_Item], error: JobError) -> None:
        with self._changed:
            for item in batch:
                item.submission.fail(error)


def _shares(batch: list[_Item], vectors: Vectors, tokens: int) -> list[tuple[_Item, Vector, float]]:
    """Each text with its vector and its share of the tokens. Raises ValueError if they do not pair.

    Nothing is delivered before all of it is known to fit.
    """
    estimated = sum(item.tokens for item in batch) or 1
    return [
        (item, vector, tokens * item.tokens / estimated)
        for item, vector in zip(batch, vectors, strict=True)
    ]

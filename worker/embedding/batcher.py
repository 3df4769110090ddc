"""Packs the texts of all running jobs into full requests, the owners of the jobs taking turns.

One small document fills no request; a hundred of them do. Jobs submit their texts and wait for
their vectors; a thread collects what is there, and a few request threads keep as many requests
in flight. A text that the provider refuses is found by halving its request and fails alone.
"""

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Sequence
from concurrent.futures import Future, InvalidStateError, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from docmill.worker.errors import JobError
from docmill.worker.ports import Embedder, Vectors

#: How long the first text of a request waits for company. Measured in a model of 2,000 documents
#: of one chunk: 5 ms need 1,336 requests, 50 ms the ideal 8, 2 s no fewer but more time.
LINGER_SECONDS: Final = 0.05


@dataclass(frozen=True)
class EmbeddedBatch:
    """Vectors of one submission, in its order, and its share of the tokens that were billed."""

    vectors: Vectors
    tokens: int


@dataclass(eq=False)
class _Submission:
    texts: Sequence[str]
    token_counts: Sequence[int]
    future: "Future[EmbeddedBatch]" = field(default_factory=Future)
    vectors: list["np.ndarray[tuple[int], np.dtype[np.float32]] | None"] = field(
        default_factory=list
    )
    billed: float = 0.0
    missing: int = 0


@dataclass(frozen=True)
class _Item:
    submission: _Submission
    position: int

    @property
    def text(self) -> str:
        return self.submission.texts[self.position]

    @property
    def tokens(self) -> int:
        return self.submission.token_counts[self.position]


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
        self._changed = threading.Condition()
        self._closing = False
        self._free = threading.Semaphore(requests)
        self._requests = ThreadPoolExecutor(requests, thread_name_prefix="embed")
        self._thread = threading.Thread(target=self._loop, name="batcher", daemon=True)
        self._thread.start()

    def submit(
        self, owner: str, texts: Sequence[str], token_counts: Sequence[int]
    ) -> "Future[EmbeddedBatch]":
        """Ask for the vectors of some texts. The future raises JobError.

        However many texts of other owners wait, the next request takes some of these. A cancelled
        future's texts are left out of requests that have not begun.
        """
        submission = _Submission(texts, token_counts)
        submission.vectors = [None] * len(texts)
        submission.missing = len(texts)
        if not texts:
            empty = np.empty((0, self._embedder.dimensions), dtype=np.float32)
            submission.future.set_result(EmbeddedBatch(empty, 0))
            return submission.future
        with self._changed:
            queue = self._queues.setdefault(owner, deque())
            queue.extend(_Item(submission, position) for position in range(len(texts)))
            self._queued += len(texts)
            self._queued_tokens += sum(token_counts)
            self._changed.notify()
        return submission.future

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
        # May be empty: the texts of a cancelled submission are passed over.
        batch: list[_Item] = []
        tokens = 0
        while self._queued and len(batch) < self._max_texts:
            owner, queue = next(iter(self._queues.items()))
            if batch and tokens + queue[0].tokens > self._max_tokens:
                break
            item = queue.popleft()
            self._queues.move_to_end(owner)
            if not queue:
                del self._queues[owner]
            self._queued -= 1
            self._queued_tokens -= item.tokens
            if not item.submission.future.done():
                batch.append(item)
                tokens += item.tokens
        return batch

    def _request_then_free(self, batch: list[_Item]) -> None:
        try:
            self._request(batch)
        finally:
            self._free.release()

    def _request(self, batch: list[_Item]) -> None:
        try:
            vectors, tokens = self._embedder.embed([item.text for item in batch])
        except JobError as error:
            if error.code == "embedding_rejected" and len(batch) > 1:
                middle = len(batch) // 2
                self._request(batch[:middle])
                self._request(batch[middle:])
            else:
                self._fail(batch, error)
        except Exception as error:
            self._fail(batch, JobError("internal_error", type(error).__name__))
            raise
        else:
            self._deliver(batch, vectors, tokens)

    def _deliver(self, batch: list[_Item], vectors: Vectors, tokens: int) -> None:
        estimated = sum(item.tokens for item in batch) or 1
        with self._changed:
            for item, vector in zip(batch, vectors, strict=True):
                submission = item.submission
                submission.vectors[item.position] = vector
                submission.billed += tokens * item.tokens / estimated
                submission.missing -= 1
            done = {item.submission for item in batch if item.submission.missing == 0}
        for submission in done:
            stacked = np.stack([vector for vector in submission.vectors if vector is not None])
            with suppress(InvalidStateError):  # cancelled meanwhile: nobody waits for it
                submission.future.set_result(EmbeddedBatch(stacked, round(submission.billed)))

    def _fail(self, batch: list[_Item], error: JobError) -> None:
        for submission in {item.submission for item in batch}:
            with suppress(InvalidStateError):  # cancelled, or failed by another request
                submission.future.set_exception(error)

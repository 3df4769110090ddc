"""Texts of one job on their way through requests, and what comes of them."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from docmill.worker import tracing
from docmill.worker.embedding.company import Member
from docmill.worker.errors import JobError
from docmill.worker.ports import Vector, Vectors


@dataclass(frozen=True)
class EmbeddedBatch:
    """What came of a submission: vectors of the texts at these positions, in order.

    Without an error these and the refused ones are all of its texts. With one they are what arrived
    all the same.
    """

    positions: Sequence[int]
    vectors: Vectors  #: shape (len(positions), dimensions)
    tokens: int  #: its share of the tokens that were billed
    shared: int  #: how many of them another submission has paid for
    refused: Sequence[int]  #: positions of texts that the provider takes from nobody
    error: JobError | None


class Submission:
    """Texts of one job on their way through requests. Made by `Batcher.submit`."""

    def __init__(
        self,
        texts: Sequence[str],
        token_counts: Sequence[int],
        *,
        changed: threading.Condition,
        member: Member | None = None,
    ) -> None:
        self.texts = texts
        self.token_counts = token_counts
        self.member = member
        self.trace = tracing.current()  #: of the run that submits it
        self.submitted_at = time.monotonic()
        self.refused_at: float | None = None  #: first, because of a limit, since anything came
        self._changed = changed
        self._vectors: dict[int, Vector] = {}
        self._refused: list[int] = []
        self._billed = 0.0
        self._shared = 0
        #: Called with the lock when texts that wait are not asked for.
        self.on_left: Callable[[Submission], None] = lambda _submission: None
        self._error: JobError | None = None
        self._queued = len(texts)  # texts that no request has taken yet
        self._asked = 0  # texts of requests that are under way
        self._is_withdrawn = False
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
                positions,
                vectors,
                round(self._billed),
                self._shared,
                sorted(self._refused),
                self._error,
            )

    # The rest is for the batcher, which holds the lock.

    def is_withdrawn(self) -> bool:
        """Whether its queued texts are to be passed over."""
        return self._is_withdrawn

    def ask(self) -> None:
        """One of its texts is taken into a request."""
        self._queued -= 1
        self._asked += 1

    def put_back(self) -> bool:
        """A text's request came to nothing: it waits again. False: nobody wants it any more."""
        self._asked -= 1
        if self._is_withdrawn:
            self._settle_if_over()
            return False
        self._queued += 1
        return True

    def deliver(self, position: int, vector: Vector, billed: float) -> None:
        """A text's vector has arrived."""
        self.refused_at = None
        self._vectors[position] = vector
        self._billed += billed
        self._asked -= 1
        self._settle_if_over()

    def share(self, position: int, vector: Vector) -> None:
        """A text's vector has arrived, for another submission that has the same text."""
        self._shared += 1
        self.deliver(position, vector, 0)

    def vector(self, position: int) -> "Vector | None":
        """What has arrived for a text; None: nothing yet."""
        return self._vectors.get(position)

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
        self._is_withdrawn = True
        self._queued = 0
        self._settle_if_over()
        self.on_left(self)

    def _settle_if_over(self) -> None:
        if not self._queued and not self._asked:
            self._settled.set()


@dataclass(frozen=True)
class Item:
    """One text of a submission."""

    owner: str
    submission: Submission
    position: int
    alone: bool  #: in a request of its own
    is_shared: bool = False  #: with equal texts of the same owner

    @property
    def text(self) -> str:
        """What is embedded."""
        return self.submission.texts[self.position]

    @property
    def tokens(self) -> int:
        """How many tokens it has, as they were counted here."""
        return self.submission.token_counts[self.position]

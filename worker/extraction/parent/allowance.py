"""How much one document may use in all, however many children read it."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from docmill.worker.errors import JobError


class Allowance:
    """An amount that several threads use up together."""

    def __init__(self, amount: float, *, code: str, detail: str) -> None:
        """`code` and `detail` are those of the error when it is used up."""
        self._amount = self._left = amount
        self._code = code
        self._detail = detail
        self._lock = threading.Lock()

    @property
    def left(self) -> float:
        """The remaining amount; never below zero."""
        return max(0.0, self._left)

    @property
    def drawn(self) -> float:
        """The used amount."""
        return self._amount - self._left

    def draw(self, amount: float) -> None:
        """Use some. Raises JobError if that was more than was left."""
        self.note(amount)
        self.require()

    def note(self, amount: float) -> None:
        """Count an amount that is already used, even if it is more than was left."""
        with self._lock:
            self._left -= amount

    def require(self) -> None:
        """Raise JobError if more was used than there was."""
        if self._left < 0:
            raise JobError(self._code, self._detail)


class TimeAllowance(Allowance):
    """Seconds that several threads wait. Time in which they wait at once counts only once."""

    def __init__(self, seconds: float, *, code: str, detail: str) -> None:
        super().__init__(seconds, code=code, detail=detail)
        self._waiting = 0
        self._counted_until = 0.0

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Count the time while this is open. Raises JobError if it was more than was left."""
        with self._lock:
            if self._waiting == 0:
                self._counted_until = time.monotonic()
            self._waiting += 1
        try:
            yield
        finally:
            with self._lock:
                self._waiting -= 1
                now = time.monotonic()
                uncounted, self._counted_until = now - self._counted_until, now
        self.draw(uncounted)

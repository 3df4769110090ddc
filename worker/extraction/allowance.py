"""What one document may take in all, however many children read it."""

import threading

from worker.errors import JobError


class Allowance:
    """An amount that several threads draw on."""

    def __init__(self, amount: float, *, code: str, detail: str) -> None:
        """`code` and `detail` say what it means that it is used up."""
        self._left = amount
        self._code = code
        self._detail = detail
        self._lock = threading.Lock()

    @property
    def left(self) -> float:
        """What is left; never below zero."""
        return max(0.0, self._left)

    def draw(self, amount: float) -> None:
        """Take some. Raises JobError when that was more than was left."""
        with self._lock:
            self._left -= amount
            if self._left < 0:
                raise JobError(self._code, self._detail)

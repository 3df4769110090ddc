"""How many requests are under way at once: one more after success, half after too much.

Additive increase and multiplicative decrease, as TCP does it (Chiu and Jain, 1989).
"""

import time
from collections.abc import Callable
from typing import Final

#: One cut for all that were sent before it.
_CUT_PAUSE_SECONDS: Final = 1.0
#: A provider is slow when a request takes so many times as long as one of its size usually does,
_SLOW: Final = 3.0
#: and this much longer.
_SLOW_SECONDS: Final = 1.0
#: Weight of the latest request in what is usual.
_WEIGHT: Final = 0.1


class InFlight:
    """A number of requests between 1 and `most`. Not thread-safe."""

    def __init__(self, most: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._clock = clock
        self._allowed = float(most)
        self._cut_at = -_CUT_PAUSE_SECONDS
        #: Seconds that requests usually take, by the number of bits of their texts' number.
        self._usual: dict[int, float] = {}
        self.requests = 0

    @property
    def allowed(self) -> int:
        """How many may be under way."""
        return int(self._allowed)

    def has_room(self) -> bool:
        """Whether one more may begin."""
        return self.requests < self.allowed

    def begin(self) -> None:
        """One more begins."""
        self.requests += 1

    def end(self) -> None:
        """One has ended."""
        self.requests -= 1

    def answered(self, texts: int, seconds: float) -> None:
        """A request was answered after so long."""
        size = texts.bit_length()
        usual = self._usual.setdefault(size, seconds)
        self._usual[size] = usual + _WEIGHT * (seconds - usual)
        if seconds > _SLOW * usual and seconds > usual + _SLOW_SECONDS:
            self.too_much()
        else:
            self._allowed = min(self._most, self._allowed + 1 / self._allowed)

    def too_much(self) -> None:
        """A request was refused because of a limit, or not answered at all."""
        now = self._clock()
        if now - self._cut_at >= _CUT_PAUSE_SECONDS:
            self._cut_at = now
            self._allowed = max(1.0, self._allowed / 2)

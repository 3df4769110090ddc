"""Gives children that were demoted a small share of the cores while other children keep coming.

The kernel runs a demoted child only when no other wants the core, so a stream of small documents
would hold it up for ever. Its priority cannot be raised again: that takes a privilege which nobody
here has. So the others are stopped for a short time instead, if a demoted child has got nearly
nothing though it wanted to run. This costs the others a twentieth of the time at most.
"""

import os
import signal
import time
from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet
from contextlib import suppress
from pathlib import Path

#: How long demoted children are watched before others are stopped for them.
WATCH_SECONDS = 5.0
#: How long the others are then stopped.
TURN_SECONDS = 0.25
#: A child that got this share of a core needs no turn.
ENOUGH = 0.05


class Turns:
    """Whose turn it is. Is told which keepers run, and is called again and again meanwhile."""

    def __init__(
        self,
        *,
        family: Callable[[int], list[int]],
        cpu_seconds: Callable[[int], float],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """`family` tells the processes under a keeper, `cpu_seconds` what one has used."""
        self._family = family
        self._cpu_seconds = cpu_seconds
        self._now = now
        self._began = 0.0  # of the turn
        self._stopped: list[int] = []
        #: By keeper: since when a demoted child is watched, and what it had used by then.
        self._watched: dict[int, tuple[float, float]] = {}

    @property
    def is_on(self) -> bool:
        """Whether others are stopped now; then `look` must be called again after TURN_SECONDS."""
        return bool(self._stopped)

    def look(self, demoted: AbstractSet[int], others: AbstractSet[int]) -> None:
        """Begin or end a turn. Both are keepers: of demoted children, and of the others."""
        now = self._now()
        if self._stopped:
            if now - self._began < TURN_SECONDS:
                return
            self.end()
            self._watched = {}
        for keeper in self._watched.keys() - demoted:
            del self._watched[keeper]
        over = [
            keeper for keeper, (since, _) in self._watched.items() if now - since >= WATCH_SECONDS
        ]
        if others and any(self._is_starved(keeper, now) for keeper in over):
            self._stop(others)
            self._began = now
        for keeper in over + list(demoted - self._watched.keys()):
            self._watched[keeper] = (now, self._used(keeper))

    def end(self) -> None:
        """Let all who were stopped go on."""
        for pid in self._stopped:
            _signal(pid, signal.SIGCONT)
        self._stopped = []

    def _is_starved(self, keeper: int, now: float) -> bool:
        since, before = self._watched[keeper]
        got = self._used(keeper) - before
        return got < ENOUGH * (now - since) and any(map(wants_a_core, self._family(keeper)))

    def _used(self, keeper: int) -> float:
        return sum(map(self._cpu_seconds, self._family(keeper)))

    def _stop(self, keepers: Iterable[int]) -> None:
        for keeper in keepers:
            self._stopped += [pid for pid in self._family(keeper) if _signal(pid, signal.SIGSTOP)]


def wants_a_core(pid: int) -> bool:
    """Whether a thread of a process runs, or could."""
    with suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            if (thread / "stat").read_text().rpartition(")")[2].split()[0] == "R":
                return True
    return False


def _signal(pid: int, number: signal.Signals) -> bool:
    with suppress(OSError):  # it has ended
        os.kill(pid, number)
        return True
    return False

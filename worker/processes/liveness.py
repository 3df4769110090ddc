"""A worker that takes no hints while hints wait is of no use to anybody: it is to end.

Its connection to Redis may be half open, or the thread that takes messages may be stuck; whoever
watches over the process starts a new one.
"""

import threading
import time
from collections.abc import Callable
from typing import Final

from docmill.worker.log import get_logger

log = get_logger(__name__)

#: How often it is looked at whether hints wait.
_LOOK_SECONDS: Final = 5.0


class Starvation:
    """Since when hints have been waiting without one being taken. Pure: is told the time."""

    def __init__(self, limit_seconds: float) -> None:
        self._limit = limit_seconds
        self._since: float | None = None

    def observe(self, now: float, *, waiting: bool, consumed: bool) -> bool:
        """Note what was seen at this time; True once hints have waited for longer than the limit.

        Nothing that was seen once counts: hints must wait each time, and none may be taken.
        """
        if not waiting or consumed:
            self._since = None
        elif self._since is None:
            self._since = now
        return self._since is not None and now - self._since > self._limit


class Liveness:
    """Calls `on_starved` when this worker has been idle for too long beside waiting hints."""

    def __init__(
        self,
        *,
        hints_wait: Callable[[], bool],
        is_busy: Callable[[], bool],
        on_starved: Callable[[], None],
        limit_seconds: float,
    ) -> None:
        self._hints_wait = hints_wait
        self._is_busy = is_busy
        self._on_starved = on_starved
        self._starvation = Starvation(limit_seconds)
        self._look_seconds = min(_LOOK_SECONDS, limit_seconds / 4)
        self._consumed = threading.Event()
        self._closing = threading.Event()

    def start(self) -> None:
        """Begin to look."""
        threading.Thread(target=self._loop, name="liveness", daemon=True).start()

    def consumed(self) -> None:
        """Say that a hint was taken, whatever came of it."""
        self._consumed.set()

    def close(self) -> None:
        """Look no more."""
        self._closing.set()

    def _loop(self) -> None:
        while not self._closing.wait(self._look_seconds):
            if self._is_starved():
                self._on_starved()
                return

    def _is_starved(self) -> bool:
        consumed = self._consumed.is_set() or self._is_busy()
        self._consumed.clear()
        try:
            waiting = self._hints_wait()
        except Exception as error:  # the database is away: nothing can be said
            log.debug("liveness_unknown", error=type(error).__name__)
            waiting = False
        return self._starvation.observe(time.monotonic(), waiting=waiting, consumed=consumed)

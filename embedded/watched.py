"""A child that is started again whenever it ends by itself."""

import time
from collections.abc import Callable
from typing import Final

from docmill.embedded.process import ChildProcess

#: Pauses before a child that keeps ending is started again.
FIRST_PAUSE_SECONDS: Final = 0.5
LONGEST_PAUSE_SECONDS: Final = 30.0
#: A child that ran for so long is no worse than a new one.
STEADY_SECONDS: Final = 60.0


def next_pause(previous: float, *, ran_seconds: float) -> float:
    """How long to wait before a child that ended is started again: longer each time in a row."""
    if ran_seconds >= STEADY_SECONDS:
        return 0.0
    return min(max(previous * 2, FIRST_PAUSE_SECONDS), LONGEST_PAUSE_SECONDS)


class WatchedChild:
    """Call `restart` often: it never waits."""

    def __init__(self, child: ChildProcess, *, may_start: Callable[[], bool]) -> None:
        """`may_start` says whether everything that the child left behind is gone."""
        self.child = child
        self._may_start = may_start
        self._started = time.monotonic()
        self._pause = 0.0
        self._due: float | None = None  #: while it is not running
        self._is_asked = False

    def ask_to_stop(self) -> None:
        """Signal the child and do not wait. To signal it twice would be to ask for haste."""
        if not self._is_asked:
            self._is_asked = True
            self.child.ask_to_stop()

    def stop(self) -> None:
        """Stop the child that is running now."""
        self.ask_to_stop()
        self.child.wait_or_kill()

    def restart(self) -> bool:
        """Start the child again if it ended and its pause is over; says whether it was."""
        if not self.child.ended():
            return False
        now = time.monotonic()
        if self._due is None:
            self._pause = next_pause(self._pause, ran_seconds=now - self._started)
            self._due = now + self._pause
        if now < self._due or not self._may_start():
            return False
        self.child = self.child.start_again()
        self._started, self._due = now, None
        return True

"""A child process that is started again whenever it ends by itself."""

import time
from collections.abc import Callable
from typing import Final

from docmill.embedded.process import ChildProcess

#: Pauses before restarts of a child that keeps ending.
FIRST_PAUSE_SECONDS: Final = 0.5
LONGEST_PAUSE_SECONDS: Final = 30.0
#: A child that ran for this long counts as healthy: its pauses begin anew.
STEADY_SECONDS: Final = 60.0


def next_pause(previous: float, *, ran_seconds: float) -> float:
    """The pause before the next start of a child that ended; it grows with each end in a row."""
    if ran_seconds >= STEADY_SECONDS:
        return 0.0
    return min(max(previous * 2, FIRST_PAUSE_SECONDS), LONGEST_PAUSE_SECONDS)


class WatchedChild:
    """Restarts a child. Call `restart` often: it never waits."""

    def __init__(self, child: ChildProcess, *, may_start: Callable[[], bool]) -> None:
        """`may_start` says whether everything that the child left behind is gone."""
        self.child = child
        self._may_start = may_start
        self._started = time.monotonic()
        self._pause = 0.0
        self._due: float | None = None  #: when to start it again; None while it runs
        self._is_asked = False

    def ask_to_stop(self) -> None:
        """Signal the child once and do not wait. A second signal would tell it to hurry."""
        if not self._is_asked:
            self._is_asked = True
            self.child.ask_to_stop()

    def stop(self) -> None:
        """Stop the child that is running now."""
        self.ask_to_stop()
        self.child.wait_or_kill()

    def restart(self) -> bool:
        """Start the child again if it ended and its pause is over; return whether it started."""
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

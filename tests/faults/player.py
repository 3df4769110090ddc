"""An actor with its own thread during a plan."""

import threading
import time
from abc import ABC, abstractmethod


class Player(ABC):
    """Plays its part once, from start to end."""

    def __init__(self, name: str) -> None:
        self.failures: list[BaseException] = []
        self._thread = threading.Thread(target=self._loop, name=name)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def join(self) -> None:
        """Wait until it has finished, and raise the thread's error, if any."""
        self._thread.join()
        if self.failures:
            raise self.failures[0]

    def _loop(self) -> None:
        try:
            self._play()
        except BaseException as error:
            self.failures.append(error)

    @abstractmethod
    def _play(self) -> None:
        """Play the whole part."""


def sleep_until(moment: float) -> None:
    """Wait for a moment of the monotonic clock."""
    time.sleep(max(0.0, moment - time.monotonic()))

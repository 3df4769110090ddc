"""Somebody who acts on a thread while a plan happens."""

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
        """Wait until all is done, and raise what went wrong in the thread."""
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
        """Do it all."""


def sleep_until(moment: float) -> None:
    """Wait for a moment of the monotonic clock that the plan names."""
    time.sleep(max(0.0, moment - time.monotonic()))

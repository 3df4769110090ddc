"""Ctrl-C, SIGTERM and a closed terminal, for commands that must stop things in order."""

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from types import FrameType
from typing import Final, Self

from docmill.worker.errors import DocmillError, StoppedError

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopSignals:
    """While entered, notes signals that ask the command to end.

    A signal interrupts nothing at a bad moment: the command calls `check` at places where it can
    stop, or allows interruption inside `interrupting`. For the main thread only.
    """

    def __init__(self, said_first: str) -> None:
        """`said_first` is printed on stderr at the first signal."""
        self.number: int | None = None
        #: Called at every further signal: the sender does not want to wait any longer.
        self.hurry: Callable[[], None] = lambda: None
        self._said_first = said_first
        self._may_interrupt = False
        self._handlers = ExitStack()

    def __enter__(self) -> Self:
        """Handle the signals, except for those that are ignored (nohup ignores SIGHUP)."""
        self._handlers.enter_context(_handling(_SIGNALS, self._on_signal))
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _at: object) -> None:
        """Give the signals back. If one came, ignore them from now on and raise StoppedError.

        StoppedError replaces the error of the code that was stopped, which says nothing new.
        """
        if not self.came():
            self._handlers.close()
            return
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        if isinstance(error, DocmillError) and not isinstance(error, StoppedError):
            raise self.stopped() from error

    def came(self) -> bool:
        """Whether a signal came."""
        return self.number is not None

    def check(self) -> None:
        """Raise StoppedError if a signal came."""
        if self.came():
            raise self.stopped()

    def stopped(self) -> StoppedError:
        """The error for the signal that came."""
        assert self.number is not None
        return StoppedError("interrupted; everything that was started is stopped", self.number)

    @contextmanager
    def interrupting(self) -> Iterator[None]:
        """While this is open, a signal ends the body at once. Raises StoppedError."""
        try:
            self._may_interrupt = True
            self.check()
            yield
        except KeyboardInterrupt:
            raise self.stopped() from None
        finally:
            self._may_interrupt = False

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if self.number is not None:
            self.hurry()
            return
        self.number = number
        # Write without Python's buffers, which may be in use at this moment.
        with suppress(OSError):
            os.write(2, f"docmill: {self._said_first}\n".encode())
        if self._may_interrupt:
            raise KeyboardInterrupt


@contextmanager
def interruptible(advice: str) -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the body like Ctrl-C. Raises StoppedError with the advice."""
    came = signal.SIGINT

    def on_signal(number: int, _frame: FrameType | None) -> None:
        nonlocal came
        came = signal.Signals(number)
        raise KeyboardInterrupt

    with _handling(_SIGNALS[1:], on_signal):
        try:
            yield
        except KeyboardInterrupt:
            raise StoppedError(f"interrupted: {advice}", came) from None


@contextmanager
def _handling(
    numbers: Sequence[int], handler: Callable[[int, FrameType | None], None]
) -> Iterator[None]:
    """Handle these signals in the body, except for an ignored SIGHUP (nohup)."""
    taken = [
        number
        for number in numbers
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN
    ]
    before = {number: signal.signal(number, handler) for number in taken}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)

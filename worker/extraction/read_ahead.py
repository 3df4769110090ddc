"""Reads the next windows of a document while one is used."""

import contextvars
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Final

from worker.extraction.child_reader import POLL_SECONDS, Task
from worker.extraction.kinds.base import PageEnd
from worker.extraction.windows import size_of
from worker.models import Element
from worker.ports import StopCheck

if TYPE_CHECKING:
    from worker.extraction.ordered import OpenedWindow

Part = Element | PageEnd

#: A window with more is read when its turn comes, piece by piece: only then does its child wait
#: for whoever uses them. None has that much but a sheet, and what means harm.
_MOST_CHARACTERS: Final = 4_000_000


class _ClosedError(Exception):
    """The document is not read any more."""


class _TooLongError(Exception):
    """A window is too long to be held as a whole."""


class ReadAhead:
    """Up to so many windows of one document, each in a thread that waits for its child.

    No thread ever waits for the windows before its own: it holds what it has read, or gives up.
    """

    def __init__(
        self,
        read: "Callable[[Task, StopCheck], AbstractContextManager[OpenedWindow]]",
        tasks: Mapping[int, Task],
        *,
        ahead: int,
        check: StopCheck,
    ) -> None:
        """`tasks` are the windows to read, by number, in order."""
        self._read = read
        self._tasks = tasks
        self._check = check
        self._ahead = ahead
        self._waiting = iter(tasks)
        self._reading: dict[int, Future[list[Part]]] = {}
        self._closed = False
        self._executor: ThreadPoolExecutor | None = None

    def __enter__(self) -> "ReadAhead":
        return self

    def __exit__(self, *_: object) -> None:
        self._closed = True
        if self._executor is not None:
            self._executor.shutdown(cancel_futures=True)

    def begin(self) -> None:
        """Read the first ones; there may be none."""
        for _ in range(self._ahead):
            self._read_next()

    def parts(self, number: int) -> Iterator[Part]:
        """What is in a window; asked for in order. Raises JobError."""
        try:
            parts = self._result(self._reading.pop(number))
        except _TooLongError:
            with self._read(self._tasks[number], self._check) as opened:
                yield from opened.parts
            parts = []
        self._read_next()
        yield from parts

    def _read_next(self) -> None:
        number = next(self._waiting, None)
        if number is None:
            return
        if self._executor is None:
            self._executor = ThreadPoolExecutor(self._ahead, thread_name_prefix="docmill-window")
        context = contextvars.copy_context()  # what is logged names the job
        self._reading[number] = self._executor.submit(
            context.run, self._read_whole, self._tasks[number]
        )

    def _read_whole(self, task: Task) -> list[Part]:
        parts, size = [], 0
        with self._read(task, self._check_open) as opened:
            for part in opened.parts:
                parts.append(part)
                size += size_of(part)
                if size > _MOST_CHARACTERS:
                    raise _TooLongError
        return parts

    def _check_open(self) -> None:
        if self._closed:
            raise _ClosedError
        self._check()

    def _result(self, future: "Future[list[Part]]") -> list[Part]:
        while not wait([future], timeout=POLL_SECONDS).done:
            self._check()
        return future.result()

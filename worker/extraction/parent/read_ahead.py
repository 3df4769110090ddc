"""Reads the next windows of a document while the current one is used."""

import contextvars
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from threading import Semaphore
from typing import Final

from docmill.worker.extraction.parent.child_reader import POLL_SECONDS, ReadWindow, Task
from docmill.worker.extraction.parent.windows import size_of
from docmill.worker.extraction.shared.parts import RawLines, WindowPart
from docmill.worker.ports import StopCheck

#: A window with more characters, or with lines of more bytes, is not read ahead. It is read piece
#: by piece when its turn comes, and its child waits while a piece is used. Only spreadsheets and
#: hostile files have windows this large.
_MOST_CHARACTERS: Final = 8_000_000


class _ClosedError(Exception):
    """The document is no longer being read."""


class _TooLongError(Exception):
    """A window is too long to be held as a whole."""


class ReadAhead:
    """Reads a few windows of one document, each in a thread that waits for its child.

    No thread waits for the windows before its own: it holds what it has read, or gives up. A window
    that could not be read ahead is read when it is requested.
    """

    def __init__(
        self,
        read: ReadWindow,
        tasks: Mapping[int, Task],
        *,
        ahead: int,
        held: Semaphore,
        check: StopCheck,
    ) -> None:
        """`tasks` are the windows to read, by number, in order; `held` is shared by documents."""
        self._read = read
        self._tasks = tasks
        self._check = check
        self._ahead = ahead
        self._held = held
        self._waiting = deque(tasks)
        self._reading: dict[int, Future[list[WindowPart]]] = {}
        self._direct = ExitStack()
        self._closed = False
        self._executor: ThreadPoolExecutor | None = None

    def __enter__(self) -> "ReadAhead":
        return self

    def __exit__(self, *_: object) -> None:
        self._closed = True
        if self._executor is not None:
            self._executor.shutdown(cancel_futures=True)
        while self._reading:
            self._forget(next(iter(self._reading)))
        self._direct.close()

    def begin(self) -> None:
        """Begin to read as many windows as there is room for, maybe none."""
        while self._waiting and len(self._reading) < self._ahead:
            if not self._held.acquire(blocking=False):
                return
            self._submit(self._waiting.popleft())

    def parts(self, number: int, chunking: Task | None = None) -> Iterator[WindowPart]:
        """The content of a window; request windows in order. Raises JobError.

        With `chunking`, the task that chunks it, the content is its chunks. Another child chunks a
        window that was read ahead.
        """
        if number not in self._reading:
            self._waiting.remove(number)
            yield from self._parts_from_child(chunking or self._tasks[number])
            return
        try:
            parts = self._result(self._reading[number])
        except _TooLongError:
            self._forget(number)
            yield from self._parts_from_child(chunking or self._tasks[number])
            return
        if chunking is None:
            yield from parts
        else:
            lines = [part for part in parts if isinstance(part, RawLines)]
            yield from self._from_child(chunking.of_lines(lines))
        self._forget(number)
        self.begin()

    def _parts_from_child(self, task: Task) -> Iterator[WindowPart]:
        self.begin()
        yield from self._from_child(task)

    def _from_child(self, task: Task) -> Iterator[WindowPart]:
        yield from self._direct.enter_context(self._read(task, self._check)).parts
        self._direct.close()

    def _submit(self, number: int) -> None:
        if self._executor is None:
            self._executor = ThreadPoolExecutor(self._ahead, thread_name_prefix="docmill-window")
        context = contextvars.copy_context()  # so that log lines name the job
        self._reading[number] = self._executor.submit(
            context.run, self._read_whole, self._tasks[number]
        )

    def _forget(self, number: int) -> None:
        del self._reading[number]
        self._held.release()

    def _read_whole(self, task: Task) -> list[WindowPart]:
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

    def _result(self, future: "Future[list[WindowPart]]") -> list[WindowPart]:
        while not wait([future], timeout=POLL_SECONDS).done:
            self._check()
        return future.result()

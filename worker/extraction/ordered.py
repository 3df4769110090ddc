"""The windows of one document, in order: several are read at once, what is kept is not read."""

import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Final

from worker.errors import JobError
from worker.extraction import profiles
from worker.extraction.allowance import Allowance
from worker.extraction.child_reader import Task
from worker.extraction.lines import Record, replayed
from worker.extraction.read_ahead import Part, ReadAhead
from worker.extraction.results import Header
from worker.extraction.running import RunningLines
from worker.extraction.windows import size_of, windows_of
from worker.log import get_logger
from worker.ports import KeptWindows, StopCheck, Window

log = get_logger(__name__)

#: A document of one window is kept as well when its child took this long to say anything.
_SLOW_SECONDS: Final = 1.0


@dataclass(frozen=True)
class OpenedWindow:
    """A window whose child has begun to speak."""

    header: Header
    parts: Iterator[Part]
    profile: str = profiles.PLAIN  #: the kind of child


ReadWindow = Callable[[Task, StopCheck], AbstractContextManager[OpenedWindow]]


class NothingKept:
    """Keeps no windows: every run reads all of them."""

    def numbers(self) -> Collection[int]:
        """None."""
        return ()

    def load(self, number: int) -> bytes:
        """Raises LookupError: there is none."""
        raise LookupError(number)

    def keep(self, number: int, content: bytes) -> None:
        """Do nothing."""


NOTHING_KEPT: Final = NothingKept()


@contextmanager
def ordered_windows(
    read: ReadWindow,
    task: Task,
    *,
    check: StopCheck,
    kept: KeptWindows,
    characters: Allowance,
    ahead: int,
) -> Iterator["OrderedExtraction"]:
    """Open a document with its first window. Up to `ahead` further ones are read meanwhile.

    Raises JobError. When the `with` ends, nothing is being read any more.
    """
    numbers = frozenset(kept.numbers())
    if numbers:
        log.info("windows_reused", windows=len(numbers))
    with ExitStack() as stack:
        began = time.monotonic()
        if 1 in numbers:
            first = OpenedWindow(*replayed(kept.load(1)))
        else:
            first = stack.enter_context(read(task, check))
        slow = time.monotonic() - began > _SLOW_SECONDS or first.profile != profiles.PLAIN
        later = _later_tasks(task, first.header)
        missing = {number: later[number] for number in later if number not in numbers}
        reader = stack.enter_context(ReadAhead(read, missing, ahead=ahead, check=check))
        windows = _Windows(first, reader, numbers, kept, worth_keeping=bool(later) or slow)
        yield OrderedExtraction(first.header, windows, characters)


def _later_tasks(task: Task, header: Header) -> dict[int, Task]:
    """What is left to read after the first window."""
    return {
        number: Task(task.path, task.file_name, bounds, header.context)
        for number, bounds in enumerate(header.windows, start=2)
    }


class _Windows:
    """What is in each window, kept or read."""

    def __init__(
        self,
        first: OpenedWindow,
        reader: ReadAhead,
        numbers: Collection[int],
        kept: KeptWindows,
        *,
        worth_keeping: bool,
    ) -> None:
        self._first = first
        self._reader = reader
        self._numbers = numbers
        self._kept = kept
        self._worth_keeping = worth_keeping

    def in_order(self) -> Iterator[Iterator[Part]]:
        """The parts of one window after the other. Each is to be used up before the next."""
        self._reader.begin()
        for number in range(1, 2 + len(self._first.header.windows)):
            if number in self._numbers:
                first = number == 1
                yield self._first.parts if first else replayed(self._kept.load(number))[1]
            else:
                yield self._keeping(number)

    def _keeping(self, number: int) -> Iterator[Part]:
        """What is read of a window; once all of it is read, it is kept."""
        parts = self._first.parts if number == 1 else self._reader.parts(number)
        if not self._worth_keeping:
            yield from parts
            return
        record = Record(self._first.header)
        for part in parts:
            record.add(part)
            yield part
        self._kept.keep(number, record.content())


class OrderedExtraction:
    """One document being read; see ports.Extraction."""

    def __init__(self, header: Header, windows: _Windows, characters: Allowance) -> None:
        self._header = header
        self._windows = windows
        self._characters = characters

    @property
    def mime_type(self) -> str:
        """Media type found in the bytes."""
        return self._header.mime_type

    @property
    def page_count(self) -> int | None:
        """Pages, slides or sheets; None for kinds without."""
        return self._header.page_count

    @property
    def title(self) -> str | None:
        """The title that the document's own metadata names, if any."""
        return self._header.title

    def windows(self) -> Iterator[Window]:
        """Windows in order, once. Raises JobError with the code of what went wrong.

        Kinds that are read in one go come in pieces of about a million characters, and their child
        waits while a piece is used.
        """
        running = RunningLines()
        pages_done, found = 0, False
        for parts in self._windows.in_order():
            counted = self._counted(parts)
            if self.mime_type == profiles.PDF:
                counted = running.without_repeats(counted)
            for window in windows_of(counted, pages_done=pages_done):
                pages_done = window.pages_done
                found = found or bool(window.elements)
                yield window
        if not found:
            raise JobError("empty_document")

    def _counted(self, parts: Iterable[Part]) -> Iterator[Part]:
        for part in parts:
            self._characters.draw(size_of(part))
            yield part

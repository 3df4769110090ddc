"""The windows of one document, in order: several are read at once, what is kept is not read."""

from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from threading import Semaphore
from typing import Final

from docmill.worker.errors import JobError
from docmill.worker.extraction.parent.allowance import Allowance
from docmill.worker.extraction.parent.child_reader import OpenedWindow, ReadWindow, Task
from docmill.worker.extraction.parent.read_ahead import ReadAhead
from docmill.worker.extraction.parent.records import Record, replayed
from docmill.worker.extraction.parent.results import Header
from docmill.worker.extraction.parent.windows import size_of, windows_of
from docmill.worker.extraction.shared import media_types, profiles
from docmill.worker.extraction.shared.parts import PageEnd, ReadPart
from docmill.worker.extraction.shared.running import RunningLines
from docmill.worker.log import get_logger
from docmill.worker.ports import KeptWindows, StopCheck, Window

log = get_logger(__name__)

#: A window that takes more, packed, is rather read again.
_MOST_KEPT_BYTES: Final = 16 * 1024 * 1024
#: A document of one window is kept as well when its child took this long to say anything.
_SLOW_SECONDS: Final = 1.0


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
    held: Semaphore,
) -> Iterator["OrderedExtraction"]:
    """Open a document with its first window. Up to `ahead` further ones are read meanwhile.

    Each of them takes one of `held` for as long as it is in memory; without one it is read when its
    turn comes. Raises JobError. When the `with` ends, nothing is being read any more.
    """
    numbers = frozenset(kept.numbers())
    if numbers:
        log.info("windows_reused", windows=len(numbers))
    with ExitStack() as stack:
        if 1 in numbers:
            first = OpenedWindow(*replayed(kept.load(1)))
        else:
            first = stack.enter_context(read(task, check))
        later = _later_tasks(task, first.header)
        missing = {number: later[number] for number in later if number not in numbers}
        reader = stack.enter_context(ReadAhead(read, missing, ahead=ahead, held=held, check=check))
        slow = first.seconds > _SLOW_SECONDS or first.profile != profiles.PLAIN
        windows = _Windows(first, reader, numbers, kept, worth_keeping=bool(later) or slow)
        yield OrderedExtraction(first.header, windows, characters)


def _later_tasks(task: Task, header: Header) -> dict[int, Task]:
    """What is left to read after the first window."""
    return {
        number: replace(task, window=bounds, context=header.context, media_type=header.mime_type)
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

    def in_order(self) -> Iterator[Iterator[ReadPart]]:
        """The parts of one window after the other. Each is to be used up before the next."""
        self._reader.begin()
        for number in range(1, 2 + len(self._first.header.windows)):
            if number in self._numbers:
                first = number == 1
                yield self._first.parts if first else replayed(self._kept.load(number))[1]
            else:
                yield self._keeping(number)

    def _keeping(self, number: int) -> Iterator[ReadPart]:
        """What is read of a window; once all of it is read, it is kept."""
        parts = self._first.parts if number == 1 else self._reader.parts(number)
        if not self._worth_keeping:
            yield from parts
            return
        header = self._first.header
        record = Record(header if number == 1 else replace(header, starts=(), context=""))
        for part in parts:
            record.add(part)
            yield part
        if record.size <= _MOST_KEPT_BYTES:
            self._kept.keep(number, record.content())


class OrderedExtraction:
    """One document being read; see ports.Extraction."""

    def __init__(self, header: Header, windows: _Windows, characters: Allowance) -> None:
        self._header = header
        self._windows = windows
        self._characters = characters
        self._pages_done = 0

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

        Kinds that are read in one go come in pieces of some million characters, and their child
        waits while a piece is used.
        """
        running = RunningLines()
        found = False
        for parts in self._windows.in_order():
            checked = self._checked(parts)
            if self.mime_type == media_types.PDF:
                checked = running.without_repeats(checked)
            for window in windows_of(checked, pages_done=self._pages_done):
                found = found or bool(window.elements)
                yield window
        if not found:
            raise JobError("empty_document")

    def _checked(self, parts: Iterable[ReadPart]) -> Iterator[ReadPart]:
        """The parts that say something, all of them counted, their pages in the one order."""
        for part in parts:
            self._characters.draw(size_of(part))
            if isinstance(part, PageEnd):
                if not self._pages_done < part.number <= (self.page_count or 0):
                    raise JobError("parse_crashed", "pages out of order")
                self._pages_done = part.number
            elif not part.text.strip():
                continue
            yield part

"""The windows of one document, in order: several are read at once, kept ones are not read."""

from collections.abc import Collection, Iterable, Iterator, Mapping
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
from docmill.worker.extraction.shared.parts import PageEnd, Summary, WindowPart
from docmill.worker.extraction.shared.protocol import Chunking
from docmill.worker.extraction.shared.running import RunningLines
from docmill.worker.log import get_logger
from docmill.worker.models import ChunkRules, Element
from docmill.worker.ports import KeptWindows, StopCheck, Window

log = get_logger(__name__)

#: A window that is larger than this when packed is not kept, but read again.
_MOST_KEPT_BYTES: Final = 16 * 1024 * 1024
#: The only window of a document is kept too if its child took this long to write its first line.
_SLOW_SECONDS: Final = 1.0


class NothingKept:
    """Keeps no windows: every run reads all of them."""

    def numbers(self) -> Collection[int]:
        """No numbers."""
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
    rules: ChunkRules | None = None,
) -> Iterator["OrderedExtraction"]:
    """Open a document with its first window. Up to `ahead` further windows are read meanwhile.

    With rules it is chunked: each window in a child that gets what the previous window left open.
    This is the child that reads it or, if it was read ahead, another child. A window that is read
    ahead takes one of `held` while it is in memory; if none is free, it is read when its turn
    comes. Raises JobError. When the `with` ends, nothing is being read any more.
    """
    numbers = frozenset(kept.numbers())
    if numbers:
        log.info("windows_reused", windows=len(numbers))
    with ExitStack() as stack:
        if 1 in numbers:
            first = OpenedWindow(*replayed(kept.load(1)))
        else:
            chunking = None if rules is None else Chunking(rules)
            first = stack.enter_context(read(replace(task, chunking=chunking), check))
        later = _later_tasks(task, first.header, unread=rules is not None)
        missing = {number: later[number] for number in later if number not in numbers}
        reader = stack.enter_context(ReadAhead(read, missing, ahead=ahead, held=held, check=check))
        slow = first.seconds > _SLOW_SECONDS or first.profile != profiles.PLAIN
        turns = None if rules is None else _ChunkTurns(rules, later)
        windows = _Windows(
            first, reader, numbers, kept, worth_keeping=bool(later) or slow, turns=turns
        )
        yield OrderedExtraction(first.header, windows, characters, chunked=rules is not None)


def _later_tasks(task: Task, header: Header, *, unread: bool) -> dict[int, Task]:
    """The tasks for the windows after the first."""
    later = replace(
        task, context=header.context, media_type=header.mime_type, header=header, unread=unread
    )
    return {
        number: replace(later, window=bounds)
        for number, bounds in enumerate(header.windows, start=2)
    }


class _ChunkTurns:
    """The order in which windows are chunked: each one continues the one before."""

    def __init__(self, rules: ChunkRules, later: Mapping[int, Task]) -> None:
        self._rules = rules
        self._later = later
        self._state = ""

    def task(self, number: int) -> Task:
        """The task that chunks this window, after the previous window was used up."""
        chunking = Chunking(self._rules, last=number == 1 + len(self._later))
        task = self._later[number]
        return replace(task, unread=False, chunking=chunking, state=self._state)

    def noted(self, parts: Iterable[WindowPart]) -> Iterator[WindowPart]:
        """The parts of a window; remembers what it leaves open for the next one."""
        for part in parts:
            if isinstance(part, Summary):
                self._state = part.state
            yield part


class _Windows:
    """The content of each window, kept or read."""

    def __init__(
        self,
        first: OpenedWindow,
        reader: ReadAhead,
        numbers: Collection[int],
        kept: KeptWindows,
        *,
        worth_keeping: bool,
        turns: _ChunkTurns | None,
    ) -> None:
        self._first = first
        self._reader = reader
        self._numbers = numbers
        self._kept = kept
        self._worth_keeping = worth_keeping
        self._turns = turns

    def in_order(self) -> Iterator[Iterator[WindowPart]]:
        """The parts of one window after the other. Use up each before the next."""
        self._reader.begin()
        for number in range(1, 2 + len(self._first.header.windows)):
            parts = self._parts(number)
            yield parts if self._turns is None else self._turns.noted(parts)

    def _parts(self, number: int) -> Iterator[WindowPart]:
        if number not in self._numbers:
            return self._keeping(number)
        return self._first.parts if number == 1 else replayed(self._kept.load(number))[1]

    def _keeping(self, number: int) -> Iterator[WindowPart]:
        """The parts of a window as they are read; after the last one the window is kept."""
        parts = self._first.parts if number == 1 else self._read(number)
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

    def _read(self, number: int) -> Iterator[WindowPart]:
        return self._reader.parts(number, None if self._turns is None else self._turns.task(number))


class OrderedExtraction:
    """One document being read; see ports.Extraction."""

    def __init__(
        self, header: Header, windows: _Windows, characters: Allowance, *, chunked: bool = False
    ) -> None:
        self._header = header
        self._chunked = chunked
        self._windows = windows
        self._characters = characters
        self._pages_done = 0

    @property
    def mime_type(self) -> str:
        """Media type found in the bytes."""
        return self._header.mime_type

    @property
    def page_count(self) -> int | None:
        """Number of pages, slides or sheets; None for kinds without pages."""
        return self._header.page_count

    @property
    def title(self) -> str | None:
        """The title that the document's own metadata names, if any."""
        return self._header.title

    def windows(self) -> Iterator[Window]:
        """Windows in order, once. Raises JobError with the code of what went wrong.

        Kinds that are read in one go come in pieces of some million characters. Their child waits
        while a piece is used.
        """
        running = RunningLines()
        found = False
        for parts in self._windows.in_order():
            checked = self._checked(parts)
            if self.mime_type == media_types.PDF and not self._chunked:
                checked = running.without_repeats(checked)
            for window in windows_of(checked, pages_done=self._pages_done):
                found = found or bool(window.elements or window.chunks)
                yield window
        if not found:
            raise JobError("empty_document")

    def _checked(self, parts: Iterable[WindowPart]) -> Iterator[WindowPart]:
        """The parts that are not empty; counts all of them, and checks the order of pages."""
        for part in parts:
            self._characters.draw(size_of(part))
            if isinstance(part, PageEnd):
                if not self._pages_done < part.number <= (self.page_count or 0):
                    raise JobError("parse_crashed", "pages out of order")
                self._pages_done = part.number
            elif isinstance(part, Element) == self._chunked:
                raise JobError("parse_crashed", "elements for chunks, or the other way")
            elif isinstance(part, Element) and not part.text.strip():
                continue
            yield part

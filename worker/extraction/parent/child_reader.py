"""One child: a process that reads one window of one document, and the pipe with what it says."""

import os
import select
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

from docmill.worker import metrics
from docmill.worker.errors import JobError
from docmill.worker.extraction.parent.allowance import TimeAllowance
from docmill.worker.extraction.parent.folders import PrivateFolders
from docmill.worker.extraction.parent.results import (
    End,
    Failure,
    Header,
    Item,
    MalformedResultError,
    ResultLines,
    Wanted,
)
from docmill.worker.extraction.parent.supervisor import ChildHandle, Supervisor, code_of_ending
from docmill.worker.extraction.shared import office_traces, profiles
from docmill.worker.extraction.shared.parts import Bounds, PageEnd, RawLines, Summary, WindowPart
from docmill.worker.extraction.shared.protocol import (
    MAX_FILE_NAME_CHARACTERS,
    MAX_LINE_BYTES,
    STATE_FILE,
    Chunking,
    Limits,
    Request,
)
from docmill.worker.fair_gate import Share
from docmill.worker.log import get_logger
from docmill.worker.models import Chunk, Element
from docmill.worker.ports import StopCheck

log = get_logger(__name__)

#: The run's own stop signs are looked at this often while it waits.
POLL_SECONDS = 0.25
#: What a zygote may take to fork. Longer than any machine needs that is not out of order: a zygote
#: that is replaced takes all documents along that are being read.
FORK_SECONDS = 30.0
#: What a zygote may take to report the end of a child that was killed. One that gave way to all
#: others takes seconds on a busy machine to give two gigabytes back.
_REAP_SECONDS = 30.0
#: How long its pipe is waited for before it is looked whether it was forked.
_FORK_POLL_SECONDS = 0.02
_READ_BYTES = 256 * 1024


@dataclass(frozen=True)
class Task:
    """What a child is to read."""

    path: Path
    file_name: str  #: a hint
    window: Bounds | None = None  #: None: the first one
    context: str = ""  #: with a window: see Header.context
    media_type: str = ""  #: with a window: what the first child took the file for
    unread: bool = False  #: its lines are for another child: they are passed on as they are
    chunking: Chunking | None = None  #: None: elements are wanted
    state: str = ""  #: with chunking: what the window before left open
    header: Header | None = None  #: with a window: of the document
    lines: Sequence[RawLines] | None = None  #: with chunking: what another child has read

    def of_lines(self, lines: Sequence[RawLines]) -> "Task":
        """The same window, which another child has read, for one that chunks it."""
        assert self.chunking is not None
        return replace(self, lines=lines, chunking=replace(self.chunking, of_lines=True))


@dataclass(frozen=True)
class OpenedWindow:
    """A window whose child has begun to speak."""

    header: Header
    parts: Iterator[WindowPart]
    profile: str = profiles.PLAIN  #: the kind of child
    seconds: float = 0.0  #: that it was waited for until it spoke


ReadWindow = Callable[[Task, StopCheck], AbstractContextManager[OpenedWindow]]


class Child:
    """What one window takes: a slot, a folder, a pipe, a process. Closing gives all back."""

    def __init__(
        self,
        supervisor: Supervisor,
        folders: PrivateFolders,
        slot: Share,
        limits: Limits,
    ) -> None:
        self._supervisor = supervisor
        self._folders = folders
        self._slot = slot
        self.limits = limits
        self._folder: Path | None = None
        self._handle: ChildHandle | None = None
        self._pipe = -1
        self._closed = False
        self._wanted = Wanted(profiles.PLAIN, "")

    def become(self, wanted: Wanted) -> None:
        """Be a child of another kind, once it is started."""
        self._wanted = wanted
        if wanted.profile in profiles.PROGRAMS:
            self.limits = replace(self.limits, may_start_program=True, open_files=256)

    @property
    def cpu_seconds(self) -> float:
        """What it has taken, once it is closed; 0 when its zygote is lost."""
        ending = self._handle.ending if self._handle else None
        return ending.cpu_seconds if ending else 0

    @property
    def profile(self) -> str:
        """The kind of child that it is."""
        return self._wanted.profile

    @property
    def pipe(self) -> int:
        """Where the child's lines come from."""
        return self._pipe

    def start(self, task: Task) -> None:
        """Ask for the process. Raises ZygoteUnavailableError, and then may be called again."""
        self._folder = self._folder or self._folders.make()
        request = Request(
            id=0,
            file_name=task.file_name[-MAX_FILE_NAME_CHARACTERS:],
            folder=str(self._folder),
            limits=self.limits,
            profile=self._wanted.profile,
            media_type=self._wanted.media_type or task.media_type,
            window=task.window,
            context=task.context,
            chunking=task.chunking,
        )
        if task.state:
            Path(self._folder, STATE_FILE).write_text(task.state)
        document = _document(task)
        try:
            reader, writer = os.pipe()
            try:
                self._handle = self._supervisor.start_child(request, document, writer)
                self._pipe = reader
            except BaseException:
                os.close(reader)
                raise
            finally:
                os.close(writer)
        finally:
            os.close(document)

    @property
    def has_started(self) -> bool:
        """Whether the process is there: only then does its time count."""
        return self._handle is not None and self._handle.started.is_set()

    def give_up_on_zygote(self) -> None:
        """It does not fork, or does not say what became of a child: another one shall."""
        log.error("zygote_stuck", pid=self._supervisor.zygote_pid)
        self._supervisor.replace_zygote()

    def code(self) -> str:
        """What it means that the pipe was closed without a last word."""
        handle = self._handle
        if handle is None or not handle.ended.wait(_REAP_SECONDS) or handle.ending is None:
            return "internal_error"
        resident = int(self._supervisor.isolation.get("resident_bytes", 0))
        return code_of_ending(handle.ending, self.limits, resident)

    def close(self) -> None:
        """Kill the process if it still runs, give everything back. Repeatable."""
        if self._closed:
            return
        self._closed = True
        try:
            if self._handle is not None:
                self._end_process(self._handle)
                metrics.record(metrics.CHILD_SECONDS, self.cpu_seconds, profile=self.profile)
        finally:
            if self._pipe != -1:
                os.close(self._pipe)
            if self._folder is not None:
                if self._wanted.profile == profiles.OFFICE:
                    office_traces.remove(self._folder)
                self._folders.remove(self._folder)
            self._slot.release()

    def _end_process(self, handle: ChildHandle) -> None:
        self._supervisor.kill_child(handle)
        if not handle.ended.wait(_REAP_SECONDS):
            self.give_up_on_zygote()
            handle.ended.wait(_REAP_SECONDS)
        if handle.ending is None:
            # The zygote is gone, its child is dying: the folder is ours when the pipe is closed.
            _wait_for_end(self._pipe, _REAP_SECONDS)


def _document(task: Task) -> int:
    """What the child reads: the file, or the lines that another child has read of it."""
    if task.lines is None:
        return os.open(task.path, os.O_RDONLY | os.O_CLOEXEC)
    with os.fdopen(os.memfd_create("docmill-lines"), "wb") as lines:
        lines.writelines(part.data for part in task.lines)
        lines.flush()
        lines.seek(0)
        return os.dup(lines.fileno())


def _wait_for_end(pipe: int, timeout_seconds: float) -> None:
    """Read what is left in a pipe until its other end is closed, or time is up."""
    deadline = time.monotonic() + timeout_seconds
    readable = select.poll()
    readable.register(pipe, select.POLLIN)
    while time.monotonic() < deadline:
        if readable.poll(1000 * POLL_SECONDS) and not os.read(pipe, _READ_BYTES):
            return


class ChildReader:
    """Reads one child's pipe, with an eye on the clock and on the run's stop signs."""

    def __init__(self, child: Child, task: Task, seconds: TimeAllowance, check: StopCheck) -> None:
        """Time counts only while the child is waited for, not while what it says is used."""
        self._child = child
        self._seconds = seconds
        self._fork_seconds_left = FORK_SECONDS
        self._check = check
        self._next_check = 0.0
        self._lines = ResultLines(task.header if task.lines is not None else None)
        items = self._read_unread() if task.unread else self._read_items()
        self._items = self._measured(items)

    def header(self) -> Header | Wanted:
        """Wait for the header, or for the wish for another kind of child. Raises JobError."""
        match next(self._items, None):
            case Header() | Wanted() as first:
                return first
            case _:
                raise JobError("parse_crashed", "no header")

    def only_header(self) -> Header:
        """Wait for the header of a child of another kind. Raises JobError."""
        first = self.header()
        if isinstance(first, Wanted):
            raise JobError("parse_crashed", "no header")
        return first

    def parts(self) -> Iterator[WindowPart]:
        """Parts as they come; the child is gone before the last is used."""
        for item in self._items:
            if isinstance(item, Element | PageEnd | Chunk | Summary | RawLines):
                yield item

    def _measured(self, items: Iterator[Item | RawLines]) -> Iterator[Item | RawLines]:
        """The same, and how the child ended. One that nobody reads to its end is not counted."""
        code = "ok"
        try:
            yield from items
        except JobError as error:
            code = error.code
            raise
        except GeneratorExit:
            code = ""
            raise
        finally:
            if code:
                metrics.record(metrics.CHILD_ENDS, profile=self._child.profile, code=code)

    def _read_items(self) -> Iterator[Item | RawLines]:
        """Items up to the last word. Raises JobError for any other end."""
        while data := self._read():
            for item in self._parsed(data):
                if isinstance(item, End):
                    self._child.close()
                    return
                yield item
        raise JobError(self._child.code(), "the child ended without a last word")

    def _read_unread(self) -> Iterator[Item | RawLines]:
        """The header, then the lines up to the last word as they are. Raises JobError."""
        waiting, begun = b"", False
        while data := self._read():
            waiting += data
            # The line that may be the last one stays behind.
            cut = waiting.rfind(b"\n", 0, -1) + 1
            if begun and cut:
                yield RawLines(waiting[:cut])
                waiting = waiting[cut:]
            elif not begun and b"\n" in waiting:
                line, _, waiting = waiting.partition(b"\n")
                begun = True
                yield from self._parsed(line + b"\n")
            if len(waiting) > 2 * MAX_LINE_BYTES:
                raise JobError("parse_crashed", "overlong line")
        first, _, last = waiting.rpartition(b"\n")[0].rpartition(b"\n")
        if first:
            yield RawLines(first + b"\n")
        if last:
            yield from self._parsed(last + b"\n")
        if not self._lines.ended:
            raise JobError(self._child.code(), "the child ended without a last word")
        self._child.close()

    def _parsed(self, data: bytes) -> Iterator[Item]:
        try:
            for item in self._lines.feed(data):
                if isinstance(item, Failure):
                    raise JobError(item.code, item.detail)
                if isinstance(item, PageEnd) and item.problem:
                    log.warning("page_layout_failed", page=item.number, detail=item.problem)
                yield item
        except MalformedResultError as error:
            raise JobError("parse_crashed", str(error)) from None

    def _read(self) -> bytes:
        """What the child has written, b"" when it has ended. Raises parse_stalled."""
        readable = select.poll()
        readable.register(self._child.pipe, select.POLLIN)
        while True:
            began = time.monotonic()
            if began >= self._next_check:
                self._next_check = began + POLL_SECONDS
                self._check()
            if self._fork_seconds_left <= 0:
                self._child.give_up_on_zygote()
                raise JobError("internal_error", "the zygote does not fork", counted=False)
            if self._child.has_started:
                with self._seconds.waiting():
                    ready = readable.poll(1000 * min(POLL_SECONDS, self._seconds.left))
            else:
                ready = readable.poll(1000 * _FORK_POLL_SECONDS)
                self._fork_seconds_left -= time.monotonic() - began
            if ready:
                return os.read(self._child.pipe, _READ_BYTES)

"""One child: a process that reads one window of one document, and the pipe with its result."""

import os
import select
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

from docmill.worker import metrics, tracing
from docmill.worker.errors import JobError
from docmill.worker.extraction.parent.allowance import TimeAllowance
from docmill.worker.extraction.parent.folders import PrivateFolders
from docmill.worker.extraction.parent.owner_classes import OwnerClasses
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
from docmill.worker.tracing import Span

log = get_logger(__name__)

#: How often a waiting run checks whether it must stop.
POLL_SECONDS = 0.25
#: How long a zygote may take to fork. No healthy machine needs this long. It is generous because
#: replacing a zygote ends all documents that are being read.
FORK_SECONDS = 30.0
#: How long a zygote may take to report the end of a killed child. On a busy machine, a child with
#: low priority needs seconds to free two gigabytes.
_REAP_SECONDS = 30.0
#: How long to wait for the pipe before checking whether the child was forked.
_FORK_POLL_SECONDS = 0.02
_READ_BYTES = 256 * 1024


@dataclass(frozen=True)
class Task:
    """What a child should read."""

    path: Path
    file_name: str  #: a hint
    window: Bounds | None = None  #: None: the first one
    context: str = ""  #: with a window: see Header.context
    media_type: str = ""  #: with a window: the type that the first child found
    unread: bool = False  #: its lines go to another child, unchanged
    chunking: Chunking | None = None  #: None: return elements
    state: str = ""  #: with chunking: what the previous window left open
    header: Header | None = None  #: with a window: of the document
    lines: Sequence[RawLines] | None = None  #: with chunking: the lines that another child has read
    word_comments: bool = False  #: see ExtractionLimits

    def of_lines(self, lines: Sequence[RawLines]) -> "Task":
        """A task to chunk the same window, from the lines that another child has read."""
        assert self.chunking is not None
        return replace(self, lines=lines, chunking=replace(self.chunking, of_lines=True))


@dataclass(frozen=True)
class OpenedWindow:
    """A window whose child has begun to write."""

    header: Header
    parts: Iterator[WindowPart]
    profile: str = profiles.PLAIN  #: the kind of child
    seconds: float = 0.0  #: how long the worker waited for its first line


ReadWindow = Callable[[Task, StopCheck], AbstractContextManager[OpenedWindow]]


class Child:
    """The resources of one window: a slot, a folder, a pipe, a process. Closing frees them all."""

    def __init__(
        self,
        supervisor: Supervisor,
        folders: PrivateFolders,
        slot: Share,
        limits: Limits,
        *,
        owner_classes: OwnerClasses,
        span: Span,
    ) -> None:
        """`span` ends with the child."""
        self._owner_classes = owner_classes
        self._met_others = slot.gate.has_others(slot.owner)
        self._span = span
        self._chunking: Span | None = None
        self.failed_with: str | None = None  #: the code of the error that its lines ended with
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
        """Become a child of another kind at its start."""
        self._wanted = wanted
        if wanted.profile in profiles.PROGRAMS:
            self.limits = replace(self.limits, may_start_program=True, open_files=256)

    @property
    def cpu_seconds(self) -> float:
        """CPU time that it used, after closing; 0 if its zygote is lost."""
        ending = self._handle.ending if self._handle else None
        return ending.cpu_seconds if ending else 0

    @property
    def profile(self) -> str:
        """The kind of child that it is."""
        return self._wanted.profile

    @property
    def pipe(self) -> int:
        """The end of the pipe to read the child's lines from."""
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
            word_comments=task.word_comments,
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

    def begin_chunking(self) -> None:
        """Note that its document is open, and that it makes chunks as it reads."""
        self._chunking = tracing.start("chunk", parent=self._span.traceparent or None)

    @property
    def has_started(self) -> bool:
        """Whether the process exists: its time counts only then."""
        return self._handle is not None and self._handle.started.is_set()

    def give_up_on_zygote(self) -> None:
        """Replace the zygote: it does not fork, or does not report the end of a child."""
        log.error("zygote_stuck", pid=self._supervisor.zygote_pid)
        self._supervisor.replace_zygote()

    def code(self) -> str:
        """The error code for a pipe that was closed without a last line."""
        handle = self._handle
        if handle is None or not handle.ended.wait(_REAP_SECONDS) or handle.ending is None:
            return "internal_error"
        resident = int(self._supervisor.isolation.get("resident_bytes", 0))
        return code_of_ending(handle.ending, self.limits, resident)

    def close(self) -> None:
        """Kill the process if it still runs, and free everything. Repeatable."""
        if self._closed:
            return
        self._closed = True
        try:
            if self._handle is not None:
                self._end_process(self._handle)
                self._note_used()
        finally:
            self._end_spans()
            if self._pipe != -1:
                os.close(self._pipe)
            if self._folder is not None:
                if self._wanted.profile == profiles.OFFICE:
                    office_traces.remove(self._folder)
                self._folders.remove(self._folder)
            self._slot.release()

    def _note_used(self) -> None:
        met_others = self._met_others or self._slot.gate.has_others(self._slot.owner)
        owner_class = self._owner_classes.note(
            self._slot.owner, self.cpu_seconds, met_others=met_others
        )
        metrics.record(
            metrics.CHILD_SECONDS,
            self.cpu_seconds,
            profile=self.profile,
            owner_class=owner_class,
        )

    def _end_spans(self) -> None:
        if self._chunking is not None:
            self._chunking.end(self.failed_with)
        self._span.set(
            {
                "docmill.child.profile": self.profile,
                "docmill.child.cpu_seconds": round(self.cpu_seconds, 3),
            }
        )
        self._span.end(self.failed_with)

    def _end_process(self, handle: ChildHandle) -> None:
        self._supervisor.kill_child(handle)
        if not handle.ended.wait(_REAP_SECONDS):
            self.give_up_on_zygote()
            handle.ended.wait(_REAP_SECONDS)
        if handle.ending is None:
            # The zygote is gone, and its child is dying. When the pipe is closed, nobody else uses
            # the folder.
            _wait_for_end(self._pipe, _REAP_SECONDS)


def _document(task: Task) -> int:
    """The input of the child: the file, or the lines that another child has read from it."""
    if task.lines is None:
        return os.open(task.path, os.O_RDONLY | os.O_CLOEXEC)
    with os.fdopen(os.memfd_create("docmill-lines"), "wb") as lines:
        lines.writelines(part.data for part in task.lines)
        lines.flush()
        lines.seek(0)
        return os.dup(lines.fileno())


def _wait_for_end(pipe: int, timeout_seconds: float) -> None:
    """Read the rest of a pipe until its other end is closed, or the time is over."""
    deadline = time.monotonic() + timeout_seconds
    readable = select.poll()
    readable.register(pipe, select.POLLIN)
    while time.monotonic() < deadline:
        if readable.poll(1000 * POLL_SECONDS) and not os.read(pipe, _READ_BYTES):
            return


class ChildReader:
    """Reads one child's pipe, and watches the clock and whether the run must stop."""

    def __init__(self, child: Child, task: Task, seconds: TimeAllowance, check: StopCheck) -> None:
        """Time counts only while waiting for the child, not while its result is used."""
        self._child = child
        self._seconds = seconds
        self._fork_seconds_left = FORK_SECONDS
        self._check = check
        self._next_check = 0.0
        self._chunks = task.chunking is not None
        self._lines = ResultLines(task.header if task.lines is not None else None)
        items = self._read_unread() if task.unread else self._read_items()
        self._items = self._measured(items)

    def header(self) -> Header | Wanted:
        """Wait for the header, or for a request for another kind of child. Raises JobError."""
        match next(self._items, None):
            case Header() | Wanted() as first:
                if isinstance(first, Header) and self._chunks:
                    self._child.begin_chunking()
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
        """Parts as they arrive; the child has ended before the last part is returned."""
        for item in self._items:
            if isinstance(item, Element | PageEnd | Chunk | Summary | RawLines):
                yield item

    def _measured(self, items: Iterator[Item | RawLines]) -> Iterator[Item | RawLines]:
        """Yield the items, and record how the child ended, unless the caller stops early."""
        code = "ok"
        try:
            yield from items
        except JobError as error:
            code = self._child.failed_with = error.code
            raise
        except GeneratorExit:
            code = ""
            raise
        finally:
            if code:
                metrics.record(metrics.CHILD_ENDS, profile=self._child.profile, code=code)

    def _read_items(self) -> Iterator[Item | RawLines]:
        """Items up to the last line. Raises JobError for any other end."""
        while data := self._read():
            for item in self._parsed(data):
                if isinstance(item, End):
                    self._child.close()
                    return
                yield item
        raise JobError(self._child.code(), "the child ended without a last word")

    def _read_unread(self) -> Iterator[Item | RawLines]:
        """The header, then the unchanged lines before the last line. Raises JobError."""
        waiting, begun = b"", False
        while data := self._read():
            waiting += data
            # Keep back the line that may be the last one.
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
        """The bytes that the child has written, b"" after its end. Raises parse_stalled."""
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

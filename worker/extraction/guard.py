"""The worker's side of extraction: one child per document, and whatever it does, a clean end."""

import math
import os
import select
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from worker.errors import NO_SPACE, JobError
from worker.extraction import convert, profiles
from worker.extraction.folders import PrivateFolders
from worker.extraction.kinds.base import PageEnd
from worker.extraction.protocol import MAX_FILE_NAME_CHARACTERS, Limits, Request
from worker.extraction.results import (
    End,
    Failure,
    Header,
    Item,
    MalformedResultError,
    ResultLines,
    Wanted,
)
from worker.extraction.supervisor import (
    ChildHandle,
    Supervisor,
    ZygoteUnavailableError,
    code_of_ending,
)
from worker.extraction.windows import LEAST_CHARACTERS, windows_of
from worker.fair_gate import FairGate, Share
from worker.log import get_logger
from worker.models import Element
from worker.ports import StopCheck, Window

log = get_logger(__name__)

#: The run's own stop signs are looked at this often while it waits.
POLL_SECONDS = 0.25
#: A zygote that is not ready after this is not going to be.
START_SECONDS = 60.0
#: What a zygote may take to fork. Longer than any machine needs that is not out of order: a zygote
#: that is replaced takes all documents along that are being read.
FORK_SECONDS = 30.0
#: What a zygote may take to report the end of a child that was killed.
_REAP_SECONDS = 10.0
_READ_BYTES = 256 * 1024
#: What the models and the picture of one page take, as address space on top of the zygote's.
OCR_MEMORY_BYTES = 1536 * 1024 * 1024


@dataclass(frozen=True)
class ExtractionLimits:
    """What reading documents may take."""

    children: int  #: documents read at the same time
    timeout_seconds: float = 300  #: time that one document may be waited for; CPU time as well
    memory_bytes: int = 2048 * 1024 * 1024  #: of one child, on top of what it shares
    max_characters: int = 50_000_000  #: of one document
    ocr_timeout_seconds: float = 1800  #: as `timeout_seconds`, for pages that are pictures

    def for_profile(self, profile: str) -> "ExtractionLimits":
        """Limits of a document that a child of this kind reads."""
        if profile != profiles.OCR:
            return self
        return replace(
            self, timeout_seconds=self.ocr_timeout_seconds, memory_bytes=OCR_MEMORY_BYTES
        )

    def of_child(self) -> Limits:
        """What the kernel is to enforce."""
        cpu_seconds = math.ceil(self.timeout_seconds)
        return Limits(memory_bytes=self.memory_bytes, cpu_seconds=cpu_seconds)


class GuardedExtractor:
    """Reads files in children forked from a zygote. Safe to use from many threads.

    The zygote is started in the background; `open` waits for it. When it dies, the documents that
    were being read fail with internal_error, which is tried again, and another one is started.
    """

    def __init__(
        self, limits: ExtractionLimits, *, temp_dir: Path | None = None, eager: bool = True
    ) -> None:
        """Start the zygote, at the first document if not `eager`.

        Children have their private folders below `temp_dir`.
        """
        self._limits = limits
        self._slots = FairGate(limits.children)
        # Each takes a core and a gigabyte, for minutes: they must not take all slots.
        self._special_slots = {profile: FairGate(1) for profile in profiles.SPECIAL}
        self._folders = PrivateFolders(temp_dir or Path(tempfile.gettempdir()))
        self._supervisor = Supervisor(self._folders.root, eager=eager)

    @property
    def zygote_pid(self) -> int | None:
        """Process id of the zygote, if there is one."""
        return self._supervisor.zygote_pid

    @property
    def isolation(self) -> dict[str, Any]:
        """What the kernel granted: `no_network`, `landlock_version`; empty before the start."""
        return dict(self._supervisor.isolation)

    def ready(self, timeout_seconds: float = 0) -> bool:
        """Wait until documents can be read; False when they still cannot."""
        return self._supervisor.wait_ready(timeout_seconds)

    def close(self) -> None:
        """End the zygote and all children, remove all folders. Repeatable."""
        self._supervisor.close()
        self._folders.close()

    @contextmanager
    def open(
        self, path: Path, *, file_name: str, check: StopCheck, owner: str = ""
    ) -> Iterator["GuardedExtraction"]:
        """Sniff the file and begin to read it. `file_name` is a hint. Raises JobError.

        Documents that wait for a slot get one in the order of FairGate. Whatever `check` raises,
        and whatever ends the `with`, no child, folder or descriptor is left. Time counts only while
        the child is waited for, not while its windows are used.
        """
        with self._slot(owner, check) as child:
            self._start(child, path, file_name, check)
            reader = _ResultReader(child, self._limits, check)
            header = reader.header()
            if isinstance(header, Header):
                yield GuardedExtraction(header, reader)
                return
        with self._special_slot(header, owner, check) as child:
            self._start(child, path, file_name, check)
            reader = _ResultReader(child, self._limits.for_profile(header.profile), check)
            yield GuardedExtraction(reader.only_header(), reader)

    @contextmanager
    def _special_slot(self, wanted: Wanted, owner: str, check: StopCheck) -> Iterator["_Child"]:
        """A slot for a child of another kind. One waits for it without holding an ordinary one."""
        place = self._special_slots[wanted.profile].acquire(owner, 1, check)
        try:
            with self._slot(owner, check) as child:
                limits = self._limits.for_profile(wanted.profile).of_child()
                child.become(wanted, limits)
                yield child
        finally:
            place.release()

    @contextmanager
    def _slot(self, owner: str, check: StopCheck) -> Iterator["_Child"]:
        slot = self._slots.acquire(owner, 1, check)
        child = _Child(self._supervisor, self._folders, slot, self._limits.of_child())
        try:
            yield child
        finally:
            child.close()

    def _start(self, child: "_Child", path: Path, file_name: str, check: StopCheck) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and not self._supervisor.closing:
            check()
            if not self._supervisor.wait_ready(POLL_SECONDS):
                continue
            try:
                child.start(path, file_name)
            except ZygoteUnavailableError:
                continue  # it died since the line above; another is being started
            except OSError as error:
                code = "no_space" if error.errno in NO_SPACE else "internal_error"
                raise JobError(code, type(error).__name__) from error
            return
        raise JobError("internal_error", "there is no extraction zygote")


class GuardedExtraction:
    """One document being read; see ports.Extraction."""

    def __init__(self, header: Header, reader: "_ResultReader") -> None:
        self._header = header
        self._reader = reader

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

        A document of less than a million characters is one window, which comes when the child has
        ended; longer ones come as they are read, and the child waits while a window is used.
        """
        return windows_of(self._reader.parts())


class _Child:
    """What one document takes: a slot, a folder, a pipe, a process. Closing gives all back."""

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

    def become(self, wanted: Wanted, limits: Limits) -> None:
        """Be a child of another kind, once it is started."""
        programs = wanted.profile in profiles.PROGRAMS
        self._wanted = wanted
        self.limits = replace(
            limits, may_start_program=programs, open_files=256 if programs else limits.open_files
        )

    @property
    def pipe(self) -> int:
        """Where the child's lines come from."""
        return self._pipe

    def start(self, path: Path, file_name: str) -> None:
        """Ask for the process. Raises ZygoteUnavailableError, and then may be called again."""
        self._folder = self._folder or self._folders.make()
        request = Request(
            id=0,
            file_name=file_name[-MAX_FILE_NAME_CHARACTERS:],
            folder=str(self._folder),
            limits=self.limits,
            profile=self._wanted.profile,
            media_type=self._wanted.media_type,
        )
        document = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
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
        finally:
            if self._pipe != -1:
                os.close(self._pipe)
            if self._folder is not None:
                if self._wanted.profile == profiles.OFFICE:
                    convert.remove_traces(self._folder)
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


def _wait_for_end(pipe: int, timeout_seconds: float) -> None:
    """Read what is left in a pipe until its other end is closed, or time is up."""
    deadline = time.monotonic() + timeout_seconds
    readable = select.poll()
    readable.register(pipe, select.POLLIN)
    while time.monotonic() < deadline:
        if readable.poll(1000 * POLL_SECONDS) and not os.read(pipe, _READ_BYTES):
            return


class _ResultReader:
    """Reads one child's pipe, with an eye on the clock and on the run's stop signs."""

    def __init__(self, child: _Child, limits: ExtractionLimits, check: StopCheck) -> None:
        self._child = child
        self._seconds_left = limits.timeout_seconds
        self._fork_seconds_left = FORK_SECONDS
        self._characters_left = limits.max_characters
        self._check = check
        self._next_check = 0.0
        self._lines = ResultLines()
        self._items = self._read_items()

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

    def parts(self) -> Iterator[Element | PageEnd]:
        """Elements and page ends as they come; the child is gone before the last is used."""
        for item in self._items:
            if isinstance(item, Element) and item.text.strip():
                self._count(item)
                yield item
            elif isinstance(item, PageEnd):
                yield item

    def _count(self, element: Element) -> None:
        self._characters_left -= max(len(element.text), LEAST_CHARACTERS)
        if self._characters_left < 0:
            raise JobError("document_too_large", "too many characters")

    def _read_items(self) -> Iterator[Item]:
        """Items up to the last word. Raises JobError for any other end."""
        while data := self._read():
            try:
                for item in self._lines.feed(data):
                    match item:
                        case Failure(code, detail):
                            raise JobError(code, detail)
                        case End():
                            self._child.close()
                            return
                        case _:
                            yield item
            except MalformedResultError as error:
                raise JobError("parse_crashed", str(error)) from None
        raise JobError(self._child.code(), "the child ended without a last word")

    def _read(self) -> bytes:
        """What the child has written, b"" when it has ended. Raises parse_timeout."""
        readable = select.poll()
        readable.register(self._child.pipe, select.POLLIN)
        while True:
            began = time.monotonic()
            if began >= self._next_check:
                self._next_check = began + POLL_SECONDS
                self._check()
            if self._seconds_left <= 0:
                raise JobError("parse_timeout", "wall clock")
            if self._fork_seconds_left <= 0:
                self._child.give_up_on_zygote()
                raise JobError("internal_error", "the zygote does not fork", counted=False)
            ready = readable.poll(1000 * min(POLL_SECONDS, self._seconds_left))
            if self._child.has_started:
                self._seconds_left -= time.monotonic() - began
            else:
                self._fork_seconds_left -= time.monotonic() - began
            if ready:
                return os.read(self._child.pipe, _READ_BYTES)

"""The worker's side of extraction: a child for each window, and a clean end in every case."""

import math
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from docmill.worker import tracing
from docmill.worker.errors import NO_SPACE, JobError
from docmill.worker.extraction.parent.allowance import Allowance, TimeAllowance
from docmill.worker.extraction.parent.child_reader import (
    POLL_SECONDS,
    Child,
    ChildReader,
    OpenedWindow,
    Task,
)
from docmill.worker.extraction.parent.folders import PrivateFolders
from docmill.worker.extraction.parent.ordered import (
    NOTHING_KEPT,
    OrderedExtraction,
    ordered_windows,
)
from docmill.worker.extraction.parent.owner_classes import OwnerClasses
from docmill.worker.extraction.parent.results import Header, Wanted
from docmill.worker.extraction.parent.supervisor import Supervisor, ZygoteUnavailableError
from docmill.worker.extraction.shared import profiles
from docmill.worker.extraction.shared.media_types import name_hint
from docmill.worker.extraction.shared.protocol import Limits
from docmill.worker.fair_gate import FairGate
from docmill.worker.memory import available_bytes
from docmill.worker.models import CHUNKING_VERSION, ChunkRules, Offer
from docmill.worker.ports import KeptWindows, StopCheck
from docmill.worker.tracing import Span

#: A number. Raise it when the elements of an unchanged file change; documents are then read again.
EXTRACTION_VERSION = "8"
#: One of this many children is reserved for owners who have no document being read.
_RESERVED_SHARE = 3
#: With less free memory than this, no more children than cores are started. Most children need a
#: tenth of it.
_ROOM_BYTES = 1024 * 1024 * 1024
#: Longest time that a zygote may take to start.
START_SECONDS = 60.0
#: How many windows of all documents together may be read ahead and wait in memory, for each child.
_HELD_PER_CHILD = 2
#: Address space for the models and the picture of one page, in addition to the zygote's.
OCR_MEMORY_BYTES = 1536 * 1024 * 1024


#: The name, among extras, of reading the comments of Word documents.
_COMMENTS = "comments"


@dataclass(frozen=True)
class ExtractionLimits:
    """Limits on reading documents, and what is read."""

    children: int  #: windows read at the same time
    timeout_seconds: float = 300  #: CPU time of all children that read one document
    patience: float = 4  #: the time limit by the clock is this many times longer: cores are shared
    memory_bytes: int = 2048 * 1024 * 1024  #: of one child, in addition to what it shares
    max_characters: int = 50_000_000  #: of one document
    ocr_timeout_seconds: float = 1800  #: like `timeout_seconds`, for pages that are pictures
    word_comments: bool = False  #: comments of Word documents are read

    def for_profile(self, profile: str) -> "ExtractionLimits":
        """Limits of a document that a child of this kind reads."""
        if profile != profiles.OCR:
            return self
        return replace(
            self, timeout_seconds=self.ocr_timeout_seconds, memory_bytes=OCR_MEMORY_BYTES
        )

    def of_child(self) -> Limits:
        """The limits that the kernel enforces."""
        cpu_seconds = math.ceil(self.timeout_seconds)
        return Limits(memory_bytes=self.memory_bytes, cpu_seconds=cpu_seconds)


class _Document:
    """A document being read: its owner, its stop check, and its remaining allowance.

    Using up the CPU time is the document's own fault, and final. The clock also runs while others
    use the cores, so it is only a second limit, after which the document is tried again. A program
    that hangs is not tried again.
    """

    def __init__(self, owner: str, limits: ExtractionLimits) -> None:
        self.owner = owner
        seconds = {
            profile: limits.for_profile(profile).timeout_seconds
            for profile in (profiles.PLAIN, *profiles.SPECIAL)
        }
        self._cpu_seconds = {
            profile: Allowance(allowed, code="parse_timeout", detail="CPU time")
            for profile, allowed in seconds.items()
        }
        self._seconds = {
            profile: TimeAllowance(
                limits.patience * allowed,
                code="parse_timeout" if profile in profiles.PROGRAMS else "parse_stalled",
                detail="wall clock",
            )
            for profile, allowed in seconds.items()
        }
        self.characters = Allowance(
            limits.max_characters, code="document_too_large", detail="too many characters"
        )

    def seconds(self, profile: str) -> TimeAllowance:
        """How long the worker may wait for its children of this kind."""
        return self._seconds[profile]

    def cpu_seconds(self, profile: str) -> Allowance:
        """How much CPU time its children of this kind may use."""
        return self._cpu_seconds[profile]


class GuardedExtractor:
    """Reads files in children forked from a zygote. Safe to use from many threads.

    The zygote starts in the background; `open` waits for it. If it dies, the documents that were
    being read fail with internal_error, which is tried again, and another zygote starts.
    """

    def __init__(
        self, limits: ExtractionLimits, *, temp_dir: Path | None = None, eager: bool = True
    ) -> None:
        """Start the zygote at once, or at the first document if not `eager`.

        Children have their private folders below `temp_dir`.
        """
        self._limits = limits
        self._slots = FairGate(
            limits.children,
            reserved=limits.children // _RESERVED_SHARE,
            is_open=self._has_memory_for,
        )
        # Each of these takes a core and a gigabyte for minutes, so they must not take all slots.
        self._special_slots = {profile: FairGate(1) for profile in profiles.SPECIAL}
        self._owner_classes = OwnerClasses()
        self._held = threading.Semaphore(_HELD_PER_CHILD * limits.children)
        self._folders = PrivateFolders(temp_dir or Path(tempfile.gettempdir()))
        self._supervisor = Supervisor(self._folders.root, eager=eager)

    def _has_memory_for(self, children: int) -> bool:
        """Whether this many children may run: as many as cores, and more while memory allows.

        The cores limit how fast documents are read. The additional children let short documents
        pass long ones, and may use memory only if enough is free.
        """
        if children <= (os.cpu_count() or 1):
            return True
        return available_bytes() >= min(self._limits.memory_bytes, _ROOM_BYTES)

    @property
    def zygote_pid(self) -> int | None:
        """Process id of the zygote, if there is one."""
        return self._supervisor.zygote_pid

    def version(self, file_name: str) -> str:
        """Changes when unchanged bytes may be read differently: other rules, name or extras.

        So a document with unread pages is read again after the extra `ocr` was installed.
        """
        return "+".join(filter(None, [EXTRACTION_VERSION, *self._extras(), name_hint(file_name)]))

    @property
    def offer(self) -> Offer:
        """How this process reads files; the part of `version` that does not depend on the name."""
        return Offer(int(EXTRACTION_VERSION), int(CHUNKING_VERSION), self._extras())

    def _extras(self) -> tuple[str, ...]:
        return (*profiles.available(), *([_COMMENTS] if self._limits.word_comments else []))

    @property
    def isolation(self) -> dict[str, Any]:
        """What the kernel granted, such as `no_network`; empty before the start."""
        return dict(self._supervisor.isolation)

    def ready(self, timeout_seconds: float = 0) -> bool:
        """Wait until documents can be read; False if they still cannot."""
        return self._supervisor.wait_ready(timeout_seconds)

    def close(self) -> None:
        """End the zygote and all children, remove all folders. Repeatable."""
        self._supervisor.close()
        self._folders.close()

    @contextmanager
    def open(
        self,
        path: Path,
        *,
        file_name: str,
        check: StopCheck,
        owner: str = "",
        kept: KeptWindows = NOTHING_KEPT,
        rules: ChunkRules | None = None,
    ) -> Iterator[OrderedExtraction]:
        """Sniff the file and begin to read it. `file_name` is a hint. Raises JobError.

        With rules, its windows hold chunks; otherwise elements. Windows that wait for a slot get
        one in the order of FairGate. However the `with` ends, no child, folder or descriptor is
        left.
        """
        document = _Document(owner, self._limits)
        with ordered_windows(
            partial(self._read, document),
            Task(path, file_name, word_comments=self._limits.word_comments),
            check=check,
            kept=kept,
            characters=document.characters,
            ahead=self._limits.children,
            held=self._held,
            rules=rules,
        ) as extraction:
            yield extraction

    @contextmanager
    def _read(self, document: _Document, task: Task, check: StopCheck) -> Iterator[OpenedWindow]:
        """Read one window in a child of its own, or in a second child of the kind that it needs."""
        with self._slot(document, task, check) as child:
            self._start(child, task, check)
            reader = ChildReader(child, task, document.seconds(profiles.PLAIN), check)
            if task.lines is not None:
                assert task.header is not None
                yield OpenedWindow(task.header, reader.parts())
                return
            header = reader.header()
            if isinstance(header, Header):
                seconds = document.seconds(profiles.PLAIN).drawn
                yield OpenedWindow(header, reader.parts(), profiles.PLAIN, seconds)
                return
        with self._special_slot(header, document, task, check) as child:
            self._start(child, task, check)
            reader = ChildReader(child, task, document.seconds(header.profile), check)
            yield OpenedWindow(reader.only_header(), reader.parts(), header.profile)

    @contextmanager
    def _special_slot(
        self, wanted: Wanted, document: _Document, task: Task, check: StopCheck
    ) -> Iterator[Child]:
        """A slot for a child of another kind. While waiting it holds no ordinary slot."""
        place = self._special_slots[wanted.profile].acquire(document.owner, 1, check)
        try:
            with self._slot(document, task, check, wanted.profile) as child:
                child.become(wanted)
                yield child
        finally:
            place.release()

    @contextmanager
    def _slot(
        self, document: _Document, task: Task, check: StopCheck, profile: str = profiles.PLAIN
    ) -> Iterator[Child]:
        began = time.monotonic()
        slot = self._slots.acquire(document.owner, 1, check)
        cpu = document.cpu_seconds(profile)
        limits = self._limits.for_profile(profile).of_child()
        limits = replace(limits, cpu_seconds=min(limits.cpu_seconds, math.ceil(cpu.left) or 1))
        child = Child(
            *(self._supervisor, self._folders, slot, limits),
            owner_classes=self._owner_classes,
            span=_span_of(task, waited_seconds=time.monotonic() - began),
        )
        try:
            cpu.require()
            yield child
        finally:
            child.close()
            cpu.note(child.cpu_seconds)

    def _start(self, child: Child, task: Task, check: StopCheck) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and not self._supervisor.closing:
            check()
            if not self._supervisor.wait_ready(POLL_SECONDS):
                continue
            try:
                child.start(task)
            except ZygoteUnavailableError:
                continue  # it died since the line above; another one is starting
            except OSError as error:
                code = "no_space" if error.errno in NO_SPACE else "internal_error"
                raise JobError(code, type(error).__name__) from error
            return
        raise JobError("internal_error", "there is no extraction zygote")


def _span_of(task: Task, *, waited_seconds: float) -> Span:
    """What a child does, from the moment when it may start."""
    return tracing.start(
        "read" if task.lines is None else "chunk",
        parent=tracing.current(),
        attributes={"docmill.waited_seconds": round(waited_seconds, 3)},
    )

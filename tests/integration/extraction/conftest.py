"""Two extractors for the session: a real one, and one whose parsers obey the documents."""

import array
import ctypes
import fcntl
import gc
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from docmill.worker.errors import JobError
from docmill.worker.extraction import ExtractionLimits, GuardedExtractor
from docmill.worker.extraction.parent import supervisor
from docmill.worker.models import Element
from tests.faults.mutants import VARIABLE

MIB = 1024 * 1024
HOSTILE: tuple[str, ...] = (
    *(sys.executable, "-I", str(Path(__file__).with_name("hostile_zygote.py"))),
    *(f"--mutant={name}" for name in [os.environ.get(VARIABLE)] if name),
)


@dataclass(frozen=True)
class Document:
    """A document that was read to its end."""

    mime_type: str
    page_count: int | None
    title: str | None
    elements: list[Element]
    unread_pages: list[int]

    @property
    def text(self) -> str:
        return "\n".join(element.text for element in self.elements)


def read_document(
    extractor: GuardedExtractor,
    path: Path,
    name: str = "",
    check: Callable[[], None] = lambda: None,
) -> Document:
    with extractor.open(path, file_name=name or path.name, check=check) as extraction:
        windows = list(extraction.windows())
        return Document(
            extraction.mime_type,
            extraction.page_count,
            extraction.title,
            [element for window in windows for element in window.elements],
            [page for window in windows for page in window.unread_pages],
        )


def code_of(extractor: GuardedExtractor, path: Path, name: str = "") -> str:
    with pytest.raises(JobError) as caught:
        read_document(extractor, path, name)
    return caught.value.code


def pid_of(extractor: GuardedExtractor) -> int:
    assert extractor.zygote_pid is not None
    return extractor.zygote_pid


def children_of(pid: int | None) -> list[int]:
    """Children of a process, with zombies; none if there is no such process."""
    if not is_running(pid or 0):
        return []
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in listed.split()]


def wait_until(condition: Callable[[], object], seconds: float = 20) -> None:
    """Wait until another process has done something that it does not report."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "timed out"
        threading.Event().wait(0.01)


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def processes_in(folder: Path) -> list[int]:
    """Processes whose working folder is below a folder, or was before it was removed."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if str((process / "cwd").readlink()).startswith(f"{folder}/"):
                found.append(int(process.name))
    return [pid for pid in found if is_running(pid)]


def condition_of(pid: int) -> list[object]:
    """The properties of a process that another process could change."""
    process = Path(f"/proc/{pid}")
    return [
        (process / "limits").read_text(),
        os.getpriority(os.PRIO_PROCESS, pid),
        os.sched_getscheduler(pid),
        os.sched_getaffinity(pid),
        ctypes.CDLL(None).syscall(252, 1, pid),  # ioprio_get
        (process / "oom_score_adj").read_text(),
        next(s for s in (process / "status").read_text().splitlines() if "TracerPid" in s),
    ]


def left_memory() -> list[str]:
    """Memory, semaphores and queues of the whole machine with a key of the attacks."""
    tables = [Path("/proc/sysvipc", name).read_text() for name in ("shm", "sem", "msg")]
    rows = [row for table in tables for row in table.splitlines()[1:]]
    return [row for row in rows if 0x5EC0 <= int(row.split()[0]) < 0x5ED0]


def state_of(path: Path) -> list[object]:
    status = path.lstat()
    flags = array.array("l", [0])
    with path.open("rb") as file:
        fcntl.ioctl(file, 0x80086601, flags)  # FS_IOC_GETFLAGS
        return [
            file.read(),
            (status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns, status.st_nlink),
            {name: os.getxattr(path, name) for name in os.listxattr(path)},
            flags[0],
        ]


@contextmanager
def most_taken(folder: Path) -> Iterator[list[int]]:
    """The space in use, as the file system reports it, with hidden and removed files."""
    peak, over = [0], threading.Event()

    def look() -> None:
        while not over.wait(0.002):
            state = os.statvfs(folder)
            peak[0] = max(peak[0], (state.f_blocks - state.f_bfree) * state.f_frsize)

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield peak
    finally:
        over.set()
        looking.join()


def assert_nothing_left(extractor: GuardedExtractor) -> None:
    """No child, and no folder of one, is left."""
    # The child is reaped before its end is reported; a grandchild that ran away ends soon after.
    wait_until(lambda: not children_of(extractor.zygote_pid))
    wait_until(lambda: not processes_in(extractor._folders.root))
    assert [path.name for path in extractor._folders.root.iterdir()] == ["lock"]


@contextmanager
def running_extractor(folder: Path, limits: ExtractionLimits) -> Iterator[GuardedExtractor]:
    """An extractor that reads every document at once."""
    made = GuardedExtractor(limits, temp_dir=folder)
    try:
        assert made.ready(60)
        yield made
    finally:
        made.close()


@contextmanager
def limited(extractor: GuardedExtractor, **limits: Any) -> Iterator[None]:
    """Other limits for documents opened in the block, so that no second zygote must start."""
    ordinary = extractor._limits
    extractor._limits = replace(ordinary, **limits)
    try:
        yield
    finally:
        extractor._limits = ordinary


@pytest.fixture(scope="session")
def extractor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardedExtractor]:
    """The real extractor."""
    limits = ExtractionLimits(children=4, timeout_seconds=30, memory_bytes=1024 * MIB)
    with running_extractor(tmp_path_factory.mktemp("extraction"), limits) as made:
        yield made


@pytest.fixture
def make_hostile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., GuardedExtractor]]:
    """Makes extractors whose children obey their documents."""
    monkeypatch.setattr(supervisor, "ZYGOTE", HOSTILE)
    made: list[GuardedExtractor] = []

    def make(**limits: Any) -> GuardedExtractor:
        folder = tmp_path / f"extraction{len(made)}"
        folder.mkdir()
        settings: dict[str, Any] = {
            "children": 4,
            "timeout_seconds": 20,
            "memory_bytes": 512 * MIB,
        } | limits
        made.append(GuardedExtractor(ExtractionLimits(**settings), temp_dir=folder))
        assert made[-1].ready(20)
        return made[-1]

    yield make
    for extractor in made:
        extractor.close()


@pytest.fixture
def hostile(make_hostile: Callable[..., GuardedExtractor]) -> Iterator[GuardedExtractor]:
    """A hostile extractor with ordinary limits. After each test nothing may be left."""
    made = make_hostile()
    # Garbage of earlier tests may hold some and be collected at any time, so fewer is no leak.
    gc.collect()
    descriptors = open_descriptors()
    yield made
    assert_nothing_left(made)
    wait_until(lambda: open_descriptors() <= descriptors)


@pytest.fixture
def order(tmp_path: Path) -> Callable[[str], Path]:
    """A document for a hostile extractor."""

    def write(text: str) -> Path:
        path = tmp_path / "order"
        path.write_text(text)
        return path

    return write


@pytest.fixture
def victim() -> Iterator[int]:
    """An unrelated process of the same user."""
    with subprocess.Popen(["sleep", "1000"]) as process:
        yield process.pid
        assert process.poll() is None, "it was killed"
        process.kill()

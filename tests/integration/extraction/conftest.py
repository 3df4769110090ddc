"""Two extractors for the session: one with the parsers, one whose parsers obey the documents."""

import gc
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from docmill.worker.errors import JobError
from docmill.worker.extraction import ExtractionLimits, GuardedExtractor
from docmill.worker.extraction.parent import supervisor
from docmill.worker.models import Element

MIB = 1024 * 1024
HOSTILE = (sys.executable, "-I", str(Path(__file__).with_name("hostile_zygote.py")))


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
    """Children of a process, zombies included; none when there is no such process."""
    if not is_running(pid or 0):
        return []
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in listed.split()]


def wait_until(condition: Callable[[], object], seconds: float = 20) -> None:
    """Wait for what another process does, of which nobody tells us."""
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


def assert_nothing_left(extractor: GuardedExtractor) -> None:
    """No child, and no folder of one, is left."""
    # A child is reaped before we hear of its end, a grandchild that ran away soon after.
    wait_until(lambda: not children_of(extractor.zygote_pid))
    assert [path.name for path in extractor._folders.root.iterdir()] == ["lock"]


@contextmanager
def running_extractor(folder: Path, limits: ExtractionLimits) -> Iterator[GuardedExtractor]:
    """One that reads at once what it is given."""
    made = GuardedExtractor(limits, temp_dir=folder)
    try:
        assert made.ready(60)
        yield made
    finally:
        made.close()


@contextmanager
def limited(extractor: GuardedExtractor, **limits: Any) -> Iterator[None]:
    """Other limits for what is opened meanwhile: for them, no second zygote has to start."""
    ordinary = extractor._limits
    extractor._limits = replace(ordinary, **limits)
    try:
        yield
    finally:
        extractor._limits = ordinary


@pytest.fixture(scope="session")
def extractor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardedExtractor]:
    """The real one."""
    limits = ExtractionLimits(children=4, timeout_seconds=30, memory_bytes=1024 * MIB)
    with running_extractor(tmp_path_factory.mktemp("extraction"), limits) as made:
        yield made


@pytest.fixture
def make_hostile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., GuardedExtractor]]:
    """Extractors whose children do what their document says."""
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
    """One with ordinary limits. Whatever a test does with it, nothing may be left."""
    made = make_hostile()
    # Garbage of earlier tests may hold some, and be collected at any time: fewer is no leak.
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

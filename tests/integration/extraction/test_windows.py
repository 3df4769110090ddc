"""Large documents are read in windows: several at once, and kept ones are not read again."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import pytest

from docmill.worker.errors import CancelledRunError, JobError
from docmill.worker.extraction import ExtractionLimits, GuardedExtractor
from docmill.worker.extraction.child.kinds import office
from docmill.worker.extraction.child.kinds.base import Source
from docmill.worker.extraction.child.kinds.pdf.reading import WINDOW_PAGES
from docmill.worker.extraction.child.kinds.registry import open_reading
from docmill.worker.extraction.parent import read_ahead
from docmill.worker.extraction.parent.allowance import Allowance
from docmill.worker.extraction.parent.child_reader import OpenedWindow, Task
from docmill.worker.extraction.parent.ordered import NOTHING_KEPT, OrderedExtraction
from docmill.worker.extraction.parent.read_ahead import ReadAhead
from docmill.worker.extraction.parent.records import replayed
from docmill.worker.extraction.parent.results import Header
from docmill.worker.extraction.shared.parts import Bounds, PageEnd
from docmill.worker.models import Element
from docmill.worker.ports import KeptWindows, StopCheck
from tests.integration.extraction.conftest import MIB, assert_nothing_left, running_extractor
from tests.integration.extraction.documents import make_large_xlsx, make_pdf

#: Three windows: more than twice the content of one.
PAGES = 2 * WINDOW_PAGES + 20


class Kept:
    """Keeps windows in memory."""

    def __init__(self) -> None:
        self.contents: dict[int, bytes] = {}

    def numbers(self) -> list[int]:
        return list(self.contents)

    def load(self, number: int) -> bytes:
        return self.contents[number]

    def keep(self, number: int, content: bytes) -> None:
        assert number not in self.contents
        self.contents[number] = content


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Pages with text, with only a page number, and with nothing."""
    found = tmp_path / "report.pdf"
    texts = ["", "Page {0}", *["Kiln {1} is fired on day {2}."] * 5]
    pages = [texts[n % 7].format(n, 37 * n % 101, 17 * n % 97) for n in range(1, PAGES + 1)]
    found.write_bytes(make_pdf(pages, title="Kilns"))
    return found


@pytest.fixture
def started(extractor: GuardedExtractor, monkeypatch: pytest.MonkeyPatch) -> list[Bounds | None]:
    """The windows for which a child was started."""
    windows: list[Bounds | None] = []
    start = extractor._supervisor.start_child

    def count(request, *descriptors):
        windows.append(request.window)
        return start(request, *descriptors)

    monkeypatch.setattr(extractor._supervisor, "start_child", count)
    return windows


def read(
    extractor: GuardedExtractor, path: Path, kept: KeptWindows = NOTHING_KEPT
) -> tuple[list[Element], list[int], list[int]]:
    """Elements, pages without text, and pages done after each window."""
    with extractor.open(path, file_name=path.name, check=lambda: None, kept=kept) as extraction:
        windows = list(extraction.windows())
        assert extraction.page_count == PAGES
        return (
            [element for window in windows for element in window.elements],
            [page for window in windows for page in window.unread_pages],
            [window.pages_done for window in windows],
        )


def test_the_windows_are_the_document(extractor: GuardedExtractor, path: Path) -> None:
    elements, unread, done = read(extractor, path)
    with path.open("rb") as file:
        whole = list(open_reading(Source(file, "a.pdf"))[1].parts)
    assert elements == [part for part in whole if isinstance(part, Element)]
    assert unread == [
        part.number for part in whole if isinstance(part, PageEnd) and not part.has_text
    ]
    assert done == [WINDOW_PAGES, 2 * WINDOW_PAGES, PAGES]


def test_what_is_kept_is_not_read_again(
    extractor: GuardedExtractor, path: Path, started: list[Bounds | None]
) -> None:
    first, second = WINDOW_PAGES + 1, 2 * WINDOW_PAGES + 1
    kept = Kept()
    found = read(extractor, path, kept)
    assert set(started) == {None, (first, second), (second, None)}
    assert len(started) == 3
    assert sorted(kept.contents) == [1, 2, 3]
    # The plan is kept only once.
    assert [len(replayed(kept.contents[number])[0].starts) for number in (1, 2, 3)] == [3, 0, 0]
    started.clear()

    assert read(extractor, path, kept) == found
    assert started == []

    del kept.contents[2]
    assert read(extractor, path, kept) == found
    assert started == [(first, second)]

    del kept.contents[1]
    assert read(extractor, path, kept) == found
    assert started == [(first, second), None]


def test_a_run_that_is_stopped_has_kept_what_it_has_used(
    extractor: GuardedExtractor, path: Path, started: list[Bounds | None]
) -> None:
    kept = Kept()
    with extractor.open(path, file_name="a.pdf", check=lambda: None, kept=kept) as extraction:
        windows = extraction.windows()
        next(windows)
        next(windows)
    assert_nothing_left(extractor)
    assert 1 in kept.contents
    assert 3 not in kept.contents
    started.clear()
    read(extractor, path, kept)
    assert None not in started
    assert (2 * WINDOW_PAGES + 1, None) in started


def test_a_small_document_is_not_kept(extractor: GuardedExtractor, tmp_path: Path) -> None:
    path, kept = tmp_path / "a.txt", Kept()
    path.write_text("A short note about kilns.")
    with extractor.open(path, file_name="a.txt", check=lambda: None, kept=kept) as extraction:
        list(extraction.windows())
    assert kept.contents == {}


def test_windows_that_are_too_long_to_wait_are_read_when_their_turn_comes(
    extractor: GuardedExtractor,
    path: Path,
    started: list[Bounds | None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = read(extractor, path)
    started.clear()
    monkeypatch.setattr(read_ahead, "_MOST_CHARACTERS", 100)
    assert read(extractor, path) == found
    assert len(started) == 5


def test_a_stop_ends_the_reading_ahead(path: Path, tmp_path: Path) -> None:
    stop = threading.Event()
    limits = ExtractionLimits(children=1, timeout_seconds=30, memory_bytes=1024 * MIB)

    def check() -> None:
        if stop.is_set():
            raise CancelledRunError

    with running_extractor(tmp_path, limits) as extractor:
        with extractor.open(path, file_name="a.pdf", check=check) as extraction:
            windows = extraction.windows()
            next(windows)
            stop.set()
            with pytest.raises(CancelledRunError):
                list(windows)
        assert_nothing_left(extractor)


def test_the_limit_of_a_document_holds_for_all_its_windows(path: Path, tmp_path: Path) -> None:
    limits = ExtractionLimits(
        children=2, timeout_seconds=30, memory_bytes=1024 * MIB, max_characters=3_000
    )
    with running_extractor(tmp_path, limits) as extractor, pytest.raises(Exception) as caught:
        read(extractor, path)
    assert getattr(caught.value, "code", None) == "document_too_large"


@pytest.mark.parametrize("pages", [[(1, 2), (2,)], [(1, 3), (2,)], [(1,), (6,)], [(5, 6)]])
def test_pages_that_no_child_of_ours_would_end_end_the_document(pages: list[tuple[int]]) -> None:
    class Windows:
        def in_order(self) -> Iterator[Iterator[PageEnd]]:
            return (iter([PageEnd(page, has_text=True) for page in window]) for window in pages)

    characters = Allowance(10_000, code="document_too_large", detail="")
    extraction = OrderedExtraction(Header("application/pdf", 5, None), Windows(), characters)  # type: ignore[arg-type]  # stands in
    with pytest.raises(JobError, match="out of order"):
        list(extraction.windows())


def test_windows_are_read_at_the_same_time() -> None:
    """Each waits until the other is being read as well."""
    both = threading.Barrier(2, timeout=180)

    @contextmanager
    def opened(task: Task, check: StopCheck) -> Iterator[OpenedWindow]:
        both.wait()
        yield OpenedWindow(
            Header("text/plain", None, None), iter([Element("Text", str(task.window))])
        )

    tasks = {number: Task(Path("a"), "a", (number, None)) for number in (2, 3)}
    held = threading.Semaphore(2)
    with ReadAhead(opened, tasks, ahead=2, held=held, check=lambda: None) as reader:
        reader.begin()
        texts = [part.text for n in tasks for part in reader.parts(n) if isinstance(part, Element)]
    assert texts == ["(2, None)", "(3, None)"]
    assert [held.acquire(blocking=False) for _ in range(3)] == [True, True, False]


def test_what_memory_has_no_room_for_is_read_when_it_is_asked_for() -> None:
    by_whoever_asked = {}

    @contextmanager
    def opened(task: Task, check: StopCheck) -> Iterator[OpenedWindow]:
        assert task.window is not None
        asked = threading.current_thread() is threading.main_thread()
        by_whoever_asked[task.window[0]] = asked
        yield OpenedWindow(Header("text/plain", None, None), iter([Element("Text", "a")]))

    tasks = {number: Task(Path("a"), "a", (number, None)) for number in (2, 3, 4)}
    held = threading.Semaphore(1)
    with ReadAhead(opened, tasks, ahead=2, held=held, check=lambda: None) as reader:
        assert held.acquire()  # as if another document had it
        reader.begin()
        assert len(list(reader.parts(2))) == 1
        held.release()
        assert len(list(reader.parts(3))) == 1
        assert len(list(reader.parts(4))) == 1
    assert by_whoever_asked == {2: True, 3: True, 4: False}


def test_a_stop_in_the_middle_of_a_window_leaves_no_child(
    extractor: GuardedExtractor, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read_ahead, "_MOST_CHARACTERS", 100)
    with extractor.open(path, file_name="a.pdf", check=lambda: None) as extraction:
        reader = extraction._windows._reader
        reader.begin()
        held = reader.parts(2)
        next(held)
    assert_nothing_left(extractor)
    assert extractor._slots.used == 0
    del held


def test_a_window_is_not_read_as_another_kind(tmp_path: Path) -> None:
    """For example if the name that decided the type was changed meanwhile."""
    data = b"a,b\n" * 100
    source = Source(BytesIO(data), "a.csv", window=(0, 40), media_type="text/plain")
    with pytest.raises(JobError, match="another kind"):
        open_reading(source)


@pytest.mark.parametrize(
    ("before", "after", "same"),
    [
        ("a.txt", "b/c.txt", True),
        ("a.pdf", "a.docx", True),
        ("a.txt", "a.csv", False),
        ("a.csv", "a.TSV", False),
        ("notes", "notes.md", False),
        ("notes", "Makefile", False),
    ],
)
def test_what_is_kept_belongs_to_names_that_say_the_same(
    extractor: GuardedExtractor, before: str, after: str, same: bool
) -> None:
    assert (extractor.version(before) == extractor.version(after)) == same


def test_sheets_are_read_in_windows(
    extractor: GuardedExtractor, tmp_path: Path, started: list[Bounds | None]
) -> None:
    path = tmp_path / "a.xlsx"
    path.write_bytes(make_large_xlsx(3))
    with extractor.open(path, file_name="a.xlsx", check=lambda: None) as extraction:
        found = [element for window in extraction.windows() for element in window.elements]
    assert set(started) == {None, (2, 3), (3, None)}
    whole = office.read_xlsx(Source(BytesIO(path.read_bytes()), "a.xlsx")).parts
    assert found == [part for part in whole if isinstance(part, Element)]


@pytest.mark.parametrize(
    ("sizes", "shared", "starts"),
    [
        ([5, 5, 5], 0, (1, 2, 3)),
        ([1, 1, 1, 1, 9, 1], 0, (1, 5, 6)),
        # If each window must read more shared data, the windows are larger and fewer.
        ([5, 5, 5, 5], 2, (1, 3)),
        ([5, 5, 5, 5], 9, (1,)),
        ([5] * 64, 0, tuple(range(1, 65, 4))),
    ],
)
def test_a_window_is_worth_what_it_takes_to_open_it(
    sizes: list[int], shared: int, starts: tuple[int, ...]
) -> None:
    mib = 1024 * 1024
    found = office._window_starts([size * mib for size in sizes], shared=shared * mib)
    assert found == starts

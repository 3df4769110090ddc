"""Large documents are read in windows: several at once, and none again that is kept."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from io import BytesIO
from itertools import pairwise
from pathlib import Path

import openpyxl
import pytest

from tests.integration.extraction.conftest import MIB, assert_nothing_left, running_extractor
from tests.integration.extraction.documents import make_pdf
from worker.errors import CancelledRunError
from worker.extraction import ExtractionLimits, GuardedExtractor, read_ahead
from worker.extraction.child_reader import Task
from worker.extraction.kinds import office, pdf
from worker.extraction.kinds.base import Bounds, PageEnd, Source
from worker.extraction.kinds.registry import open_reading
from worker.extraction.ordered import NOTHING_KEPT, OpenedWindow
from worker.extraction.read_ahead import ReadAhead
from worker.extraction.results import Header
from worker.models import Element
from worker.ports import KeptWindows, StopCheck

#: Three windows: more than two times what one holds.
PAGES = 2 * pdf.WINDOW_PAGES + 20


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
    """Pages with text, with nothing but a page number, and with nothing at all."""
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
    assert done == [pdf.WINDOW_PAGES, 2 * pdf.WINDOW_PAGES, PAGES]


def test_what_is_kept_is_not_read_again(
    extractor: GuardedExtractor, path: Path, started: list[Bounds | None]
) -> None:
    first, second = pdf.WINDOW_PAGES + 1, 2 * pdf.WINDOW_PAGES + 1
    kept = Kept()
    found = read(extractor, path, kept)
    assert set(started) == {None, (first, second), (second, None)}
    assert len(started) == 3
    assert sorted(kept.contents) == [1, 2, 3]
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
    assert (2 * pdf.WINDOW_PAGES + 1, None) in started


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


def test_windows_are_read_at_the_same_time() -> None:
    """Each waits until the other is being read as well."""
    both = threading.Barrier(2, timeout=20)

    @contextmanager
    def opened(task: Task, check: StopCheck) -> Iterator[OpenedWindow]:
        both.wait()
        yield OpenedWindow(
            Header("text/plain", None, None), iter([Element("Text", str(task.window))])
        )

    tasks = {number: Task(Path("a"), "a", (number, None)) for number in (2, 3)}
    with ReadAhead(opened, tasks, ahead=2, check=lambda: None) as reader:
        reader.begin()
        texts = [part.text for n in tasks for part in reader.parts(n) if isinstance(part, Element)]
    assert texts == ["(2, None)", "(3, None)"]


def test_sheets_are_read_in_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(office, "_WINDOW_BYTES", 2_000)
    book, out = openpyxl.Workbook(), BytesIO()
    for name in ("kilns", "glazes", "clays", "tools"):
        sheet = book.create_sheet(name)
        sheet.append(["number", "of"])
        for number in range(20):
            sheet.append([number, name])
    book.save(out)

    whole = Source(BytesIO(out.getvalue()), "a.xlsx")
    first = office.read_xlsx(replace(whole, first_only=True))
    assert len(first.starts) > 2
    found = list(first.parts)
    for window in [*pairwise(first.starts), (first.starts[-1], None)][1:]:
        found += office.read_xlsx(replace(whole, window=window)).parts
    assert found == list(office.read_xlsx(whole).parts)

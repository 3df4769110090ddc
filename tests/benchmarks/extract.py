"""How fast documents are read, and in how much memory. `make bench-extract`.

The other side is unchanged unstructured, in a process that takes turns with docmill's; both read
one document at a time, on one core, measured in CPU time. `partition_pdf` needs packages that
docmill does not have: name a Python that has them to measure it too.

    python -m tests.benchmarks.extract --unstructured-python /path/to/python --corpus folder/of/pdfs

To make such a Python without the gigabytes that "fast" does not use: pip install
"unstructured[docx]" pandas pdfminer.six pypdf pypdfium2 pdf2image pikepdf pi-heif
opencv-python-headless scipy onnx onnxruntime huggingface_hub matplotlib rapidfuzz; then
pip install --no-deps unstructured-inference unstructured.pytesseract.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pypdfium2
from rapidfuzz.distance import Indel

from docmill.worker.errors import JobError
from docmill.worker.extraction import ExtractionLimits, GuardedExtractor
from docmill.worker.extraction.child.chunking.chunker import chunk_elements
from docmill.worker.extraction.child.chunking.tokens import counter_for
from docmill.worker.extraction.child.kinds.base import ProfileNeededError, Source
from docmill.worker.extraction.child.kinds.pdf.reading import read_pdf
from docmill.worker.extraction.child.kinds.registry import open_reading
from docmill.worker.extraction.parent import guard
from docmill.worker.extraction.parent.supervisor import ChildHandle, Supervisor
from docmill.worker.extraction.shared.protocol import Request
from docmill.worker.extraction.zygote import warm
from docmill.worker.log import configure_logging
from docmill.worker.models import Element
from docmill.worker.ports import Extraction
from docmill.worker.settings.processes import Settings
from tests.benchmarks import made_documents
from tests.benchmarks.extractors import READY_SECONDS, extractor
from tests.benchmarks.figures import Figures, machine, print_table

RUNS = 5
#: A document is read only once if all sides together take longer than this.
ENOUGH_SECONDS = 12.0
SHORT_RUNS = 100
COLD_RUNS = 3
MEMORY_RUNS = 2
PDF_PAGES, WORD_PAGES, SHEET_ROWS = 40, 800, 5_000
MEMORY_PAGES = (50, 400, 2_000)
DOCUMENTS, PAGES_EACH, LARGE_PAGES = 4, 100, 400
#: Milliseconds per page of "fast" in unstructured 0.27.32, measured with 88 pages of real PDFs on
#: another machine; shown if it is not measured here.
PUBLISHED_MS = 41.9

TARGETS: list[tuple[str, str, bool]] = []


def aim(what: str, measured: str, *, met: bool) -> None:
    """Note the result for a target, for the table at the end."""
    TARGETS.append((what, measured, met))


class AsItComes:
    """unstructured in another process: see as_it_comes.py."""

    def __init__(self, python: str) -> None:
        """Start it."""
        program = Path(__file__).with_name("as_it_comes.py")
        self._process = subprocess.Popen(
            [python, str(program)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def seconds(self, kind: str, path: Path) -> float:
        """CPU time of one partitioning."""
        assert self._process.stdin
        assert self._process.stdout
        print(json.dumps({"kind": kind, "path": str(path)}), file=self._process.stdin, flush=True)
        answer = json.loads(self._process.stdout.readline())
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return float(answer["seconds"])

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()


@contextmanager
def as_it_comes(python: str) -> Iterator[AsItComes]:
    """The process, while it is needed."""
    other = AsItComes(python)
    try:
        yield other
    finally:
        other.close()


def take_turns(*sides: tuple[Figures, Callable[[], float]]) -> None:
    """Measure all sides in each round; long documents only in one round."""
    for _ in range(RUNS):
        for figures, measure in sides:
            figures.values.append(measure())
        if sum(figures.values[0] for figures, _ in sides) > ENOUGH_SECONDS:
            return


def read_here(path: Path) -> float:
    """CPU time of docmill's reader, in this process."""
    began = time.process_time()
    with path.open("rb") as file:
        for _ in open_reading(Source(file=file, file_name=path.name))[1].parts:
            pass
    return time.process_time() - began


# -- PDF


def measure_pdf(path: Path, other: AsItComes | None) -> tuple[list[Figures], float]:
    """Pages per second of all sides, and how many times docmill is faster."""
    pages = len(pypdfium2.PdfDocument(path))
    ours = Figures(f"{path.name}, {pages} pages: docmill", "s")
    raw = Figures(f"{path.name}: pdfium's text alone", "s")
    theirs = Figures(f"{path.name}: partition_pdf, fast", "s")
    sides = [
        (ours, lambda: read_here(path)),
        (raw, lambda: read_raw(path)),
    ]
    if other:
        sides.append((theirs, lambda: other.seconds("pdf", path)))
    take_turns(*sides)
    measured = [side for side, _ in sides]
    slow = theirs.quantile(0.5) if other else PUBLISHED_MS / 1000 * pages
    factor = slow / ours.quantile(0.5)
    return [per_second(side, pages) for side in measured], factor


def per_second(seconds: Figures, pages: int) -> Figures:
    """Pages per second, from seconds per document."""
    return Figures(seconds.name, "pages/s", [pages / value for value in seconds.values])


def read_raw(path: Path) -> float:
    """CPU time of pdfium's own text, without any structure."""
    began = time.process_time()
    for _ in raw_pages(path):
        pass
    return time.process_time() - began


def raw_pages(path: Path) -> Iterator[str]:
    """The text of each page from pdfium."""
    document = pypdfium2.PdfDocument(path)
    for page in document:
        text_page = page.get_textpage()
        yield text_page.get_text_range()
        text_page.close()
        page.close()
    document.close()


def similarity(path: Path) -> float:
    """How similar docmill's text is to pdfium's, in the same order: from 0 to 1.

    Twice the longest common subsequence of characters, divided by the characters of both; by page,
    weighted by length. White space does not count, nor do docmill's bars between cells and pdfium's
    mark of a broken word. docmill keeps a running head or foot only at its first place, so both
    sides leave it out on later pages: lines at a page's edge that equal one of docmill's Header
    elements, except for numbers.
    """
    ours: dict[int, list[Element]] = {}
    with path.open("rb") as file:
        for part in read_pdf(Source(file=file, file_name=path.name)).parts:
            if isinstance(part, Element):
                ours.setdefault(part.page or 0, []).append(part)
    heads = {
        without_numbers(e.text) for found in ours.values() for e in found if e.category == "Header"
    }
    alike = length = 0.0
    for number, raw in enumerate(raw_pages(path), start=1):
        mine = letters("".join(e.text for e in ours.get(number, ()) if e.category != "Header"))
        theirs = letters(without_heads(raw, heads))
        weight = len(mine) + len(theirs)
        alike += Indel.normalized_similarity(mine, theirs) * weight
        length += weight
    return alike / length if length else 1.0


def without_heads(page: str, heads: set[str]) -> str:
    """The page without running heads, among the first and last three lines."""
    lines = [line for line in page.split("\r\n") if line.strip()]
    edge = {*range(3), *range(len(lines) - 3, len(lines))}
    return "\n".join(
        line for n, line in enumerate(lines) if n not in edge or without_numbers(line) not in heads
    )


def without_numbers(line: str) -> str:
    """A line in a form that is the same on every page."""
    return "".join("#" if c.isdigit() else c for c in " ".join(line.split())).replace("##", "#")


def letters(text: str) -> str:
    """The letters that are compared."""
    return "".join(text.split()).translate({ord("|"): None, 0xFFFE: None})


def compare_pdfs(paths: Sequence[Path], python: str | None) -> None:
    """PDFs against unstructured and against pdfium."""
    cases: list[Figures] = []
    rows = []
    with ExitStack() as stack:
        other = stack.enter_context(as_it_comes(python)) if python else None
        if other:
            other.seconds("pdf", paths[0])  # which imports the modules that it needs
        for path in paths:
            try:
                figures, factor = measure_pdf(path, other)
            except (JobError, ProfileNeededError, RuntimeError, pypdfium2.PdfiumError) as error:
                print(f"{path.name}: left out, {type(error).__name__}: {error}")
                continue
            cases += figures
            rows.append((path.name, factor, similarity(path)))
    print_table(cases)
    if not python:
        print(
            f"\npartition_pdf was not measured here: {PUBLISHED_MS} ms a page is what others "
            "measured elsewhere, on other documents (unstructured 0.27.32, fast)."
        )
    print("\n| PDF | times as fast | similarity to pdfium's text |\n| --- | --- | --- |")
    for name, factor, alike in rows:
        print(f"| {name} | {factor:.1f} | {alike:.3f} |")
    least = min(rows, key=lambda row: row[1])
    aim(
        "PDF: 15 times as fast as partition_pdf",
        f"{least[1]:.1f} (the least of {len(rows)}){'' if python else ', by its published figure'}",
        met=least[1] >= 15,
    )
    unlike = min(rows, key=lambda row: row[2])
    aim(
        "PDF: similarity 0.95", f"{unlike[2]:.3f} (the least of {len(rows)})", met=unlike[2] >= 0.95
    )


# -- other kinds


def compare_kinds(folder: Path) -> None:
    """Compare Word, HTML, text and Excel with unstructured, in seconds per document."""
    documents: dict[str, tuple[Callable[[int], bytes], int]] = {
        "docx": (made_documents.make_docx, WORD_PAGES),
        "html": (made_documents.make_html, WORD_PAGES),
        "text": (made_documents.make_text, WORD_PAGES),
        "xlsx": (made_documents.make_xlsx, SHEET_ROWS),
    }
    factors = {}
    cases = []
    with as_it_comes(sys.executable) as other:
        for kind, (make, length) in documents.items():
            path = folder / f"a.{'txt' if kind == 'text' else kind}"
            path.write_bytes(make(length))
            short = folder / f"warm{path.suffix}"
            short.write_bytes(make(1))
            other.seconds(kind, short)
            ours = Figures(f"{path.suffix[1:].upper()}: docmill", "s")
            theirs = Figures(f"{path.suffix[1:].upper()}: unstructured", "s")
            take_turns(
                (ours, lambda path=path: read_here(path)),  # type: ignore[misc]
                (theirs, lambda kind=kind, path=path: other.seconds(kind, path)),  # type: ignore[misc]
            )
            cases += [ours, theirs]
            factors[kind] = theirs.quantile(0.5) / ours.quantile(0.5)
    print_table(cases)
    shown = ", ".join(f"{kind} {factor:.1f}" for kind, factor in factors.items())
    print(f"\nTimes as fast: {shown}")
    aim(
        f"DOCX, {WORD_PAGES} pages: twice as fast as partition_docx",
        f"{factors['docx']:.1f}",
        met=factors["docx"] >= 2,
    )


# -- children


def measure_short(folder: Path) -> None:
    """The time from the call to a page's elements, through a child; and without a zygote."""
    paths = {
        "DOCX": folder / "short.docx",
        "PDF": folder / "short.pdf",
        "text": folder / "short.txt",
    }
    paths["DOCX"].write_bytes(made_documents.make_docx(1))
    paths["PDF"].write_bytes(made_documents.make_pdf(1))
    paths["text"].write_bytes(made_documents.make_text(1))
    cases = {kind: Figures(f"{kind} of one page, in a child", "ms") for kind in paths}
    cold = Figures("DOCX of one page, in a new process without a zygote", "ms")
    with extractor(folder, ExtractionLimits(children=1)) as ready:
        for number in range(SHORT_RUNS):
            for kind, path in paths.items():
                cases[kind].values.append(1000 * seconds_to_read(ready, [path]))
            if number < COLD_RUNS:
                cold.values.append(1000 * cold_seconds(paths["DOCX"]))
    print_table([*cases.values(), cold])
    slowest = max(case.quantile(0.5) for case in cases.values())
    aim("one page through a child: p50 120 ms", f"{slowest:.0f} ms", met=slowest <= 120)


def cold_seconds(path: Path) -> float:
    """Wall time of a process that imports the readers and reads the file."""
    code = (
        "import sys; from pathlib import Path; from tests.benchmarks import extract; "
        "extract.warm.use_blank_sentence_splitter(); extract.read_here(Path(sys.argv[1]))"
    )
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", code, str(path)], check=True, capture_output=True)
    return time.perf_counter() - began


def seconds_to_read(ready: GuardedExtractor, paths: Sequence[Path]) -> float:
    """Wall time until all windows of all these documents are read, when started together."""

    def read(path: Path) -> int:
        with ready.open(path, file_name=path.name, check=lambda: None) as extraction:
            return sum(len(window.elements) for window in extraction.windows())

    began = time.perf_counter()
    with ThreadPoolExecutor(len(paths)) as threads:
        assert all(threads.map(read, paths))
    return time.perf_counter() - began


class WatchedSupervisor(Supervisor):
    """A supervisor that remembers its children, to show how they ended."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        """Start like the normal one."""
        self.handles: list[ChildHandle] = []
        super().__init__(*arguments, **options)

    def start_child(self, request: Request, document: int, result: int) -> ChildHandle:
        """Start like the normal one."""
        handle = super().start_child(request, document, result)
        self.handles.append(handle)
        return handle

    def most_memory(self) -> int:
        """The largest resident memory of a child since the last call, in bytes."""
        handles, self.handles = self.handles, []
        assert all(handle.ended.wait(READY_SECONDS) for handle in handles)
        return max(handle.ending.resident_bytes for handle in handles if handle.ending)


def measure_memory(folder: Path) -> None:
    """The largest resident memory of a child, by the length of the document.

    As the kernel counts it: memory that children share with the zygote counts for each.
    """
    cases = []
    with (
        patch.object(guard, "Supervisor", WatchedSupervisor),
        extractor(folder, ExtractionLimits(children=2)) as ready,
    ):
        supervisor = ready._supervisor
        assert isinstance(supervisor, WatchedSupervisor)
        cases.append(Figures("zygote", "MB", [ready.isolation["resident_bytes"] / 1e6]))
        for pages in MEMORY_PAGES:
            path = folder / f"{pages}.pdf"
            path.write_bytes(made_documents.make_pdf(pages))
            case = Figures(f"child, PDF of {pages:,} pages", "MB")
            for _ in range(MEMORY_RUNS):
                seconds_to_read(ready, [path])
                case.values.append(supervisor.most_memory() / 1e6)
            cases.append(case)
    print_table(cases)
    most = max(case.quantile(1) for case in cases[1:])
    aim("a child: 350 MB at most, however many pages", f"{most:.0f} MB", met=most <= 350)


def large_pdf(folder: Path) -> Path:
    """A PDF with many pages."""
    path = folder / "large.pdf"
    path.write_bytes(made_documents.make_pdf(LARGE_PAGES))
    return path


def measure_children(folder: Path) -> None:
    """Compare two children with one: on several documents at once, and on one large document."""
    several = [folder / f"several{number}.pdf" for number in range(DOCUMENTS)]
    for path in several:
        path.write_bytes(made_documents.make_pdf(PAGES_EACH))
    large = large_pdf(folder)
    work = {
        f"{DOCUMENTS} PDFs of {PAGES_EACH} pages": several,
        f"one PDF of {LARGE_PAGES:,} pages": [large],
    }
    cases: list[Figures] = []
    factors = []
    alone, beside = Figures("a computation, alone", "s"), Figures("the same, beside another", "s")
    with (
        extractor(folder, ExtractionLimits(children=1)) as one,
        extractor(folder, ExtractionLimits(children=2)) as two,
    ):
        for name, paths in work.items():
            sides = Figures(f"{name}, 1 child", "s"), Figures(f"{name}, 2 children", "s")
            for _ in range(RUNS):
                for side, ready in zip(sides, (one, two), strict=True):
                    side.values.append(seconds_to_read(ready, paths))
                alone.values += seconds_to_compute(1)
                beside.values += seconds_to_compute(2)
            cases += sides
            factors.append(sides[0].quantile(0.5) / sides[1].quantile(0.5))
    print_table([*cases, alone, beside])
    cores = 2 * alone.quantile(0.5) / beside.quantile(0.5)
    print(f"\nTwo processes that share nothing get {cores:.2f} times as much done here as one.")
    for name, factor in zip(work, factors, strict=True):
        aim(f"{name}: 1.7 times as fast with 2 children", f"{factor:.2f}", met=factor >= 1.7)


def seconds_to_compute(processes: int) -> list[float]:
    """How long this many processes take for the same work each: what this machine's cores give."""
    program = "import time; t = time.perf_counter(); sum(map(hash, map(str, range(2_000_000)))); "
    command = [sys.executable, "-I", "-c", program + "print(time.perf_counter() - t)"]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(processes)]
    return [float(process.communicate()[0]) for process in running]


# -- how early embedding begins


def measure_stream(paths: Sequence[Path]) -> None:
    """How many pages are read before the first request for embeddings can be filled.

    Only for documents that fill more than one request.
    """
    defaults = Settings.model_fields
    full_request = defaults["embedding_batch_size"].default
    with (
        tempfile.TemporaryDirectory() as folder,
        extractor(Path(folder), ExtractionLimits(children=2)) as ready,
    ):
        for path in paths:
            with ready.open(path, file_name=path.name, check=lambda: None) as extraction:
                pages = pages_at_chunks(extraction, defaults["chunk_tokens"].default)
            if len(pages) > full_request:
                begun, whole = pages[full_request - 1], pages[-1]
                what = f"{path.name}: {full_request} of {len(pages)} chunks before its last page"
                aim(what, f"after {begun} of {whole} pages", met=begun < whole)


def page_count(path: Path) -> int:
    """Pages of a PDF; 0 if it cannot be opened."""
    try:
        return len(pypdfium2.PdfDocument(path))
    except pypdfium2.PdfiumError:
        return 0


def pages_at_chunks(extraction: Extraction, max_tokens: int) -> list[int]:
    """How many pages had been read when each chunk came."""
    read = 0

    def elements() -> Iterator[Element]:
        nonlocal read
        for window in extraction.windows():
            read = window.pages_done
            yield from window.elements

    counter = counter_for("openai")
    return [read for _ in chunk_elements(elements(), counter, max_tokens=max_tokens)]


def parts(folder: Path, arguments: argparse.Namespace) -> dict[str, Callable[[], None]]:
    """The measurements by name."""

    def pdfs() -> list[Path]:
        made = folder / "made.pdf"
        made.write_bytes(made_documents.make_pdf(PDF_PAGES))
        real = sorted(arguments.corpus.glob("**/*.pdf")) if arguments.corpus else []
        return [made, *real]

    return {
        "pdf": lambda: compare_pdfs(pdfs(), arguments.unstructured_python),
        "kinds": lambda: compare_kinds(folder),
        "short": lambda: measure_short(folder),
        "memory": lambda: measure_memory(folder),
        "children": lambda: measure_children(folder),
        "stream": lambda: measure_stream([large_pdf(folder), max(pdfs(), key=page_count)]),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--corpus", type=Path, help="folder of PDFs to compare as well")
    parser.add_argument("--unstructured-python", help="a Python that has unstructured[pdf]")
    parser.add_argument("--only", action="append", default=[], help="pdf, kinds, short, ...")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="docmill-bench-") as name:
        configure_logging(log_format="console", level="error")
        warm.warm_up()
        print(f"{machine()}\nCPU seconds of one core where the other side is unstructured.")
        for part, measure in parts(Path(name), arguments).items():
            if part in (arguments.only or [part]):
                print(f"\n## {part}\n")
                measure()
    print("\n| target | measured | |\n| --- | --- | --- |")
    for what, measured, met in TARGETS:
        print(f"| {what} | {measured} | {'met' if met else '**missed**'} |")


if __name__ == "__main__":
    main()

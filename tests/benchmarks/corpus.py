"""Read every file of a folder like `docmill extract`, and print a table of the results.

    make bench-corpus DOCS=folder

The columns: how each was read, seconds from the call to the last element, elements, chunks, and
what was lost: pages that could not be read, the error, and parts of this kind that are not read on
purpose.
"""

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from docmill.worker.errors import JobError
from docmill.worker.extraction import GuardedExtractor
from docmill.worker.extraction.child.chunking.chunker import chunk_elements
from docmill.worker.extraction.child.chunking.tokens import counter_for
from docmill.worker.extraction.child.kinds.base import Source
from docmill.worker.extraction.child.kinds.pdf.scans import has_pictures_of_text
from docmill.worker.extraction.shared import media_types, profiles
from docmill.worker.log import configure_logging
from docmill.worker.models import Element
from docmill.worker.settings.environment import load_settings
from docmill.worker.settings.processes import Settings
from tests.benchmarks.extractors import extractor_of
from tests.benchmarks.figures import machine


@dataclass(frozen=True)
class CodePath:
    """The reader of a kind, and the parts that it leaves out."""

    reader: str
    left_out: str = ""


_WEB = "navigation, banners, footers, scripts"
_PICTURES = "pictures"
_CELLS = "formulas (their values stay), charts, comments"
_SHEETS = "formulas (their values stay), hidden sheets, comments"
PATHS = {
    media_types.PDF: CodePath("pdfium", "repeated running heads, pictures"),
    media_types.DOCX: CodePath("unstructured, docx", "pictures, hidden text, comments"),
    media_types.PPTX: CodePath("unstructured, pptx", "pictures"),
    media_types.XLSX: CodePath("openpyxl, lxml", _SHEETS),
    media_types.XLSB: CodePath("docmill", _CELLS),
    media_types.XLS: CodePath("xlrd", _CELLS),
    "text/html": CodePath("unstructured, html", _WEB),
    media_types.EPUB: CodePath("unstructured, html", _PICTURES),
    media_types.ODT: CodePath("docmill, then unstructured, html", f"{_PICTURES}, comments"),
    "text/markdown": CodePath("unstructured, md", _PICTURES),
    "text/csv": CodePath("Python's csv"),
    "text/tab-separated-values": CodePath("Python's csv"),
    "application/json": CodePath("Python's json"),
    "application/x-ndjson": CodePath("Python's json"),
    "application/xml": CodePath("lxml", "comments, attributes of elements with text"),
    media_types.EML: CodePath("Python's email", "headers but a few, pictures in the text"),
    media_types.MSG: CodePath("oxmsg", "headers but a few, pictures in the text"),
    "text/plain": CodePath("docmill, unstructured's titles"),
}


@dataclass
class Outcome:
    """The result for one file."""

    reader: str
    seconds: float
    elements: int = 0
    chunks: int = 0
    lost: list[str] = field(default_factory=list)

    def cells(self) -> str:
        """A row of the table, without the file's name."""
        lost = "; ".join(self.lost) or "-"
        return f"{self.reader} | {self.seconds:.2f} | {self.elements} | {self.chunks} | {lost}"


def code_path(media_type: str, path: Path) -> CodePath:
    """The reader for a file of this type on this machine."""
    profile = profiles.profile_of(media_type)
    if profile in profiles.PROGRAMS:
        program = "pandoc" if profile == profiles.PANDOC else "LibreOffice"
        return CodePath(f"{program}, then as what it wrote", _PICTURES)
    if profile == profiles.OCR:
        return CodePath("RapidOCR", "all but text")
    if media_type == media_types.PDF and profiles.is_available(profiles.OCR):
        with path.open("rb") as file:
            if has_pictures_of_text(Source(file=file, file_name=path.name)):
                return CodePath(
                    "pdfium; RapidOCR for scanned pages", PATHS[media_types.PDF].left_out
                )
    return PATHS.get(media_type, CodePath("docmill"))


def read(path: Path, extractor: GuardedExtractor, settings: Settings) -> Outcome:
    """Read and chunk one file."""
    began = time.perf_counter()
    elements: list[Element] = []
    unread: list[int] = []
    hidden = 0
    try:
        with extractor.open(path, file_name=path.name, check=lambda: None) as extraction:
            media_type = extraction.mime_type
            for window in extraction.windows():
                elements += window.elements
                unread += window.unread_pages
                hidden += window.hidden_characters
    except JobError as error:
        detail = "" if str(error) == error.code else f" ({error})"
        return Outcome("-", time.perf_counter() - began, lost=[f"all: `{error.code}`{detail}"])
    seconds = time.perf_counter() - began
    chunks = chunk_elements(
        elements,
        counter_for(settings.provider_of(settings.embedder).counter),
        max_tokens=settings.chunk_tokens,
    )
    found = code_path(media_type, path)
    lost = list(_lost(found, unread, hidden))
    return Outcome(found.reader, seconds, len(elements), sum(1 for _ in chunks), lost)


def _lost(found: CodePath, unread: list[int], hidden: int) -> Iterator[str]:
    if unread:
        yield f"unread pages {', '.join(map(str, unread))}"
    if hidden:
        yield f"{hidden} hidden characters found"
    if found.left_out:
        yield f"by design: {found.left_out}"


def main() -> None:
    """Read all files, print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args().folder
    configure_logging(log_format="console", level="error")
    settings = load_settings(Settings)
    with extractor_of(settings) as extractor:
        print(f"{machine()}\n")
        print("| file | read by | s | elements | chunks | lost |")
        print("| --- | --- | --- | --- | --- | --- |")
        for path in sorted(file for file in folder.rglob("*") if file.is_file()):
            cells = read(path, extractor, settings).cells()
            print(f"| {path.relative_to(folder)} | {cells} |", flush=True)


if __name__ == "__main__":
    main()

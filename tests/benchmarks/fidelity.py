"""Compare the text that docmill reads from each file of a folder with an independent reader's.

    make bench-fidelity DOCS=folder

Recall is the share of letters and digits in the other reader's words that docmill has too. A word
that is joined or divided differently counts as found. The output is the median and the spread for
each kind, and the files with the lowest recall, with their missing words.

A file in which docmill finds no text counts too: its recall is 0 if the other reader finds some.

The other readers are in tests/support/independent: raw XML of Office files, ODT and EPUB, the
groups of RTF, pdfium's own text of the visible page, Python's html.parser and email; with
`--poppler`, Poppler's pdftotext for PDF. For
sheets only words with a letter are compared, because the other reader does not format numbers.
"""

import argparse
import re
import shutil
import subprocess
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from docmill.worker.errors import JobError
from docmill.worker.extraction import GuardedExtractor
from docmill.worker.extraction.shared import media_types
from docmill.worker.log import configure_logging
from docmill.worker.settings.environment import load_settings
from docmill.worker.settings.processes import Settings
from tests.benchmarks.extractors import extractor_of
from tests.benchmarks.figures import Figures, machine, print_table
from tests.support.independent import (
    excel,
    mail,
    open_document,
    pdf,
    powerpoint,
    rtf,
    web,
    word,
)

#: In scripts without spaces each letter is a word.
_SPACELESS: Final = "\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff"
_WORD: Final = re.compile(rf"[{_SPACELESS}]|[^\W_{_SPACELESS}]+")
_NUMBER: Final = re.compile(r"\d[\d.e]*")
_SHOWN_WORDS: Final = 8

Judge = Callable[[bytes], str]


def _without_numbers(text: str) -> str:
    words = _WORD.findall(text)
    return " ".join(found for found in words if not _NUMBER.fullmatch(found))


JUDGES: Final[Mapping[str, tuple[str, Judge]]] = {
    media_types.DOCX: ("Word", word.letters),
    media_types.PPTX: ("slides", powerpoint.letters),
    media_types.XLSX: ("sheets", lambda data: _without_numbers(excel.letters(data))),
    media_types.PDF: ("PDF", pdf.letters),
    media_types.EML: ("mail", mail.letters),
    media_types.ODT: ("ODT", open_document.odt_letters),
    media_types.EPUB: ("books", open_document.epub_letters),
    "application/rtf": ("RTF", rtf.letters),
    "text/html": ("web", web.lines),
}


@dataclass(frozen=True)
class Comparison:
    """One file, read by both readers."""

    path: Path
    kind: str
    recall: float
    missing: list[str]  #: words, longest first
    surplus: float  #: docmill's letters beyond the other reader's, as a share of the latter


def compare(expected: str, found: str) -> tuple[float, list[str], float]:
    """Recall, the missing words, and the surplus."""
    wanted, ours = (Counter(_WORD.findall(text.casefold())) for text in (expected, found))
    lacking = wanted - ours
    squeezed = "".join(_WORD.findall(found.casefold()))
    missing = Counter(
        {
            text: number
            for text, number in lacking.items()
            # Each missing word is searched as often as it is missing, in docmill's words that the
            # other reader lacks.
            if squeezed.count(text) < wanted[text]
        }
    )
    letters = _letters(wanted)
    if not letters:
        return 1.0, [], 0.0
    surplus = max(0, _letters(ours) - letters) / letters
    return 1 - _letters(missing) / letters, sorted(missing, key=len, reverse=True), surplus


def _letters(words: Counter[str]) -> int:
    return sum(len(text) * number for text, number in words.items())


def poppler(data: bytes) -> str:
    """The text from Poppler's pdftotext. Raises CalledProcessError."""
    ended = subprocess.run(
        ["pdftotext", "-", "-"], input=data, capture_output=True, check=True, timeout=120
    )
    return ended.stdout.decode(errors="replace")


def _read(path: Path, extractor: GuardedExtractor) -> tuple[str, str]:
    """The file's type and its whole text, none if it is empty. Raises JobError."""
    texts: list[str] = []
    with extractor.open(path, file_name=path.name, check=lambda: None) as extraction:
        media_type = extraction.mime_type
        try:
            for window in extraction.windows():
                texts += [element.text for element in window.elements]
        except JobError as error:
            # The other reader may find a text in it.
            if error.code != "empty_document":
                raise
    return media_type, "\n".join(texts)


def _compared(
    path: Path, extractor: GuardedExtractor, judges: Mapping[str, tuple[str, Judge]]
) -> Comparison | None:
    try:
        media_type, found = _read(path, extractor)
    except JobError as error:
        print(f"not read: {path.name}: {error.code}")
        return None
    if media_type not in judges:
        return None
    kind, judge = judges[media_type]
    try:
        expected = judge(path.read_bytes())
    except Exception as error:  # A damaged file may end the other reader in any way.
        print(f"not judged: {path.name}: {type(error).__name__}: {error}")
        return None
    return Comparison(path, kind, *compare(expected, found))


def _report(found: list[Comparison], folder: Path, worst: int) -> None:
    recalls: dict[str, list[float]] = defaultdict(list)
    for one in found:
        recalls[one.kind].append(one.recall)
    print(f"\n{machine()}, recall by kind\n")
    print_table([Figures(kind, "share", values) for kind, values in sorted(recalls.items())])
    below = sum(one.recall < 0.98 for one in found)
    print(f"\n{len(found)} files compared, {below} below 0.98. The lowest:\n")
    print("| file | kind | recall | surplus | missing |")
    print("| --- | --- | --- | --- | --- |")
    for one in sorted(found, key=lambda one: one.recall)[:worst]:
        missing = " ".join(one.missing[:_SHOWN_WORDS]).replace("|", "\\|")
        name = one.path.relative_to(folder)
        print(f"| {name} | {one.kind} | {one.recall:.3f} | {one.surplus:.2f} | {missing} |")


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def main() -> None:
    """Read all files with both readers, print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--worst", type=int, default=25, help="how many files are listed")
    parser.add_argument("--poppler", action="store_true", help="judge PDF by pdftotext")
    options = parser.parse_args()
    judges = dict(JUDGES)
    if options.poppler:
        if not shutil.which("pdftotext"):
            parser.error("pdftotext is not installed: install Poppler's tools (poppler-utils)")
        judges[media_types.PDF] = ("PDF", poppler)
    configure_logging(log_format="console", level="error")
    with extractor_of(load_settings(Settings)) as extractor:
        compared = [_compared(path, extractor, judges) for path in _files(options.folder)]
    _report([one for one in compared if one], options.folder, options.worst)


if __name__ == "__main__":
    main()

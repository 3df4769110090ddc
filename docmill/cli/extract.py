"""`docmill extract`: what a worker would read from a file, without any service."""

from collections.abc import Iterator
from dataclasses import asdict, replace
from itertools import count
from pathlib import Path

from docmill.cli.context import complete_settings
from docmill.cli.error_texts import error_texts
from docmill.cli.exit_code import ExitCode
from docmill.cli.output import Row, cell, console, count_of, print_json
from docmill.worker.errors import JobError, RefusedError
from docmill.worker.extraction import GuardedExtractor
from docmill.worker.extraction.shared.profiles import need_of
from docmill.worker.log import configure_logging
from docmill.worker.models import Chunk, Element
from docmill.worker.ports import Extraction
from docmill.worker.processes.reading import chunk_rules, extraction_limits
from docmill.worker.settings.processes import Settings


def extract(path: Path, *, chunks: bool, as_json: bool) -> int:
    """Print the elements or chunks of a file. Raises RefusedError when it cannot be read.

    It is read as by a worker: in a guarded child, under the same limits.
    """
    settings = complete_settings(Settings)
    level = settings.log_level if settings.log_level == "debug" else "error"
    configure_logging(log_format="console", level=level)
    limits = extraction_limits(settings, children=1)
    extractor = GuardedExtractor(limits, temp_dir=settings.spool_dir)
    try:
        _check_size(path, settings)
        rules = chunk_rules(settings, chunk_tokens=settings.chunk_tokens) if chunks else None
        with extractor.open(
            path, file_name=path.name, check=lambda: None, rules=rules
        ) as extraction:
            _print(extraction, as_json=as_json)
    except JobError as error:
        row = _explained(error)
        if as_json:
            print_json(row)
        raise RefusedError(_sentence(cell(path.name), row)) from None
    finally:
        extractor.close()
    return ExitCode.DONE


def _check_size(path: Path, settings: Settings) -> None:
    size = path.stat().st_size
    if size > settings.max_document_bytes:
        raise JobError("document_too_large", f"{size} bytes")


def _print(extraction: Extraction, *, as_json: bool) -> None:
    reading = _Reading(extraction)
    for part in reading.parts():
        print_json(asdict(part)) if as_json else _print_part(part)
    print_json(reading.summary()) if as_json else _print_summary(reading.summary())


class _Reading:
    """Passes on the elements or chunks, and sums up the document."""

    def __init__(self, extraction: Extraction) -> None:
        self._extraction = extraction
        self._unread_pages: list[int] = []
        self._hidden_characters = 0
        self._uncomputed_formulas = 0

    def parts(self) -> Iterator[Element | Chunk]:
        """All elements, or all chunks, in reading order."""
        ordinals = count()
        for window in self._extraction.windows():
            self._unread_pages += window.unread_pages
            self._hidden_characters += window.hidden_characters
            self._uncomputed_formulas += window.uncomputed_formulas
            yield from window.elements
            for chunk in window.chunks:
                yield replace(chunk, ordinal=next(ordinals))

    def summary(self) -> Row:
        """Facts about the whole document; call it after all parts were taken."""
        return {
            "mime_type": self._extraction.mime_type,
            "title": self._extraction.title,
            "page_count": self._extraction.page_count,
            "unread_pages": self._unread_pages,
            "hidden_characters": self._hidden_characters,
            "uncomputed_formulas": self._uncomputed_formulas,
        }


def _print_part(part: Element | Chunk) -> None:
    if isinstance(part, Chunk):
        _print_chunk(part)
    else:
        _print_element(part)


def _print_element(element: Element) -> None:
    depth = "" if element.depth is None else f" {element.depth}"
    page_name = element.metadata.get("page_name")
    _print_block(
        f"{element.category}{depth}",
        element.page and f"page {element.page}",
        page_name,
        text=element.text,
    )


def _print_chunk(chunk: Chunk) -> None:
    pages = (chunk.page_start, chunk.page_end)
    first, last = pages
    place = f"pages {first} to {last}" if first != last else first and f"page {first}"
    _print_block(
        f"chunk {chunk.ordinal + 1}",
        count_of(chunk.token_count, "token"),
        place,
        " > ".join(chunk.headings),
        text=chunk.content,
    )


def _print_block(*facts: object, text: str) -> None:
    out = console()
    out.print(cell(", ".join(str(fact) for fact in facts if fact)), style="bold")
    for line in text.split("\n"):
        out.print("    " + cell(line.replace("\t", "    ")))


def _print_summary(summary: Row) -> None:
    unread, formulas = summary["unread_pages"], summary["uncomputed_formulas"]
    facts = [
        summary["mime_type"],
        summary["title"] and f"title {summary['title']!r}",
        summary["page_count"] is not None and count_of(summary["page_count"], "page"),
        unread and "without text: " + ", ".join(map(str, unread)),
        summary["hidden_characters"] and f"{summary['hidden_characters']} hidden characters",
        formulas and f"{count_of(formulas, 'formula')} without a value",
    ]
    console().print(cell("; ".join(str(fact) for fact in facts if fact)))


def _explained(error: JobError) -> Row:
    text = error_texts()[error.code]
    detail = str(error)
    need = need_of(detail) if error.code == "unsupported_type" else None
    return {
        "error_code": error.code,
        "error_message": text.message,
        "remedy": f"To read it, {need.remedy}." if need else text.remedy,
        "detail": None if detail == error.code else detail,
    }


def _sentence(name: str, row: Row) -> str:
    detail = f" ({row['detail']})" if row["detail"] else ""
    return f"{name}: {row['error_code']}{detail}: {row['error_message']} {row['remedy']}"

"""`docmill ingest --estimate`: what files would cost, before anything is uploaded.

Files are read and cut as by a worker, so chunks and tokens are exact. Chunks that the owner already
has would be reused free of charge, so the estimate is an upper limit.
"""

import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from docmill.cli.admin import admin_connection
from docmill.cli.bulk import price_in
from docmill.cli.context import settings_in_use
from docmill.cli.exit_code import ExitCode
from docmill.cli.ingest import LocalFile
from docmill.cli.output import Row, cell, console, count_of, print_json
from docmill.worker.errors import JobError, RefusedError
from docmill.worker.extraction import GuardedExtractor
from docmill.worker.log import configure_logging
from docmill.worker.models import IndexVersion
from docmill.worker.processes.reading import extraction_limits
from docmill.worker.settings.processes import Settings
from docmill.worker.store.maintenance import active_index_version

_AT_ONCE: Final = 2


def estimate(files: Sequence[LocalFile], *, is_bulk: bool, as_json: bool) -> int:
    """Print chunks, tokens and dollars of each file, and of all."""
    settings = settings_in_use()
    with admin_connection(settings) as connection:
        index = active_index_version(connection)
    if index is None:
        raise RefusedError("there is no index version yet: docmill schema apply")
    configure_logging(log_format="console", level="error")
    price = price_in(settings, index.provider, index.model, is_bulk=is_bulk)
    total: Row = {"files": 0, "unread": 0, "chunks": 0, "tokens": 0, "usd": 0.0}
    for row in _counted(files, settings, index):
        row["usd"] = row["tokens"] * price / 1e6
        print_json(row) if as_json else _print_file(row)
        total["files"] += 1
        total["unread"] += row["error_code"] is not None
        for name in ("chunks", "tokens", "usd"):
            total[name] += row[name]
    print_json({"total": total}) if as_json else _print_total(total)
    return ExitCode.DONE


def _counted(files: Sequence[LocalFile], settings: Settings, index: IndexVersion) -> Iterator[Row]:
    extractor = GuardedExtractor(
        extraction_limits(settings, children=_AT_ONCE), temp_dir=settings.spool_dir
    )

    def count(file: LocalFile) -> Row:
        row: Row = {"path": str(file.path), "error_code": None, "chunks": 0, "tokens": 0}
        if file.path.stat().st_size > settings.max_document_bytes:
            return row | {"error_code": "document_too_large"}
        try:
            return row | _counts(extractor, file, index)
        except JobError as error:
            return row | {"error_code": error.code}

    try:
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            yield from pool.map(count, files)
    finally:
        extractor.close()


def _counts(extractor: GuardedExtractor, file: LocalFile, index: IndexVersion) -> Row:
    chunks = tokens = 0
    with extractor.open(
        file.path, file_name=file.path.name, check=lambda: None, rules=index.rules
    ) as extraction:
        for window in extraction.windows():
            chunks += len(window.chunks)
            tokens += sum(chunk.token_count for chunk in window.chunks)
    return {"chunks": chunks, "tokens": tokens}


def _print_file(row: Row) -> None:
    if row["error_code"]:
        print(f"docmill: {cell(row['path'])}: {row['error_code']}", file=sys.stderr)
        return
    console().print(f"{cell(row['path'])}: {_amount(row)}")


def _print_total(total: Row) -> None:
    unread = f", {total['unread']} of them cannot be read" if total["unread"] else ""
    console().print(f"{count_of(total['files'], 'file')}{unread}: at most {_amount(total)}")


def _amount(row: Row) -> str:
    return (
        f"{count_of(row['chunks'], 'chunk')}, {count_of(row['tokens'], 'token')}, ${row['usd']:.4f}"
    )

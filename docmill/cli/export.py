"""`docmill export`: passages with their vectors, as JSON lines or Parquet."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import IO, Final

from docmill.cli.admin import admin_connection, note_unknown_owner, owner_id
from docmill.cli.context import settings_in_use
from docmill.cli.exit_code import ExitCode
from docmill.cli.output import Row, count_of, print_json
from docmill.worker.admin.dump import PAGE_ROWS, passages
from docmill.worker.errors import ServiceError, UsageError

#: Writes all rows; returns their number.
Writer = Callable[[Iterator[Row], IO[bytes]], int]


def export(to: Path, *, form: str, owner: str | None, bucket: str | None, as_json: bool) -> int:
    """Write every searchable passage, ordered by document and position."""
    write = _WRITERS[form]()
    if str(to) == "-" and form != "jsonl":
        raise UsageError(f"{form} needs a file: name one")
    settings = settings_in_use()
    owner = owner_id(settings, owner)
    with admin_connection(settings) as connection:
        with passages(connection, owner=owner, bucket=bucket) as rows, _target(to) as file:
            written = write(rows, file)
        if not written:
            note_unknown_owner(connection, owner)
    if str(to) == "-":
        return ExitCode.DONE
    if as_json:
        print_json({"file": str(to), "format": form, "passages": written})
    else:
        print(f"wrote {count_of(written, 'passage')} to {to}")
    return ExitCode.DONE


@contextmanager
def _target(to: Path) -> Iterator[IO[bytes]]:
    """Write the file completely or not at all: after a failure the earlier file is still there."""
    if str(to) == "-":
        yield sys.stdout.buffer
        return
    if not to.parent.is_dir():
        raise UsageError(f"there is no folder {to.parent}")
    unfinished = to.with_name(f"{to.name}.part")
    try:
        with unfinished.open("wb") as file:
            yield file
        unfinished.replace(to)
    finally:
        unfinished.unlink(missing_ok=True)


def _as_json_lines(rows: Iterator[Row], file: IO[bytes]) -> int:
    written = 0
    for row in rows:
        # The vector is JSON text already: parsing and writing its numbers would take most of the
        # time.
        vector = row.pop("embedding")
        text = json.dumps(row, default=str, ensure_ascii=False)
        file.write(f'{text[:-1]}, "embedding": {vector}}}\n'.encode(errors="replace"))
        written += 1
    return written


def _parquet_writer() -> Writer:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError:
        raise ServiceError(
            "Parquet is not installed: pip install 'docmill[parquet]', or use --format jsonl"
        ) from None
    schema = pa.schema(
        [
            *((name, pa.string()) for name in _TEXTS),
            *((name, pa.int32()) for name in _NUMBERS),
            ("headings", pa.list_(pa.string())),
            ("embedding", pa.list_(pa.float32())),
        ]
    )

    def write(rows: Iterator[Row], file: IO[bytes]) -> int:
        written = 0
        with parquet.ParquetWriter(file, schema, compression="zstd") as writer:
            for page in _pages(rows):
                writer.write_batch(pa.RecordBatch.from_pylist(page, schema=schema))
                written += len(page)
        return written

    return write


_TEXTS: Final = (
    *("chunk_id", "document_id", "bucket_id", "object_name", "owner_id", "access", "title"),
    *("mime_type", "content", "metadata", "model"),
)
_NUMBERS: Final = ("ordinal", "page_start", "page_end", "token_count", "dimensions")


def _pages(rows: Iterator[Row]) -> Iterator[list[Row]]:
    while page := [_plain(row) for row in islice(rows, PAGE_ROWS)]:
        yield page


def _plain(row: Row) -> Row:
    """Convert for JSON: ids to text, `metadata` to JSON, the vector to numbers."""
    return row | {
        "chunk_id": str(row["chunk_id"]),
        "document_id": str(row["document_id"]),
        "metadata": json.dumps(row["metadata"], ensure_ascii=False),
        "embedding": json.loads(row["embedding"]),
    }


_WRITERS: Final[dict[str, Callable[[], Writer]]] = {
    "jsonl": lambda: _as_json_lines,
    "parquet": _parquet_writer,
}

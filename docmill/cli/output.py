"""Printing: tables for people, one JSON object per line for programs."""

import json
import re
import sys
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from pathlib import PurePosixPath
from typing import Any, Final
from uuid import UUID

from rich.console import Console
from rich.table import Table

Row = dict[str, Any]

_FILE_WIDTH = 250


def _plain(value: object) -> object:
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, bytes | memoryview):
        return bytes(value).hex()
    raise TypeError(f"{type(value).__name__} has no JSON form")


def print_json(row: Row) -> None:
    """Print one JSON object on one line, at once: a program may be reading along."""
    text = json.dumps(row, default=_plain, ensure_ascii=False)
    # A file name may be other bytes than UTF-8; JSON must be UTF-8.
    sys.stdout.buffer.write(text.encode(errors="replace") + b"\n")
    sys.stdout.flush()


def print_rows(rows: Sequence[Row], columns: Sequence[str], *, as_json: bool) -> None:
    """Print all fields as JSON lines, or the named columns as a table."""
    if as_json:
        for row in rows:
            print_json(row)
    elif rows:
        console().print(table(rows, columns))
    else:
        console().print("none")


def table(rows: Sequence[Row], columns: Sequence[str]) -> Table:
    """A table of the named columns."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        # In a narrow terminal only names are cut.
        is_name = column in ("object_name", "prefix")
        made.add_column(
            column,
            no_wrap=True,
            overflow="ellipsis",
            ratio=1 if is_name else None,
            min_width=None if is_name else max(len(cell(row.get(column))) for row in rows),
        )
    for row in rows:
        made.add_row(*(cell(row.get(column)) for column in columns))
    return made


def short_id(job_id: object) -> str:
    """The start of an id, enough to name the job in a command."""
    return str(job_id)[:8]


#: Folders are named after the ids of their owners.
_ID_FOLDER: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/", re.IGNORECASE)


def short_name(row: Mapping[str, Any]) -> str:
    """An object's name without the folder of its owner, as its user knows it.

    The owner is the row's `owner_id`. If the row has none, a first folder that is an id counts.
    """
    name = str(row["object_name"])
    if row.get("owner_id"):
        return cell(name.removeprefix(f"{row['owner_id']}/"))
    return cell(_ID_FOLDER.sub("", name, count=1) if _ID_FOLDER.match(name) else name)


#: The word for a part of a file, by the ending of its name.
_PARTS: Final = {
    **dict.fromkeys((".xlsx", ".xlsm", ".xlsb", ".xls", ".ods", ".csv"), "sheet"),
    **dict.fromkeys((".pptx", ".ppt", ".odp"), "slide"),
}


def part_of(name: str) -> str:
    """The word for a part of this file: sheet or slide, else page."""
    return _PARTS.get(PurePosixPath(name).suffix.lower(), "page")


def count_of(number: int, what: str) -> str:
    """`1 page`, `2 pages`."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def cell(value: object) -> str:
    """Format a value for people."""
    if value is None:
        return "-"
    if isinstance(value, datetime):
        return value.astimezone().strftime("%m-%d %H:%M:%S")
    if isinstance(value, float):
        return f"{value:.2f}"
    # Names come from strangers: remove control characters, which could rewrite the terminal.
    return "".join(character if character.isprintable() else "?" for character in str(value))


def console() -> Console:
    """A console that prints text unchanged, because names may look like rich's markup.

    Without a terminal, lines have no length limit.
    """
    width = None if sys.stdout.isatty() else _FILE_WIDTH
    return Console(markup=False, highlight=False, emoji=False, soft_wrap=True, width=width)

"""Printing: tables for people, one JSON object a line for programs."""

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
    """One JSON object on one line, at once: a reader may be following."""
    text = json.dumps(row, default=_plain, ensure_ascii=False)
    # A file's name need not be UTF-8; JSON has to be.
    sys.stdout.buffer.write(text.encode(errors="replace") + b"\n")
    sys.stdout.flush()


def print_rows(rows: Sequence[Row], columns: Sequence[str], *, as_json: bool) -> None:
    """All fields as JSON lines, or the named columns as a table."""
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
        # Where it is narrow, names are cut and nothing else.
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
    """As much of an id as a person copies; commands take it for the whole."""
    return str(job_id)[:8]


#: Folders are named by the ids of their owners.
_ID_FOLDER: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/", re.IGNORECASE)


def short_name(row: Mapping[str, Any]) -> str:
    """An object's name as its user knows it: without the folder of the owner.

    The owner is the row's `owner_id`; where a row has none, a first folder that is an id counts.
    """
    name = str(row["object_name"])
    if row.get("owner_id"):
        return cell(name.removeprefix(f"{row['owner_id']}/"))
    return cell(_ID_FOLDER.sub("", name, count=1) if _ID_FOLDER.match(name) else name)


#: What files with these endings are made of.
_PARTS: Final = {
    **dict.fromkeys((".xlsx", ".xlsm", ".xlsb", ".xls", ".ods", ".csv"), "sheet"),
    **dict.fromkeys((".pptx", ".ppt", ".odp"), "slide"),
}


def part_of(name: str) -> str:
    """What a file's parts are called: its sheets and slides are counted where others have pages."""
    return _PARTS.get(PurePosixPath(name).suffix.lower(), "page")


def count_of(number: int, what: str) -> str:
    """`1 page`, `2 pages`."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def cell(value: object) -> str:
    """A value as a person reads it."""
    if value is None:
        return "-"
    if isinstance(value, datetime):
        return value.astimezone().strftime("%m-%d %H:%M:%S")
    if isinstance(value, float):
        return f"{value:.2f}"
    # Names come from strangers: no control characters, which could rewrite the terminal.
    return "".join(character if character.isprintable() else "?" for character in str(value))


def console() -> Console:
    """A console that takes text as it is: names may hold what looks like rich's markup.

    Where there is no terminal, lines are as long as they need to be.
    """
    width = None if sys.stdout.isatty() else _FILE_WIDTH
    return Console(markup=False, highlight=False, emoji=False, soft_wrap=True, width=width)

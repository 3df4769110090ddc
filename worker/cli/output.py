"""Printing: tables for people, one JSON object a line for programs."""

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any
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
    sys.stdout.write(json.dumps(row, default=_plain, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def print_rows(rows: Iterable[Row], columns: Sequence[str], *, as_json: bool) -> None:
    """All fields as JSON lines, or the named columns as a table."""
    if as_json:
        for row in rows:
            print_json(row)
        return
    console().print(table(rows, columns))


def table(rows: Iterable[Row], columns: Sequence[str]) -> Table:
    """A table of the named columns."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        # Ids are there to be copied: better a cut name.
        made.add_column(column, no_wrap=True, min_width=36 if column == "id" else None)
    for row in rows:
        made.add_row(*(cell(row.get(column)) for column in columns))
    return made


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

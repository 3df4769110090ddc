"""Options and arguments that several commands have, and checks of what they are given."""

import re
from enum import StrEnum
from typing import Annotated, Final

import typer

#: A length of time before now.
AGE: Final = re.compile(r"[1-9][0-9]{0,4}[mhdw]")
#: The largest integer of a column.
MOST: Final = 2**31 - 1


def not_empty(value: str | None) -> str | None:
    """Refuse an empty text. Raises typer.BadParameter."""
    if value == "":
        raise typer.BadParameter("it is empty")
    return text(value)


def text(value: str | None) -> str | None:
    """Refuse what is no UTF-8. Raises typer.BadParameter."""
    # What is no UTF-8 on the command line arrives as lone surrogates, which nothing else takes.
    if value is not None and any("\ud800" <= character <= "\udfff" for character in value):
        raise typer.BadParameter("it is not valid UTF-8")
    return value


Json = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]
Owner = Annotated[
    str | None,
    typer.Option(
        "--owner", metavar="SUB", help="The user's id or e-mail address.", callback=not_empty
    ),
]


def age(value: str | None) -> str | None:
    """Refuse what is no length of time. Raises typer.BadParameter."""
    if value is not None and not AGE.fullmatch(value):
        raise typer.BadParameter("write minutes, hours, days or weeks: 30m, 12h, 30d, 8w")
    # What Postgres reads: an `m` would be a month for it.
    return value.replace("m", " minutes") if value else value


Age = Annotated[
    str | None,
    typer.Option("--since", metavar="AGE", help="Not longer ago: 30m, 12h, 7d.", callback=age),
]


class Lane(StrEnum):
    """How embeddings are bought."""

    DIRECT = "direct"
    BULK = "bulk"


LaneOption = Annotated[
    Lane, typer.Option("--lane", help="bulk: for less, within a day (docs/bulk.md).")
]
Bucket = Annotated[str, typer.Argument(callback=not_empty)]
JobId = Annotated[str, typer.Argument(metavar="ID")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what it takes.")]

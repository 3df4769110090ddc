"""Options and arguments that several commands have, and checks of what they are given."""

from typing import Annotated, Final

import typer

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
Bucket = Annotated[str, typer.Argument(callback=not_empty)]
JobId = Annotated[str, typer.Argument(metavar="ID")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what it takes.")]

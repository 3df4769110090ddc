"""Erase all data of a person; export an index."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from docmill.cli.app import DATA, app
from docmill.cli.options import DryRun, Json, Owner, Yes, not_empty


class ExportFormat(StrEnum):
    """How rows are written."""

    JSONL = "jsonl"
    PARQUET = "parquet"


@app.command(rich_help_panel=DATA)
def export(
    to: Annotated[Path, typer.Argument(metavar="FILE", help="- writes JSONL to stdout.")],
    form: Annotated[
        ExportFormat, typer.Option("--format", help="parquet needs the extra parquet.")
    ] = ExportFormat.JSONL,
    owner: Owner = None,
    bucket: Annotated[
        str | None, typer.Option(help="Only documents of this bucket.", callback=not_empty)
    ] = None,
    json: Json = False,
) -> int:
    """Write passages with their vectors, for another store."""
    from docmill.cli import export as export_command

    return export_command.export(to, form=form.value, owner=owner, bucket=bucket, as_json=json)


@app.command(rich_help_panel=DATA)
def erase(
    owner: Annotated[
        str,
        typer.Option(
            "--owner", metavar="SUB", help="The person's id or e-mail.", callback=not_empty
        ),
    ],
    objects: Annotated[
        bool, typer.Option("--objects", help="Delete their files in Storage as well.")
    ] = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    json: Json = False,
) -> int:
    """Remove every row and vector of a person, and print a receipt."""
    from docmill.cli import erase as erase_command

    return erase_command.erase(owner, objects=objects, dry_run=dry_run, is_sure=yes, as_json=json)

"""Upload, search, ask, read."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from docmill.cli.app import DOCUMENTS, app
from docmill.cli.options import Json, Lane, LaneOption, Owner, text


@app.command(rich_help_panel=DOCUMENTS)
def ingest(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", exists=True)],
    bucket: Annotated[str, typer.Option(help="Bucket to upload to.", callback=text)] = "documents",
    owner: Owner = None,
    lane: LaneOption = Lane.DIRECT,
    wait: Annotated[
        bool, typer.Option("--wait", help="Return when every document is done.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="Use this owner although no user has it.")
    ] = False,
    estimate: Annotated[
        bool, typer.Option("--estimate", help="Upload nothing; show the cost.")
    ] = False,
    json: Json = False,
) -> int:
    """Upload files or folders; the rest happens by itself."""
    if estimate:
        from docmill.cli import estimate as estimate_command
        from docmill.cli.ingest import find_files

        return estimate_command.estimate(
            find_files(paths, folder=""), is_bulk=lane is Lane.BULK, as_json=json
        )
    from docmill.cli import ingest as ingest_command

    return ingest_command.ingest(
        paths,
        bucket=bucket,
        owner=owner,
        is_bulk=lane is Lane.BULK,
        wait=wait,
        is_sure=yes,
        as_json=json,
    )


class SearchedBy(StrEnum):
    """How a query is compared with passages."""

    WORDS = "words"
    MEANING = "meaning"
    BOTH = "both"


@app.command(rich_help_panel=DOCUMENTS)
def search(
    query: str,
    owner: Owner = None,
    by: Annotated[
        SearchedBy, typer.Option(help="By words, by meaning (vector), or by both.")
    ] = SearchedBy.BOTH,
    limit: Annotated[int, typer.Option("-k", help="Number of hits.", min=1, max=200)] = 5,
    json: Json = False,
) -> int:
    """Find passages, as this user may find them."""
    from docmill.cli import search as search_command

    return search_command.search(query, by=by.value, owner=owner, limit=limit, as_json=json)


@app.command(rich_help_panel=DOCUMENTS)
def ask(
    question: str,
    owner: Owner = None,
    conversation: Annotated[
        str | None,
        typer.Option(
            metavar="ID|new", help="Go on with a conversation, or begin one.", callback=text
        ),
    ] = None,
    json: Json = False,
) -> int:
    """Answer a question from what this user may find, with sources."""
    from docmill.cli import ask as ask_command

    return ask_command.ask(question, owner=owner, conversation=conversation, as_json=json)


@app.command(rich_help_panel=DOCUMENTS)
def extract(
    file: Annotated[Path, typer.Argument(metavar="FILE", exists=True, dir_okay=False)],
    chunks: Annotated[
        bool, typer.Option("--chunks", help="Show what is embedded instead.")
    ] = False,
    json: Json = False,
) -> int:
    """Show what is read from a file. Needs no service."""
    from docmill.cli import extract as extract_command

    return extract_command.extract(file, chunks=chunks, as_json=json)

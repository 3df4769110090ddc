"""The embedded stack."""

from pathlib import Path
from typing import Annotated

import typer

from docmill.cli.app import TRY_IT, app
from docmill.cli.options import Json


@app.command(rich_help_panel=TRY_IT)
def up(
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Run in the background.")] = False,
    json: Json = False,
) -> int:
    """Start the embedded stack, for development."""
    from docmill.cli import stack

    return stack.up(detach=detach, as_json=json)


@app.command(rich_help_panel=TRY_IT)
def down() -> int:
    """Stop the embedded stack that runs here; its data stays."""
    from docmill.cli import stack

    return stack.down()


@app.command(rich_help_panel=TRY_IT)
def demo(
    documents: Annotated[
        Path | None, typer.Argument(help="A folder of your own documents.", exists=True)
    ] = None,
) -> int:
    """Upload, ingest and search as two users, all on this machine."""
    from docmill.embedded.extra import require_extra

    require_extra()
    from docmill.cli import demo as demo_command

    return demo_command.demo(documents)

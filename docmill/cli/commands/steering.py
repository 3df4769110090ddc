"""An operator's actions on jobs."""

from typing import Annotated

import typer

from docmill.cli.app import STEP_IN, app
from docmill.cli.options import MOST, JobId, Json, Yes, text


@app.command(rich_help_panel=STEP_IN)
def cancel(job_id: JobId, json: Json = False) -> int:
    """Cancel a job; a running job stops within about a second."""
    from docmill.cli import requests

    return requests.cancel(job_id, as_json=json)


@app.command(rich_help_panel=STEP_IN)
def retry(
    job_id: Annotated[str | None, typer.Argument(metavar="ID")] = None,
    code: Annotated[
        str | None, typer.Option(help="All documents that failed with this code.", callback=text)
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most this many documents.")] = MOST,
    yes: Yes = False,
    json: Json = False,
) -> int:
    """Try the documents of failed or cancelled jobs again."""
    from docmill.cli import requests

    if (job_id is None) == (code is None):
        raise typer.BadParameter("name a job, or --code")
    if job_id is not None:
        return requests.retry(job_id, as_json=json)
    assert code is not None
    return requests.retry_failed(code, limit=limit, is_sure=yes, as_json=json)


@app.command(rich_help_panel=STEP_IN)
def pause(
    source: Annotated[
        str | None, typer.Option(metavar="BUCKET[/PREFIX]", help="Only documents of this source.")
    ] = None,
    owner: Annotated[str | None, typer.Option(metavar="SUB", help="Only this user's.")] = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Use this owner although no user has it.")
    ] = False,
    json: Json = False,
) -> int:
    """Start no more jobs until `resume`.

    Uploads are accepted, and running jobs continue.
    """
    from docmill.cli import pauses

    return pauses.pause(source, owner, is_sure=yes, as_json=json)


@app.command(rich_help_panel=STEP_IN)
def resume(
    source: Annotated[
        str | None, typer.Option(metavar="BUCKET[/PREFIX]", help="The paused source.")
    ] = None,
    owner: Annotated[str | None, typer.Option(metavar="SUB", help="The paused owner.")] = None,
    json: Json = False,
) -> int:
    """End the pause that `pause` with the same options began."""
    from docmill.cli import pauses

    return pauses.resume(source, owner, as_json=json)


@app.command(rich_help_panel=STEP_IN)
def reconcile(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Change nothing.")] = False,
    json: Json = False,
) -> int:
    """Compare Storage with all documents, and repair."""
    from docmill.cli import reconcile as reconcile_command

    return reconcile_command.reconcile(dry_run=dry_run, as_json=json)

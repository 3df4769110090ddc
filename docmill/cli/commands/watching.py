"""Jobs that run, wait or failed, and why."""

from typing import Annotated

import typer

from docmill.cli.app import WATCH, app
from docmill.cli.options import Age, JobId, Json, Owner, text


@app.command(rich_help_panel=WATCH)
def status(json: Json = False) -> int:
    """Show what runs, what waits and what failed."""
    from docmill.cli import observe

    return observe.status(as_json=json)


@app.command(rich_help_panel=WATCH)
def top(
    once: Annotated[bool, typer.Option("--once", help="Show it once, then end.")] = False,
    json: Json = False,
) -> int:
    """Show workers, stages, rates, owners and slow jobs, live."""
    from docmill.cli import top as top_command

    return top_command.top(once=once, as_json=json)


@app.command(rich_help_panel=WATCH)
def jobs(
    state: Annotated[
        str | None, typer.Option(help="Only jobs in this state.", callback=text)
    ] = None,
    code: Annotated[
        str | None, typer.Option(help="Only jobs that ended with this error code.", callback=text)
    ] = None,
    since: Age = None,
    owner: Owner = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000)] = 50,
    json: Json = False,
) -> int:
    """List jobs, newest first."""
    from docmill.cli import observe

    return observe.jobs(state=state, code=code, since=since, owner=owner, limit=limit, as_json=json)


@app.command(rich_help_panel=WATCH)
def job(job_id: JobId, json: Json = False) -> int:
    """Show one job with all its fields and attempts."""
    from docmill.cli import observe

    return observe.job(job_id, as_json=json)


@app.command(rich_help_panel=WATCH)
def explain(job_id: JobId, json: Json = False) -> int:
    """Say where a job stands, why, and what to do."""
    from docmill.cli import requests

    return requests.explain(job_id, as_json=json)


@app.command(rich_help_panel=WATCH)
def watch(
    owner: Owner = None,
    until_idle: Annotated[bool, typer.Option(help="Stop when no job is left.")] = False,
    json: Json = False,
) -> int:
    """Follow jobs live until Ctrl-C."""
    from docmill.cli import observe

    return observe.watch(owner=owner, until_idle=until_idle, as_json=json)


@app.command(rich_help_panel=WATCH)
def schedule(json: Json = False) -> int:
    """Show what runs at which times, its last run and cost."""
    from docmill.cli import schedule as schedule_command

    return schedule_command.schedule(as_json=json)


@app.command(rich_help_panel=WATCH)
def quarantine(
    retry: Annotated[
        bool, typer.Option("--retry", help="Retry the documents of the listed chunks.")
    ] = False,
    owner: Owner = None,
    limit: Annotated[int, typer.Option(min=1, help="At most this many.")] = 100,
    json: Json = False,
) -> int:
    """List the chunks that the provider refused, or retry them."""
    from docmill.cli import quarantine as quarantine_command

    if retry:
        return quarantine_command.retry(owner=owner, as_json=json)
    return quarantine_command.quarantine(owner=owner, limit=limit, as_json=json)

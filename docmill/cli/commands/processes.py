"""The long-running processes."""

from typing import Annotated

import typer

from docmill.cli.app import RUN, app


@app.command(rich_help_panel=RUN)
def worker(
    isolated: Annotated[
        bool, typer.Option("--isolated", help="One slot, for jobs whose worker died once.")
    ] = False,
) -> int:
    """Run jobs."""
    from docmill.cli import processes

    return processes.worker(isolated=isolated)


@app.command(rich_help_panel=RUN)
def webhook() -> int:
    """Receive Storage's webhooks."""
    from docmill.cli import processes

    return processes.webhook()


@app.command(rich_help_panel=RUN)
def beat() -> int:
    """Tell workers when to dispatch, rescue, reconcile and prune."""
    from docmill.cli import processes

    return processes.beat()


@app.command(rich_help_panel=RUN)
def flower() -> int:
    """Serve Flower, the operators' dashboard."""
    from docmill.cli import processes

    return processes.flower()


@app.command(rich_help_panel=RUN)
def mcp(
    http: Annotated[
        bool, typer.Option("--http", help="Serve HTTP; each request has its user's token.")
    ] = False,
) -> int:
    """Let agents search and read as a user (Model Context Protocol)."""
    from docmill.cli import mcp_server

    return mcp_server.mcp(over_http=http)

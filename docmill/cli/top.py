"""`docmill top`: workers, stages, rates, owners and the slowest jobs, live."""

import sys
import time
from typing import Final

from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from docmill.cli.admin import admin_connection
from docmill.cli.context import settings_in_use
from docmill.cli.exit_code import ExitCode
from docmill.cli.output import Row, cell, console, count_of, print_json, short_id, short_name, table
from docmill.cli.stopping import interruptible
from docmill.worker.admin import top as shown
from docmill.worker.admin.status import list_troubles, list_workers
from docmill.worker.store.database import Connection

_PAUSE_SECONDS: Final = 2.0
_SHOWN: Final = 8


def top(*, once: bool, as_json: bool) -> int:
    """Refresh the view until Ctrl-C; without a terminal, print it once."""
    with (
        interruptible("nothing was changed"),
        admin_connection(settings_in_use()) as connection,
    ):
        if as_json:
            print_json(snapshot(connection))
            return ExitCode.DONE
        if once or not sys.stdout.isatty():
            console().print(rendered(snapshot(connection)))
            return ExitCode.DONE
        with Live(console=console(), auto_refresh=False, screen=True) as live:
            while True:
                live.update(rendered(snapshot(connection)), refresh=True)
                time.sleep(_PAUSE_SECONDS)


def snapshot(connection: Connection) -> Row:
    """Read everything that the view shows."""
    return {
        "troubles": list_troubles(connection),
        "rates": shown.rates(connection),
        "workers": list_workers(connection),
        "stages": shown.stages(connection),
        "owners": shown.owners(connection, _SHOWN),
        "slowest": shown.slowest(connection, _SHOWN),
    }


def rendered(now: Row) -> RenderableType:
    """Format a snapshot for people."""
    parts: list[RenderableType] = [
        Text(f"{cell(trouble['seen'])}: {cell(trouble['remedy'])}", style="bold red")
        for trouble in now["troubles"]
    ]
    parts.append(Text(_rates(now["rates"])))
    for title, rows, columns in (
        ("Workers", now["workers"], ("id", "slots", "running", "isolated", "draining")),
        ("Jobs", [_aged(row) for row in now["stages"]], ("stage", "jobs", "oldest")),
        ("Owners", now["owners"], ("owner_id", "running", "queued")),
        (
            "Slowest",
            [_job(row) for row in now["slowest"]],
            ("id", "object_name", "stage", "done", "seconds"),
        ),
    ):
        parts += [Text(""), Text(title, style="bold")]
        parts.append(table(rows, columns) if rows else Text("none"))
    return Group(*parts)


def _rates(rates: Row) -> str:
    chunks = rates["chunks_last_ten"] / 600
    return (
        f"{count_of(rates['jobs_last_minute'], 'job')} ended in the last minute, "
        f"{rates['jobs_last_ten']} in ten ({rates['failed_last_ten']} failed); "
        f"{chunks:.1f} chunks/s, {rates['tokens_last_ten']} tokens, ${rates['usd_last_ten']:.4f}"
    )


def _aged(row: Row) -> Row:
    return row | {"oldest": f"{row['oldest_seconds'] or 0:.0f} s"}


def _job(row: Row) -> Row:
    done = f"{row['chunks_done']}/{row['chunks_total'] or '?'} chunks"
    if not row["chunks_total"] and row["pages_total"]:
        done = f"{row['pages_done']}/{row['pages_total']} pages"
    return row | {
        "id": short_id(row["id"]),
        "object_name": short_name(row),
        "done": done,
        "seconds": f"{row['seconds'] or 0:.0f}",
    }

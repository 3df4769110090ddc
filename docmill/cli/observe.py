"""`docmill status`, `jobs`, `job` and `watch`."""

import sys
import time
from collections.abc import Callable
from typing import Final
from uuid import UUID

from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from docmill.cli.admin import admin_connection, note_unknown_owner, owner_id
from docmill.cli.context import running_stack, settings_in_use
from docmill.cli.exit_code import ExitCode
from docmill.cli.output import (
    Row,
    cell,
    console,
    print_json,
    print_rows,
    short_id,
    short_name,
    table,
)
from docmill.cli.requests import find_job, require_code
from docmill.cli.stopping import interruptible
from docmill.embedded.stack import DEMO_USERS, FLOWER_USER, StackInfo
from docmill.worker.admin.holds import list_breakers, list_pauses
from docmill.worker.admin.jobs import get_job, list_jobs
from docmill.worker.admin.status import count_all, list_troubles, list_workers
from docmill.worker.errors import UsageError

_JOB_COLUMNS: Final = (
    "id",
    "object_name",
    "state",
    "hold_reason",
    "chunks",
    "error_code",
    "created_at",
)
_POLL_SECONDS: Final = 0.5
_WATCHED: Final = 30
FINAL_STATES: Final = ("succeeded", "failed", "superseded", "cancelled")


def status(*, as_json: bool) -> int:
    """Print what runs, what waits and what failed."""
    stack = running_stack()
    settings = settings_in_use()
    with admin_connection(settings) as connection:
        counts = count_all(connection)
        workers = list_workers(connection)
        pauses = list_pauses(connection)
        breakers = list_breakers(connection)
        troubles = list_troubles(connection)
    row: Row = {**counts, "workers": workers, "pauses": pauses, "breakers": breakers}
    row["troubles"] = troubles
    if stack is not None:
        row |= stack_row(stack)
    if as_json:
        print_json(row)
        return ExitCode.DONE
    out = console()
    if stack is not None:
        out.print(f"embedded stack, process {stack.pid}: {stack.api_url}")
        out.print(f"console: {stack.api_url}/console/")
        out.print(f"publishable key: {stack.keys.publishable_key}")
        out.print(f"users: {', '.join(DEMO_USERS.values())}, password {stack.keys.demo_password}")
        out.print(
            f"Flower: {stack.flower_url}, user {FLOWER_USER}, password {stack.keys.flower_password}"
        )
    for name in ("documents", "jobs"):
        parts = sorted((counts[name] or {}).items())
        out.print(f"{name}: " + (", ".join(f"{n} {what}" for what, n in parts) or "none"))
    out.print(f"events not settled: {counts['pending_events']}")
    if counts["oldest_queued"]:
        out.print(f"oldest queued job: since {cell(counts['oldest_queued'])}")
    for pause in pauses:
        out.print(f"paused: {_paused(pause)}")
    for trouble in troubles:
        if trouble["trouble"] != "paused":
            out.print(f"{cell(trouble['seen'])}: {cell(trouble['remedy'])}")
    if workers:
        out.print(table(workers, ("id", "slots", "running", "isolated", "draining", "last_seen")))
    return ExitCode.DONE


def _paused(pause: Row) -> str:
    if pause["scope"] == "source":
        return cell(f"source {pause['bucket_id']}/{pause['prefix']}")
    return cell(f"{pause['scope']} {pause['key']}".strip())


def stack_row(stack: StackInfo) -> Row:
    """The facts about an embedded stack that programs need."""
    return {
        "pid": stack.pid,
        "api_url": stack.api_url,
        "publishable_key": stack.keys.publishable_key,
        "secret_key": stack.keys.secret_key,
        "database_url": stack.database_url("postgres"),
        "users": list(DEMO_USERS.values()),
        "password": stack.keys.demo_password,
        "flower_url": stack.flower_url,
        "flower_user": FLOWER_USER,
        "flower_password": stack.keys.flower_password,
    }


def jobs(
    *,
    state: str | None,
    code: str | None,
    since: str | None,
    owner: str | None,
    limit: int,
    as_json: bool,
) -> int:
    """List jobs."""
    if code is not None:
        require_code(code)
    if state not in (None, "queued", "running", *FINAL_STATES):
        raise UsageError(f"--state {state}: one of queued, running, {', '.join(FINAL_STATES)}")
    settings = settings_in_use()
    owner = owner_id(settings, owner)
    with admin_connection(settings) as connection:
        rows = list_jobs(connection, state=state, owner=owner, code=code, since=since, limit=limit)
        if not rows:
            note_unknown_owner(connection, owner)
    if not as_json:
        rows = [_for_table(row) for row in rows]
    print_rows(rows, _JOB_COLUMNS, as_json=as_json)
    return ExitCode.DONE


def _for_table(row: Row) -> Row:
    return row | {
        "id": short_id(row["id"]),
        "object_name": short_name(row),
        "chunks": _chunks(row),
    }


def _chunks(row: Row) -> str:
    if row["state"] is None:  # a file whose event is not settled yet has no job
        return "-"
    done = row["chunks_embedded"] + row["chunks_reused"]
    return f"{done}/{row['chunks_total']}" if row["chunks_total"] else str(done or "-")


def job(job_id: str, *, as_json: bool) -> int:
    """Show one job."""
    with admin_connection(settings_in_use()) as connection:
        row = get_job(connection, find_job(connection, job_id))
    if as_json:
        print_json(row)
        return ExitCode.DONE
    attempts = row.pop("attempts")
    out = console()
    for name, value in row.items():
        if value not in (None, 0, False):
            out.print(f"{name:16} {cell(value)}")
    if attempts:
        out.print(table(attempts, ("attempt", "worker_id", "started_at", "outcome", "error_code")))
    return ExitCode.DONE


def watch(*, owner: str | None, until_idle: bool, as_json: bool) -> int:
    """Follow the newest jobs."""
    settings = settings_in_use()
    owner = owner_id(settings, owner)
    with (
        interruptible("the jobs go on without being watched"),
        admin_connection(settings) as connection,
    ):

        def newest() -> list[Row]:
            return list_jobs(connection, state=None, owner=owner, limit=_WATCHED)

        if as_json or not sys.stdout.isatty():
            return _follow_lines(newest, until_idle=until_idle, as_json=as_json)
        with Live(console=console(), auto_refresh=False) as live:
            while True:
                rows = newest()
                # Rich would print the rows that do not fit again, line by line, at the end.
                live.update(progress_table(rows[: live.console.height - 2]), refresh=True)
                if until_idle and _is_idle(rows):
                    return ExitCode.DONE
                time.sleep(_POLL_SECONDS)


def _is_idle(rows: list[Row]) -> bool:
    return all(row["state"] in FINAL_STATES for row in rows)


def _follow_lines(newest: Callable[[], list[Row]], *, until_idle: bool, as_json: bool) -> int:
    seen: dict[UUID, object] = {}
    while True:
        rows = newest()
        for row in reversed(rows):
            if seen.get(row["id"]) != row["updated_at"]:
                seen[row["id"]] = row["updated_at"]
                print_json(row) if as_json else print(progress_line(row), flush=True)
        if until_idle and _is_idle(rows):
            return ExitCode.DONE
        time.sleep(_POLL_SECONDS)


def progress_line(row: Row) -> str:
    """The progress of a job in one line."""
    code = f" {row['error_code']}" if row["error_code"] else ""
    done = row["chunks_embedded"] + row["chunks_reused"]
    chunks = f"{done}/{row['chunks_total']} chunks" if row["chunks_total"] else ""
    return f"{row['state']:10} {row['stage']:11} {chunks:12} {short_name(row)}{code}"


def progress_table(rows: list[Row]) -> Table:
    """A table of jobs, with a progress bar for each."""
    made = Table(box=None, pad_edge=False, header_style="bold", expand=True)
    made.add_column("document", ratio=1, no_wrap=True, overflow="ellipsis")
    for column, width in (("state", 11), ("progress", 12), ("pages", 7), ("chunks", 9)):
        made.add_column(column, min_width=width, no_wrap=True, overflow="ellipsis")
    made.add_column("why", no_wrap=True, overflow="ellipsis", max_width=20)
    for row in rows:
        made.add_row(
            short_name(row),
            row["stage"] if row["state"] == "running" else row["state"] or "pending",
            ProgressBar(
                total=1,
                completed=fraction_done(row),
                width=12,
                complete_style="cyan",
                finished_style="green",
            ),
            f"{row['pages_done']}/{row['pages_total']}" if row["pages_total"] else "-",
            _chunks(row),
            cell(row["error_code"] or row["hold_reason"]),
        )
    return made


def fraction_done(row: Row) -> float:
    """How far a job is, from 0 to 1: reading is half of it, embedding the other half."""
    if row["state"] == "succeeded":
        return 1.0
    if row["state"] != "running":
        return 0.0
    read = row["pages_done"] / row["pages_total"] if row["pages_total"] else 0.0
    if row["stage"] in ("embedding", "publishing"):
        read = 1.0
    done = row["chunks_embedded"] + row["chunks_reused"]
    embedded = done / row["chunks_total"] if row["chunks_total"] else 0.0
    return min(read / 2 + embedded / 2, 1.0)

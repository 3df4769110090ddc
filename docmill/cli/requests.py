"""`docmill cancel`, `retry` and `explain`, which owners can also do through the Data API."""

import re
from difflib import get_close_matches
from typing import Final
from uuid import UUID

from docmill.cli.admin import admin_connection
from docmill.cli.confirm import require_yes
from docmill.cli.context import settings_in_use
from docmill.cli.exit_code import ExitCode
from docmill.cli.output import Row, cell, console, count_of, print_json, short_id
from docmill.worker.admin import jobs
from docmill.worker.admin.jobs import (
    count_failed,
    explain_job,
    find_jobs,
    request_cancel,
    retry_job,
)
from docmill.worker.errors import ERROR_CODES, RefusedError, UsageError
from docmill.worker.store.database import Connection

_ID: Final = re.compile(r"[0-9a-f]{4,8}|[0-9a-f]{8}-[0-9a-f-]{0,27}", re.IGNORECASE)


def find_job(connection: Connection, text: str) -> UUID:
    """The job whose id begins with this text.

    Raises UsageError, or RefusedError if there is none.
    """
    if not _ID.fullmatch(text):
        raise UsageError(f"{cell(text)!r} is not a job id: docmill jobs lists them")
    found = find_jobs(connection, text)
    if not found:
        raise RefusedError(f"there is no job {text}: docmill jobs lists them")
    if len(found) > 1:
        raise UsageError(f"several jobs have ids that begin with {text}: write more of the id")
    return found[0]


def cancel(job_id: str, *, as_json: bool) -> int:
    """Cancel a job, or ask its worker to."""
    with admin_connection(settings_in_use()) as connection:
        wanted = find_job(connection, job_id)
        state = request_cancel(connection, wanted)
    if as_json:
        print_json({"id": wanted, "state": state})
    elif state == "running":
        console().print("its worker was asked to stop; that takes about a second")
    elif state == "cancelled":
        console().print("cancelled")
    else:
        console().print(f"it has {state} already")
    return ExitCode.DONE if state in ("running", "cancelled") else ExitCode.FAILED


def retry(job_id: str, *, as_json: bool) -> int:
    """Make a new job for the document of one that failed or was cancelled."""
    with admin_connection(settings_in_use()) as connection:
        new_id = retry_job(connection, find_job(connection, job_id))
    if as_json:
        print_json({"id": new_id})
    else:
        console().print(f"queued as job {short_id(new_id)}")
    return ExitCode.DONE


def require_code(code: str) -> None:
    """Raise UsageError if this is not an error code."""
    if code not in ERROR_CODES:
        close = get_close_matches(code, ERROR_CODES, n=1)
        hint = f"did you mean {close[0]}?" if close else "docs/errors.md lists them"
        raise UsageError(f"{cell(code)!r} is no error code: {hint}")


def retry_failed(code: str, *, limit: int, is_sure: bool, as_json: bool) -> int:
    """Make a new job for each document that failed with this code."""
    require_code(code)
    with admin_connection(settings_in_use()) as connection:
        number = min(count_failed(connection, code), limit)
        if number:
            said = f"{count_of(number, 'document')} failed with {code}"
            require_yes(said, "try them again", is_sure=is_sure, can_ask=not as_json)
        made = list(jobs.retry_failed(connection, code, limit))
    for new_id in made if as_json else ():
        print_json({"id": new_id})
    if not as_json:
        console().print(f"queued {count_of(len(made), 'document')}")
    return ExitCode.DONE


def explain(job_id: str, *, as_json: bool) -> int:
    """Say where a job stands and why."""
    with admin_connection(settings_in_use()) as connection:
        row = explain_job(connection, find_job(connection, job_id))
    if as_json:
        print_json(row)
    else:
        _print_explanation(row)
    return ExitCode.DONE


def _print_explanation(row: Row) -> None:
    out = console()
    out.print(f"{cell(row['object_name'])}: {row['situation']}", style="bold")
    out.print(row["explanation"])
    details = {
        "code": row["error_code"],
        "rate": f"{row['per_second']:.1f} a second" if row["per_second"] else None,
        "workers": row["live_workers"],
    }
    for name, value in details.items():
        if value is not None:
            out.print(f"{name:8} {value}")

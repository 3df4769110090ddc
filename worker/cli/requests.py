"""`docmill cancel`, `retry` and `explain`: what owners ask for through the Data API as well."""

from uuid import UUID

from worker.cli.context import admin_connection, settings_in_use
from worker.cli.main import ExitCode
from worker.cli.output import Row, cell, console, print_json
from worker.errors import RefusedError, UsageError
from worker.store import admin


def parse_job_id(text: str) -> UUID:
    """The id of a job as it was typed. Raises UsageError."""
    try:
        return UUID(text)
    except ValueError:
        raise UsageError(f"{text!r} is not a job id: docmill jobs lists them") from None


def no_such_job(job_id: UUID) -> RefusedError:
    """What is said of an id that no job has."""
    return RefusedError(f"there is no job {job_id}: docmill jobs lists them")


def cancel(job_id: str, *, as_json: bool) -> int:
    """Cancel a job, or ask its worker to."""
    wanted = parse_job_id(job_id)
    with admin_connection(settings_in_use()) as connection:
        state = admin.request_cancel(connection, wanted)
    if state is None:
        raise no_such_job(wanted)
    if as_json:
        print_json({"id": wanted, "state": state})
    elif state == "running":
        console().print("asked its worker to stop, which takes about a second")
    elif state == "cancelled":
        console().print("cancelled")
    else:
        console().print(f"it has {state} already")
    return ExitCode.DONE if state in ("running", "cancelled") else ExitCode.FAILED


def retry(job_id: str, *, as_json: bool) -> int:
    """Make a new job for the document of one that failed or was cancelled."""
    wanted = parse_job_id(job_id)
    with admin_connection(settings_in_use()) as connection:
        new_id = admin.retry_job(connection, wanted)
    if as_json:
        print_json({"id": new_id})
    else:
        console().print(f"queued as job {new_id}")
    return ExitCode.DONE


def explain(job_id: str, *, as_json: bool) -> int:
    """Say where a job stands and why."""
    wanted = parse_job_id(job_id)
    with admin_connection(settings_in_use()) as connection:
        row = admin.explain_job(connection, wanted)
    if row is None:
        raise no_such_job(wanted)
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

"""`docmill schedule`: what runs at which times, and the results of the last runs."""

from typing import Final

from docmill.cli.admin import admin_connection
from docmill.cli.context import settings_in_use
from docmill.cli.exit_code import ExitCode
from docmill.cli.output import Row, print_rows
from docmill.worker.admin.schedules import list_schedules

_COLUMNS: Final = (
    *("schedule", "when", "time_zone", "next_due_at", "last_started_at", "outcome"),
    *("documents", "chunks_changed", "cost_usd", "found"),
)


def schedule(*, as_json: bool) -> int:
    """List the schedules, the next one first."""
    with admin_connection(settings_in_use()) as connection:
        rows = list_schedules(connection)
    if not as_json:
        rows = [_for_table(row) for row in rows]
    print_rows(rows, _COLUMNS, as_json=as_json)
    return ExitCode.DONE


def _for_table(row: Row) -> Row:
    return row | {
        "schedule": row["name"],
        "when": row["expression"] or "off",
        "outcome": ": ".join(filter(None, (row["last_outcome"], row["last_error"]))) or None,
        "cost_usd": float(row["cost_usd"]),
    }

"""Numbers about the whole installation, from the database."""

from dataclasses import dataclass
from typing import Final, LiteralString

from docmill.worker.store.database import Connection

READ: Final[LiteralString] = "select name, labels, value from ingest_private.gauges()"

#: Exported names, each with its meaning and its labels.
GAUGES: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "docmill_queue_jobs": ("Unfinished jobs by priority and place.", ("priority", "phase")),
    "docmill_queue_oldest_seconds": (
        "Age of the oldest job that waits, by priority.",
        ("priority",),
    ),
    "docmill_queue_ready_seconds": (
        "Age of the oldest upload that only waits for a slot; 0: none does.",
        (),
    ),
    "docmill_jobs_held": ("Queued jobs that are held, by reason.", ("reason",)),
    "docmill_jobs_ended_last_hour": (
        "Jobs that ended in the last hour, by state and error code.",
        ("state", "code"),
    ),
    "docmill_breaker_open": ("1: all jobs of a provider are held.", ("code", "provider")),
    "docmill_workers": ("Workers that are alive.", ("isolated",)),
    "docmill_slots": ("Jobs that they run at most.", ("isolated",)),
    "docmill_leases": ("Leases; expired ones have not been taken back yet.", ("state",)),
    "docmill_pending_events": ("Changes of Storage that wait to be settled.", ()),
    "docmill_withdrawn_documents": ("Withdrawn documents that wait for the drain.", ()),
    "docmill_tick_age_seconds": ("Time since a work of the schedule was done.", ("work",)),
    "docmill_trouble": ("1: what docmill status shows as a trouble.", ("trouble",)),
}


@dataclass(frozen=True)
class Gauge:
    """One number."""

    name: str
    labels: dict[str, str]
    value: float


def read_gauges(connection: Connection) -> list[Gauge]:
    """Read all of them."""
    return [
        Gauge(f"docmill_{name}", labels, float(value))
        for name, labels, value in connection.execute(READ).fetchall()
    ]

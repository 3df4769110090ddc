"""Counts of jobs and documents, and the workers that are alive, over the admin connection."""

from typing import Final, LiteralString

from docmill.worker.admin.rows import Row, fetch_rows
from docmill.worker.store.database import Connection

COUNTS: Final[LiteralString] = """
    select (select coalesce(jsonb_object_agg(state, count), '{}')
              from (select state, count(*) from ingest.jobs group by state) as by_state) as jobs,
           (select coalesce(jsonb_object_agg(status, count), '{}')
              from (select status, count(*) from ingest.documents group by status) as by_status)
               as documents,
           (select count(*) from ingest_private.pending_events) as pending_events,
           (select min(created_at) from ingest.jobs where state = 'queued') as oldest_queued
"""
LIST_WORKERS: Final[LiteralString] = """
    select worker.id, worker.slots, worker.isolated, worker.draining, worker.version,
           worker.started_at, worker.last_seen,
           (select count(*) from ingest_private.leases where worker_id = worker.id) as running
      from ingest_private.workers as worker
     where worker.expires_at > clock_timestamp()
     order by worker.started_at
"""
TROUBLES: Final[LiteralString] = """
    select trouble, is_failure, since, seen, remedy from ingest_private.troubles()
"""


def count_all(connection: Connection) -> Row:
    """Jobs by state, documents by status, and the number of waiting events."""
    return fetch_rows(connection, COUNTS, {})[0]


def list_workers(connection: Connection) -> list[Row]:
    """Workers that are alive, that is, have renewed their leases in time."""
    return fetch_rows(connection, LIST_WORKERS, {})


def list_troubles(connection: Connection) -> list[Row]:
    """Problems that keep documents from being ingested, as far as the database shows them."""
    return fetch_rows(connection, TROUBLES, {})

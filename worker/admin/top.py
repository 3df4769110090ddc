"""The present state of the installation, for `docmill top`."""

from typing import Final, LiteralString

from docmill.worker.admin.rows import Row, fetch_rows
from docmill.worker.store.database import Connection

#: The stage of running jobs; queued jobs are under their hold reason, or `waiting`.
STAGES: Final[LiteralString] = """
    select case state when 'running' then stage else coalesce(hold_reason, 'waiting') end as stage,
           state = 'running' as running, count(*)::integer as jobs,
           extract(epoch from clock_timestamp() - min(case state when 'running' then started_at
                                                                else created_at end))::float
               as oldest_seconds
      from ingest.jobs where state in ('queued', 'running')
     group by 1, 2 order by 2 desc, 3 desc
"""
#: For the last ten minutes, and for the last minute.
RATES: Final[LiteralString] = """
    select count(*) filter (where finished_at > now.minute)::integer as jobs_last_minute,
           count(*)::integer as jobs_last_ten,
           count(*) filter (where state = 'failed')::integer as failed_last_ten,
           coalesce(sum(chunks_embedded), 0)::integer as chunks_last_ten,
           coalesce(sum(tokens_used), 0)::bigint as tokens_last_ten,
           coalesce(sum(cost_usd), 0)::float as usd_last_ten
      from (select statement_timestamp() - interval '1 minute',
                   statement_timestamp() - interval '10 minutes')
               as now (minute, ten_minutes)
           join ingest.jobs on finished_at > now.ten_minutes
"""
OWNERS: Final[LiteralString] = """
    select owner_id, count(*) filter (where state = 'running')::integer as running,
           count(*) filter (where state = 'queued')::integer as queued
      from ingest.jobs where state in ('queued', 'running')
     group by owner_id order by count(*) desc, owner_id limit %(limit)s
"""
SLOWEST: Final[LiteralString] = """
    select job.id, job.object_name, job.owner_id, job.stage, job.attempt,
           job.pages_done, job.pages_total,
           job.chunks_embedded + job.chunks_reused as chunks_done, job.chunks_total,
           extract(epoch from clock_timestamp() - job.started_at)::float as seconds,
           lease.worker_id
      from ingest.jobs as job left join ingest_private.leases as lease on lease.job_id = job.id
     where job.state = 'running'
     order by job.started_at, job.id limit %(limit)s
"""


def stages(connection: Connection) -> list[Row]:
    """Unfinished jobs by stage or by the reason why they wait."""
    return fetch_rows(connection, STAGES, {})


def rates(connection: Connection) -> Row:
    """Counts of jobs that ended lately, with their chunks, tokens and cost."""
    return fetch_rows(connection, RATES, {})[0]


def owners(connection: Connection, limit: int) -> list[Row]:
    """The owners with the most unfinished jobs."""
    return fetch_rows(connection, OWNERS, {"limit": limit})


def slowest(connection: Connection, limit: int) -> list[Row]:
    """The jobs that have been running longest."""
    return fetch_rows(connection, SLOWEST, {"limit": limit})

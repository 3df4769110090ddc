"""Schedules as operators see them, over the admin connection."""

from typing import Final, LiteralString

from docmill.worker.admin.rows import Row, fetch_rows
from docmill.worker.store.database import Connection

#: The cost of a run is the sum of the jobs that it made; it grows while they run.
SCHEDULES: Final[LiteralString] = """
    select schedule.name, schedule.expression, schedule.time_zone, schedule.next_due_at,
           case when schedule.last_started_at is null then null
                when schedule.last_finished_at >= schedule.last_started_at
                then schedule.last_outcome
                when schedule.leased_until > clock_timestamp() then 'running'
                else 'died' end as last_outcome,
           schedule.last_started_at, schedule.last_finished_at,
           schedule.last_error, schedule.documents, spent.*,
           (select string_agg(concat_ws(': ', sample.seen, sample.remedy), '; '
                              order by sample.relation)
              from ingest_private.samples as sample where sample.schedule = schedule.name) as found
      from ingest_private.schedules as schedule
           cross join lateral (
               select count(*) filter (where job.state in ('queued', 'running')) as jobs_unfinished,
                      coalesce(sum(job.chunks_embedded), 0) as chunks_changed,
                      coalesce(sum(job.tokens_used), 0) as tokens,
                      coalesce(sum(job.cost_usd), 0) as cost_usd
                 from ingest.jobs as job where job.id = any(schedule.job_ids)) as spent
     order by schedule.next_due_at, schedule.name
"""


def list_schedules(connection: Connection) -> list[Row]:
    """Every schedule, the next one first: when it is due, what its last run found and cost."""
    return fetch_rows(connection, SCHEDULES, {})

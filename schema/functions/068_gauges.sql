-- gauges: the state of the installation as numbers, for metrics. Labels are from small sets: no owner,
-- no document, no name of a file. Counts what is unfinished, and what ended in the last hour: not the
-- whole table of jobs.
create or replace function ingest_private.gauges()
returns table (name text, labels jsonb, value double precision)
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select 'queue_jobs', jsonb_build_object('priority', priority::text, 'phase', phase), count(*)
      from ingest_private.job_queue group by priority, phase
    union all
    select 'queue_oldest_seconds', jsonb_build_object('priority', queue.priority::text),
           extract(epoch from clock_timestamp() - min(job.created_at))
      from ingest_private.job_queue as queue join ingest.jobs as job on job.id = queue.job_id
     where queue.phase <> 'running' and job.hold_reason is distinct from 'in_batch'
     group by queue.priority
    union all
    select 'queue_ready_seconds', '{}',
           coalesce(extract(epoch from clock_timestamp() - min(job.created_at)), 0)
      from ingest_private.job_queue as queue join ingest.jobs as job on job.id = queue.job_id
     where queue.phase = 'ready' and not queue.isolated and job.kind <> 'reindex'
    union all
    select 'jobs_held', jsonb_build_object('reason', hold_reason), count(*)
      from ingest.jobs
     where state = 'queued' and hold_reason is not null group by hold_reason
    union all
    select 'jobs_ended_last_hour',
           jsonb_build_object('state', state, 'code', coalesce(error_code, '')), count(*)
      from ingest.jobs
     where finished_at > (select clock_timestamp() - interval '1 hour')
     group by state, error_code
    union all
    select 'breaker_open', jsonb_build_object('code', error_code, 'provider', provider), 1
      from ingest_private.breakers
    union all
    select 'workers', jsonb_build_object('isolated', kind.isolated::text), count(worker.id)
      from (values (true), (false)) as kind (isolated)
           left join ingest_private.workers as worker
             on worker.isolated = kind.isolated and worker.expires_at > clock_timestamp()
     group by kind.isolated
    union all
    select 'slots', jsonb_build_object('isolated', isolated::text), sum(slots)
      from ingest_private.workers where expires_at > clock_timestamp() group by isolated
    union all
    select 'leases',
           jsonb_build_object('state',
               case when expires_at < clock_timestamp() then 'expired' else 'held' end),
           count(*)
      from ingest_private.leases group by expires_at < clock_timestamp()
    union all
    select 'pending_events', '{}', count(*) from ingest_private.pending_events
    union all
    select 'withdrawn_documents', '{}', count(*) from ingest_private.withdrawn
    union all
    select 'tick_age_seconds', jsonb_build_object('work', work),
           extract(epoch from clock_timestamp() - ticked_at)
      from ingest_private.ticks
    union all
    select 'trouble', jsonb_build_object('trouble', trouble), count(*)
      from ingest_private.troubles() group by trouble
$$;

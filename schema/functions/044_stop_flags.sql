-- stop_flags: which of a worker's runs must stop: `lost` if the lease is gone or has another token
-- (superseded, deleted, rescued), `cancelled` if the owner asked for it.
create or replace function ingest_private.stop_flags(p_job_ids uuid[], p_tokens bigint[])
returns table (job_id uuid, reason text)
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select run.job_id, case when lease.job_id is null then 'lost' else 'cancelled' end
      from unnest(p_job_ids, p_tokens) as run (job_id, token)
           left join ingest_private.leases as lease
                  on lease.job_id = run.job_id and lease.token = run.token
           left join ingest.jobs as job on job.id = run.job_id
     where lease.job_id is null or job.cancel_requested
$$;

-- forget_worker: a worker that stops normally signs off, so nobody waits for it.
create or replace function ingest_private.forget_worker(p_worker_id text)
returns void
language sql security definer set search_path = pg_catalog, pg_temp as $$
    delete from ingest_private.workers where id = p_worker_id;
$$;

-- is_wanted: whether a job should still have been run when its run lost the lease. False: it was
-- superseded or cancelled, it is gone with its document, or it waits while another index version is
-- made active.
create or replace function ingest_private.is_wanted(p_job_id uuid)
returns boolean
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select exists (select from ingest.jobs as job
                    where job.id = p_job_id and job.state not in ('superseded', 'cancelled')
                      and job.hold_reason is distinct from 'activating')
$$;

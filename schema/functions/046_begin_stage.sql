-- begin_stage: call this first in a transaction that COPYs into staged_chunks. It keeps the lease
-- from rescue, supersede and delete until commit. False: the lease is lost, write nothing. The job
-- is locked before its lease, as everywhere: record_spend writes to it at the end.
create or replace function ingest_private.begin_stage(p_job_id uuid, p_token bigint)
returns boolean
language plpgsql security definer
set search_path = pg_catalog, pg_temp set lock_timeout = '5s' as $$
begin
    perform from ingest.jobs where id = p_job_id and state = 'running' for no key update;
    perform from ingest_private.leases
      where job_id = p_job_id and token = p_token for key share;
    return found;
end
$$;

-- report_progress: writes stage and counters of a running job, for clients that poll it. Null
-- leaves a counter as it is. False: the lease is lost, and the caller must stop. It does no harm if
-- a crash of Postgres loses the last report, so the commit does not wait for the disk. The job is
-- locked before the lease is read. Otherwise an update that waited for a rescue would see the lease
-- as it was before, and a lost run could write into the next one.
create or replace function ingest_private.report_progress(
    p_job_id uuid, p_token bigint, p_stage text, p_pages_total integer, p_pages_done integer,
    p_chunks_total integer, p_chunks_embedded integer, p_chunks_reused integer)
returns boolean
language plpgsql security definer
set search_path = pg_catalog, pg_temp set lock_timeout = '5s' as $$
begin
    -- Until the commit. What a function is declared with ends with the function, which is before.
    perform set_config('synchronous_commit', 'off', true);
    perform from ingest.jobs where id = p_job_id and state = 'running' for no key update;
    update ingest.jobs as job
       set stage = p_stage,
           pages_total = coalesce(p_pages_total, pages_total),
           pages_done = coalesce(p_pages_done, pages_done),
           chunks_total = coalesce(p_chunks_total, chunks_total),
           chunks_embedded = coalesce(p_chunks_embedded, chunks_embedded),
           chunks_reused = coalesce(p_chunks_reused, chunks_reused),
           updated_at = clock_timestamp()
     where job.id = p_job_id and job.state = 'running'
       and exists (select from ingest_private.leases as lease
                    where lease.job_id = p_job_id and lease.token = p_token);
    return found;
end
$$;

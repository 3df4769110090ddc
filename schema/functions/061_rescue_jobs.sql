-- rescue_jobs: running with an expired lease -> queued, to run alone from now on, or -> failed
-- (worker_lost) after two deaths alone. The worker that held the lease did not sign off. Any of its
-- jobs may have killed it, and only runs alone can show which. Locked leases are in use and
-- skipped. Returns how many jobs were rescued. If a lease expired while Postgres itself was down,
-- its worker could not renew it. It gets until fifteen seconds after the start, which is longer
-- than it takes to connect again.
create or replace function ingest_private.rescue_jobs(p_limit integer default 500)
returns integer
language plpgsql security definer
set search_path = pg_catalog, pg_temp set lock_timeout = '2s' as $$
declare
    v_job_id uuid;
    v_document_id uuid;
    v_entry ingest_private.job_queue;
    v_rescued integer := 0;
begin
    for v_job_id in
        select job_id from ingest_private.leases
         where expires_at < clock_timestamp()
           and (expires_at > pg_postmaster_start_time()
                or pg_postmaster_start_time() < clock_timestamp() - interval '15 seconds')
         order by job_id limit p_limit
    loop
        -- First lock document and job, as everywhere; then the lease, if it is still expired.
        select document_id into v_document_id from ingest.jobs where id = v_job_id;
        perform from ingest.documents
          where id = v_document_id for no key update skip locked;
        continue when not found and exists (
            select from ingest.documents where id = v_document_id);
        perform from ingest.jobs where id = v_job_id for no key update skip locked;
        continue when not found;
        perform from ingest_private.leases
          where job_id = v_job_id and expires_at < clock_timestamp() for update skip locked;
        continue when not found;

        update ingest_private.job_queue
           set crashes = crashes + 1,
               isolated_crashes = isolated_crashes + isolated::integer,
               isolated = true
         where job_id = v_job_id
        returning * into v_entry;
        if v_entry.isolated_crashes >= 2 then
            perform ingest_private.end_failed(v_job_id, 'worker_lost');
        else
            perform ingest_private.requeue_job(
                v_job_id, 'crashed', null, null, interval '0');
        end if;
        v_rescued := v_rescued + 1;
    end loop;
    return v_rescued;
end
$$;

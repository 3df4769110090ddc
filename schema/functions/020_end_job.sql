-- end_jobs: unfinished jobs -> a final state. Drops their leases and their places in the queue and
-- closes their attempts. The caller holds the locks on documents and jobs. Ends all of them at
-- once, because a delete of many objects ends many jobs.
create or replace function ingest_private.end_jobs(
    p_job_ids uuid[], p_state text, p_error_code text default null)
returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp set enable_seqscan = off as $$
begin
    update ingest.jobs
       set state = p_state, stage = 'finished', hold_reason = null, next_attempt_at = null,
           error_code = p_error_code,
           error_message = (select message from ingest_private.error_codes
                             where code = p_error_code),
           finished_at = clock_timestamp(), updated_at = clock_timestamp()
     where id = any(p_job_ids) and finished_at is null;
    delete from ingest_private.leases where job_id = any(p_job_ids);
    delete from ingest_private.job_queue where job_id = any(p_job_ids);
    update ingest_private.attempts
       set finished_at = clock_timestamp(), outcome = p_state, error_code = p_error_code
     where job_id = any(p_job_ids) and finished_at is null;
    if p_state in ('failed', 'cancelled') then
        perform ingest_private.note_version_failures(p_job_ids);
    end if;
end
$$;

-- end_job: end_jobs for one job.
create or replace function ingest_private.end_job(
    p_job_id uuid, p_state text, p_error_code text default null)
returns void
language sql security definer set search_path = pg_catalog, pg_temp as $$
    select ingest_private.end_jobs(array[p_job_id], p_state, p_error_code);
$$;

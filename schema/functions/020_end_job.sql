-- end_job: an unfinished job -> a final state. Drops its lease and its place in the queue and
-- closes its attempt. The caller holds the locks on document and job.
create or replace function ingest_private.end_job(
    p_job_id uuid, p_state text, p_error_code text default null)
returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    update ingest.jobs
       set state = p_state, stage = 'finished', hold_reason = null, next_attempt_at = null,
           error_code = p_error_code,
           error_message = (select message from ingest_private.error_codes
                             where code = p_error_code),
           finished_at = clock_timestamp(), updated_at = clock_timestamp()
     where id = p_job_id and finished_at is null;
    delete from ingest_private.leases where job_id = p_job_id;
    delete from ingest_private.job_queue where job_id = p_job_id;
    update ingest_private.attempts
       set finished_at = clock_timestamp(), outcome = p_state, error_code = p_error_code
     where job_id = p_job_id and finished_at is null;
end
$$;

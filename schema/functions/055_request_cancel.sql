-- request_cancel: queued -> cancelled; a running job is marked, and its worker ends it within about
-- a second, in any stage. A finished job stays as it is. Returns the state that the job has now;
-- `running` means that its worker has been asked to stop. Null: no such job.
create or replace function ingest_private.request_cancel(p_job_id uuid)
returns text
language plpgsql security definer
set search_path = pg_catalog, pg_temp set lock_timeout = '5s' as $$
declare
    v_document_id uuid;
    v_state text;
begin
    -- Locks only the job, so it does not wait for a publish that holds the document.
    update ingest.jobs set cancel_requested = true, updated_at = clock_timestamp()
     where id = p_job_id and state = 'running';
    if found then
        return 'running';
    end if;
    select document_id into v_document_id from ingest.jobs where id = p_job_id;
    perform from ingest.documents where id = v_document_id for no key update;
    select state into v_state from ingest.jobs where id = p_job_id for no key update;
    if v_state = 'running' then
        update ingest.jobs set cancel_requested = true, updated_at = clock_timestamp()
         where id = p_job_id;
    elsif v_state = 'queued' then
        update ingest.jobs set cancel_requested = true where id = p_job_id;
        perform ingest_private.end_cancelled(p_job_id);
        v_state := 'cancelled';
    end if;
    return v_state;
end
$$;

-- lock_run: locks document, job and lease of a run. False: the lease is lost.
create or replace function ingest_private.lock_run(p_job_id uuid, p_token bigint)
returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform from ingest.documents
      where id = (select document_id from ingest.jobs where id = p_job_id) for no key update;
    perform from ingest.jobs where id = p_job_id and state = 'running' for no key update;
    if not found then
        return false;
    end if;
    perform from ingest_private.leases where job_id = p_job_id and token = p_token for update;
    return found;
end
$$;

-- end_failed: a job -> failed. If it is the newest job of its document, the document becomes failed
-- too.
create or replace function ingest_private.end_failed(p_job_id uuid, p_error_code text)
returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform ingest_private.end_job(p_job_id, 'failed', p_error_code);
    update ingest.documents as document
       set status = 'failed', error_code = job.error_code, error_message = job.error_message,
           updated_at = clock_timestamp()
      from ingest.jobs as job
     where job.id = p_job_id and document.id = job.document_id
       and document.latest_job_id = job.id;
end
$$;

-- end_cancelled: a job -> cancelled. If the newest version of its document is searchable anyway,
-- the document stays as it was. Otherwise it becomes failed with the code `cancelled`, so that
-- nobody waits for it.
create or replace function ingest_private.end_cancelled(p_job_id uuid)
returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform ingest_private.end_job(p_job_id, 'cancelled');
    update ingest.documents as document
       set status = case when code.code is null then 'ready' else 'failed' end,
           error_code = code.code, error_message = code.message, updated_at = clock_timestamp()
      from ingest.jobs as job
           left join ingest_private.published_versions as published
                  on published.document_id = job.document_id
                 and published.index_version = job.index_version
                 and published.storage_version = job.storage_version
           left join ingest_private.error_codes as code
                  on code.code = 'cancelled' and published.document_id is null
     where job.id = p_job_id and document.id = job.document_id
       and document.latest_job_id = job.id;
end
$$;

-- requeue_job: running -> queued, or -> cancelled if somebody asked for that meanwhile. The caller
-- holds the locks of lock_run.
create or replace function ingest_private.requeue_job(
    p_job_id uuid, p_outcome text, p_error_code text, p_hold_reason text, p_retry_in interval)
returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    v_due_at timestamptz := clock_timestamp() + p_retry_in;
begin
    if (select cancel_requested from ingest.jobs where id = p_job_id) then
        perform ingest_private.end_cancelled(p_job_id);
        return;
    end if;
    update ingest_private.attempts
       set finished_at = clock_timestamp(), outcome = p_outcome, error_code = p_error_code
     where job_id = p_job_id and finished_at is null;
    delete from ingest_private.leases where job_id = p_job_id;
    update ingest_private.job_queue
       set phase = case when p_retry_in > interval '0' then 'waiting' else 'ready' end,
           due_at = case when p_retry_in > interval '0' then v_due_at end
     where job_id = p_job_id;
    update ingest.jobs
       set state = 'queued', stage = 'waiting', hold_reason = p_hold_reason,
           error_code = p_error_code,
           error_message = (select message from ingest_private.error_codes
                             where code = p_error_code),
           next_attempt_at = v_due_at, updated_at = clock_timestamp()
     where id = p_job_id;
    perform ingest_private.hold_run(p_job_id);
    update ingest.documents as document
       set status = 'pending', updated_at = clock_timestamp()
      from ingest.jobs as job
     where job.id = p_job_id and document.id = job.document_id
       and document.latest_job_id = job.id;
end
$$;

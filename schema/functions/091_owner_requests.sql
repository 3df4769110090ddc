-- Requests of owners about their jobs, through the Data API. These run with the schema owner's
-- rights, so each first checks that the job belongs to the caller.

-- require_own_job: raises PT404 (the Data API answers 404) unless the job belongs to the caller
-- or the caller holds the project's secret key. A stranger's job and one that does not exist look
-- the same.
create or replace function ingest_private.require_own_job(p_job_id uuid)
returns void
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
    v_claims constant jsonb := auth.jwt();
begin
    if not exists (
        select from ingest.jobs
         where id = p_job_id
           and (owner_id = v_claims ->> 'sub' or v_claims ->> 'role' = 'service_role')) then
        raise exception 'there is no such job'
            using errcode = 'PT404', hint = 'Read ingest.jobs for the jobs that are yours.';
    end if;
end
$$;

-- cancel_job: see ingest_private.request_cancel. Returns the job's state; `running`: its worker
-- has been asked to stop, and the row shows `cancelled` within about a second.
create or replace function ingest.cancel_job(job_id uuid)
returns text
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform ingest_private.require_own_job(job_id);
    return ingest_private.request_cancel(job_id);
end
$$;

-- retry_job: see ingest_private.retry_job. Returns the id of the new job. If a file now belongs to
-- somebody else, its former owner must neither start nor pay for its jobs: for them the file is
-- gone.
create or replace function ingest.retry_job(job_id uuid)
returns uuid
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform ingest_private.require_own_job(job_id);
    if exists (
        select from ingest.jobs as job
               join ingest.documents as document on document.id = job.document_id
         where job.id = retry_job.job_id
           and document.owner_id is distinct from job.owner_id) then
        raise exception 'the file of this job is gone'
            using errcode = 'PT409', hint = 'Upload it again.';
    end if;
    return ingest_private.retry_job(job_id);
end
$$;

-- explain_job: see ingest_private.explain_job.
create or replace function ingest.explain_job(job_id uuid)
returns table (
    id uuid, object_name text, state text, situation text, explanation text,
    jobs_before integer, live_workers integer, hold_reason text, next_attempt_at timestamptz,
    stage text, progress real, per_second real, seconds_left real,
    attempt smallint, max_attempts smallint, error_code text, error_message text, remedy text)
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform ingest_private.require_own_job(explain_job.job_id);
    return query select * from ingest_private.explain_job(explain_job.job_id);
end
$$;

-- trace_job: gives an unfinished job the trace that its runs continue, unless it has one, and
-- returns the one that it has then. With null it only asks. Null: the job has none, or is not in the
-- queue any more. A text of another form is refused by the table. Waits a short time for a claim.
create or replace function ingest_private.trace_job(p_job_id uuid, p_traceparent text)
returns text
language plpgsql security definer
set search_path = pg_catalog, pg_temp set lock_timeout = '200ms' as $$
begin
    update ingest_private.job_queue as entry
       set traceparent = p_traceparent
     where entry.job_id = p_job_id and entry.traceparent is null and p_traceparent is not null;
    return (select entry.traceparent from ingest_private.job_queue as entry
             where entry.job_id = p_job_id);
end
$$;

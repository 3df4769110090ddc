-- retry_failed: makes new jobs for p_limit documents that failed with one of these codes, first for
-- those that have waited longest. Returns the jobs. Skips locked documents.
create or replace function ingest_private.retry_failed(p_codes text[], p_limit integer)
returns uuid[]
language plpgsql security definer
set search_path = pg_catalog, pg_temp set lock_timeout = '2s' as $$
declare
    v_failed uuid[] := array(
        select document.id from ingest.documents as document
         where document.status = 'failed' and document.error_code = any(p_codes)
           and document.latest_job_id is not null
         order by document.updated_at, document.id limit coalesce(p_limit, 0)
           for no key update skip locked);
    v_job_id uuid;
    v_made uuid[] := '{}';
begin
    for v_job_id in
        select latest_job_id from ingest.documents where id = any(v_failed) order by id
    loop
        begin
            v_made := v_made || ingest_private.retry_job(v_job_id);
        exception when sqlstate 'PT409' or lock_not_available then
            null;  -- the others are tried all the same
        end;
    end loop;
    return v_made;
end
$$;

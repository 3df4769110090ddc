-- supersede_jobs: the unfinished jobs of a document -> superseded. The caller holds the lock on the
-- document. Jobs are locked FOR NO KEY UPDATE, here and everywhere. Statements that already hold a
-- row of the queue check their foreign key to jobs with FOR KEY SHARE (a row that is written twice
-- in one transaction is checked again). FOR UPDATE would make them wait, which could close a
-- circle.
create or replace function ingest_private.supersede_jobs(p_document_id uuid)
returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    v_job_id uuid;
begin
    for v_job_id in
        select id from ingest.jobs
         where document_id = p_document_id and state in ('queued', 'running')
         order by id for no key update
    loop
        perform ingest_private.end_job(v_job_id, 'superseded');
    end loop;
end
$$;

-- forget_documents: remove documents with everything that was made from them; unfinished jobs
-- become superseded. The caller holds the locks on the documents.
-- Leases go first: a batch being staged holds its lease, so after this nothing more arrives.
create or replace function ingest_private.forget_documents(p_document_ids uuid[])
returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    v_job_id uuid;
begin
    for v_job_id in
        select id from ingest.jobs
         where document_id = any(p_document_ids) and state in ('queued', 'running')
         order by id for no key update
    loop
        perform ingest_private.end_job(v_job_id, 'superseded');
    end loop;
    delete from ingest_private.staged_chunks where document_id = any(p_document_ids);
    delete from ingest.chunk_positions where document_id = any(p_document_ids);
    delete from ingest.chunks where document_id = any(p_document_ids);
    delete from ingest.documents where id = any(p_document_ids);
end
$$;

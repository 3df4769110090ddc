-- publish_unchanged: running -> succeeded for a version whose bytes are already live (a rename, an
-- identical upload). Touches no chunk; from now on the document is found by its new name. Returns
-- published, lost, superseded or cancelled like publish_document, or `changed` if another version
-- was published meanwhile.
create or replace function ingest_private.publish_unchanged(
    p_job_id uuid, p_token bigint, p_content_sha256 bytea, p_pipeline_version text)
returns text
language plpgsql security definer
set search_path = pg_catalog, pg_temp set lock_timeout = '10s' as $$
declare
    v_job ingest.jobs;
    v_document ingest.documents;
    v_positions integer;
begin
    select * into v_job from ingest.jobs where id = p_job_id;
    select * into v_document from ingest.documents where id = v_job.document_id;
    if v_document.id is null then
        return 'lost';
    end if;
    perform ingest_private.lock_for_publish(
        p_job_id, p_token, v_document.id, v_document.owner_id, v_document.access);
    if not exists (select from ingest_private.published_versions
                    where document_id = v_document.id and index_version = v_job.index_version
                      and content_sha256 = p_content_sha256
                      and pipeline_version = p_pipeline_version)
       or exists (select from ingest_private.quarantine
                   where document_id = v_document.id
                     and index_version = v_job.index_version) then
        return 'changed';
    end if;
    select count(*) into v_positions from ingest.chunk_positions
     where index_version = v_job.index_version and document_id = v_document.id;
    update ingest.jobs
       set chunks_total = v_positions, chunks_reused = v_positions, chunks_embedded = 0,
           pages_total = v_document.page_count, pages_done = coalesce(v_document.page_count, 0)
     where id = p_job_id;
    perform ingest_private.put_title(v_document.id, v_job.index_version, v_document.title);
    perform ingest_private.finish_publish(
        p_job_id, p_content_sha256, p_pipeline_version, v_document.title, v_document.mime_type,
        v_document.page_count, v_document.unread_pages, v_document.unread_page_numbers,
        v_document.hidden_characters, '[]', v_document.uncomputed_formulas);
    return 'published';
exception
    when sqlstate 'DM001' then
        return 'lost';
    when sqlstate 'DM002' then
        return 'superseded';
    when sqlstate 'DM003' then
        return 'cancelled';
    when sqlstate 'DM004' then
        perform ingest_private.hold_publish(p_job_id, p_token);
        return 'lost';
end
$$;

-- finish_publish: the document is ready, its job has succeeded, staging is emptied. The caller
-- holds the locks of lock_for_publish.
create or replace function ingest_private.finish_publish(
    p_job_id uuid, p_content_sha256 bytea, p_pipeline_version text, p_title text,
    p_mime_type text, p_page_count integer, p_unread_pages integer,
    p_unread_page_numbers integer[], p_hidden_characters integer)
returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    v_job ingest.jobs;
begin
    select * into strict v_job from ingest.jobs where id = p_job_id;
    delete from ingest_private.staged_chunks
     where document_id = v_job.document_id and index_version = v_job.index_version;
    -- Another job of the document may be reading them.
    delete from ingest_private.document_windows
     where document_id = v_job.document_id
       and not exists (select from ingest.jobs
                        where document_id = v_job.document_id and id <> p_job_id
                          and state in ('queued', 'running'));
    insert into ingest_private.published_versions (
               document_id, index_version, storage_version, content_sha256, pipeline_version)
    values (v_job.document_id, v_job.index_version, v_job.storage_version, p_content_sha256,
            p_pipeline_version)
        on conflict (document_id, index_version) do update
           set storage_version = excluded.storage_version,
               content_sha256 = excluded.content_sha256,
               pipeline_version = excluded.pipeline_version,
               published_at = clock_timestamp();
    if v_job.index_version = (select id from ingest.index_versions where state = 'active') then
        update ingest.documents as document
           set status = 'ready', searchable = true, content_sha256 = p_content_sha256,
               title = p_title, mime_type = p_mime_type, page_count = p_page_count,
               unread_pages = p_unread_pages, unread_page_numbers = p_unread_page_numbers,
               hidden_characters = p_hidden_characters,
               chunk_count = counted.chunks, token_count = counted.tokens,
               quarantined_chunks = (select count(*) from ingest_private.quarantine
                                      where document_id = v_job.document_id
                                        and index_version = v_job.index_version),
               error_code = null, error_message = null,
               ready_at = clock_timestamp(), updated_at = clock_timestamp()
          from (select count(*) as chunks, coalesce(sum(chunk.token_count), 0) as tokens
                  from ingest.chunk_positions as position
                       join ingest.chunks as chunk
                         on chunk.index_version = position.index_version
                        and chunk.id = position.chunk_id
                 where position.index_version = v_job.index_version
                   and position.document_id = v_job.document_id) as counted
         where document.id = v_job.document_id;
    end if;
    perform ingest_private.close_breakers(v_job.chunks_embedded > 0);
    perform ingest_private.end_job(p_job_id, 'succeeded');
end
$$;

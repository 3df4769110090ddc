-- finish_publish: the document is ready, its job has succeeded, staging is emptied. The caller
-- holds the locks of lock_for_publish.
create or replace function ingest_private.finish_publish(
    p_job_id uuid, p_content_sha256 bytea, p_pipeline_version text, p_title text,
    p_mime_type text, p_page_count integer, p_unread_pages integer,
    p_unread_page_numbers integer[], p_hidden_characters integer, p_quarantine jsonb,
    p_uncomputed_formulas integer)
returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    v_job ingest.jobs;
    v_ids uuid[];
    v_is_last boolean;
    v_is_active boolean;
    v_chunks integer;
    v_tokens bigint;
begin
    select * into strict v_job from ingest.jobs where id = p_job_id;
    v_ids := ingest_private.ids_of(v_job.document_id);
    v_is_active := v_job.index_version = (select id from ingest.index_versions
                                           where state = 'active');
    if v_is_active then
        perform ingest_private.enqueue_for_others(v_job);
    end if;
    -- Another job of the document may need the former documents. They are removed first, so that
    -- this waits for a drain that stages their chunks again.
    v_is_last := not exists (select from ingest.jobs
                              where document_id = v_job.document_id and id <> p_job_id
                                and state in ('queued', 'running'));
    delete from ingest_private.former_documents
     where document_id = v_job.document_id and v_is_last;
    delete from ingest_private.staged_chunks
     where document_id = any(v_ids)
       and (index_version = v_job.index_version
            or v_is_last and document_id <> v_job.document_id);
    perform ingest_private.drop_bulk_texts(v_ids, v_job.index_version);
    delete from ingest_private.quarantine
     where document_id = v_job.document_id and index_version = v_job.index_version;
    insert into ingest_private.quarantine (document_id, index_version, content_hash, ordinal,
                                           page_start, page_end, error_code)
    select v_job.document_id, v_job.index_version, refused.content_hash, refused.ordinal,
           refused.page_start, refused.page_end, refused.error_code
      from jsonb_to_recordset(p_quarantine)
               as refused (content_hash bytea, ordinal integer, page_start integer,
                           page_end integer, error_code text);
    -- Another job of the document may be reading them.
    delete from ingest_private.document_windows where document_id = any(v_ids) and v_is_last;
    select count(*), coalesce(sum(chunk.token_count), 0) into v_chunks, v_tokens
      from ingest.chunk_positions as position
           join ingest.chunks as chunk
             on chunk.index_version = position.index_version and chunk.id = position.chunk_id
            -- Without this condition all chunks of the version are read, because publish_document
            -- forbids the loop that would look each one up.
            and chunk.document_id = position.document_id
     where position.index_version = v_job.index_version
       and position.document_id = v_job.document_id;
    insert into ingest_private.published_versions as published (
               document_id, index_version, storage_version, content_sha256, pipeline_version,
               chunk_count, token_count, quarantined_chunks)
    values (v_job.document_id, v_job.index_version, v_job.storage_version, p_content_sha256,
            p_pipeline_version, v_chunks, v_tokens, jsonb_array_length(p_quarantine))
        on conflict (document_id, index_version) do update
           set storage_version = excluded.storage_version,
               content_sha256 = excluded.content_sha256,
               pipeline_version = excluded.pipeline_version,
               chunk_count = excluded.chunk_count, token_count = excluded.token_count,
               quarantined_chunks = excluded.quarantined_chunks,
               published_at = clock_timestamp(),
               tried_at = case when published.storage_version = excluded.storage_version
                               then published.tried_at end;
    if v_is_active then
        update ingest.documents as document
           set status = 'ready', searchable = true, content_sha256 = p_content_sha256,
               title = p_title, mime_type = p_mime_type, page_count = p_page_count,
               unread_pages = p_unread_pages, unread_page_numbers = p_unread_page_numbers,
               hidden_characters = p_hidden_characters,
               uncomputed_formulas = p_uncomputed_formulas,
               chunk_count = v_chunks, token_count = v_tokens,
               quarantined_chunks = jsonb_array_length(p_quarantine),
               error_code = null, error_message = null,
               ready_at = clock_timestamp(), updated_at = clock_timestamp()
         where document.id = v_job.document_id;
    end if;
    delete from ingest_private.version_failures
     where document_id = v_job.document_id and index_version = v_job.index_version;
    perform ingest_private.close_breakers(version.provider, v_job.chunks_embedded > 0)
       from ingest.index_versions as version where version.id = v_job.index_version;
    perform ingest_private.end_job(p_job_id, 'succeeded');
    -- Another index version has become active since, and the document belongs there.
    if v_job.kind = 'ingest' and not v_is_active then
        perform ingest_private.ingest_in(job, version.id)
           from ingest.jobs as job join ingest.index_versions as version on version.state = 'active'
          where job.id = p_job_id
            and not exists (select from ingest.jobs as other
                             where other.document_id = v_job.document_id
                               and other.index_version = version.id
                               and other.state in ('queued', 'running'));
    end if;
end
$$;

-- publish_document: running -> succeeded. The same transaction makes the new version searchable.
-- The positions, in order of the document, name each chunk by its hash; the chunks themselves are
-- already staged or live. Returns
--   published    searchable now
--   lost         the lease is gone: nothing was changed; or the job waits while another index
--                version is made active, and has no lease any more
--   superseded   Storage holds another version by now: nothing was changed
--   cancelled    its owner has asked for that: nothing was changed
-- and raises integrity_constraint_violation when a chunk is neither staged nor live. An empty list
-- of positions is a document without chunks; null is an error. p_quarantine are the chunks that the
-- provider refused: content_hash, ordinal, page_start, page_end and error_code of each. They
-- replace those of the former publish. p_locators say which metadata hold at each place, with null
-- for a name that has no value there: where these differ from the metadata of the chunk, they are
-- stored with the place, because a chunk that is written again enters the HNSW graph again. Chunks of the former document, from before its owner or
-- access changed, count as staged; so do chunks in a version that differs only in chunking. New
-- chunks are inserted before any lock is taken, because that is the slow part. So uploads, deletes
-- and polls do not wait for it. If the publish is then refused, it raises internally, which rolls
-- the inserted chunks back. Staging is sometimes empty and sometimes full, and the statistics may
-- be from either time. So thousands of hashes are never joined by a nested loop, which takes
-- minutes if it meets more rows than expected, and no table is read from end to end.
create or replace function ingest_private.publish_document(
    p_job_id uuid, p_token bigint, p_content_sha256 bytea, p_pipeline_version text,
    p_title text, p_mime_type text, p_page_count integer, p_unread_pages integer,
    p_hashes bytea[], p_pages_start integer[], p_pages_end integer[], p_locators jsonb[],
    p_hidden_characters integer default 0,
    p_unread_page_numbers integer[] default '{}', p_quarantine jsonb default '[]',
    p_uncomputed_formulas integer default 0)
returns text
language plpgsql security definer
set search_path = pg_catalog, pg_temp set lock_timeout = '10s'
set enable_nestloop = off set enable_seqscan = off set jit = off as $$
declare
    v_job ingest.jobs;
    v_document ingest.documents;
    v_ids uuid[];
    v_versions integer[];
    v_first uuid;
    v_count integer;
begin
    select * into v_job from ingest.jobs where id = p_job_id;
    select * into v_document from ingest.documents where id = v_job.document_id;
    if v_document.id is null then
        return 'lost';
    end if;
    -- Chunks under a former id belong to nobody any more, whatever their owner says: they are not
    -- live.
    v_ids := ingest_private.ids_of(v_document.id);
    v_versions := ingest_private.versions_alike(v_job.index_version);

    begin
        insert into ingest.chunks (index_version, document_id, object_id, owner_id, access,
                                   content, headings, token_count, content_hash, metadata,
                                   embedding)
        select distinct on (staged.content_hash)
               v_job.index_version, v_document.id, v_document.object_id,
               v_document.owner_id, v_document.access, staged.content, staged.headings,
               staged.token_count, staged.content_hash, staged.metadata, staged.embedding
          from (select staging.content_hash, staging.content,
                       staging.headings, staging.token_count, staging.metadata, staging.embedding
                  from ingest_private.staged_chunks as staging
                 where staging.document_id = any(v_ids)
                   and staging.index_version = v_job.index_version
                union all
                select former.content_hash, former.content,
                       former.headings, former.token_count, former.metadata, former.embedding
                  from ingest.chunks as former
                 where former.document_id = any(v_ids)
                   and former.index_version = any(v_versions)
                   and (former.document_id, former.index_version)
                       <> (v_document.id, v_job.index_version)) as staged
         where exists (select from unnest(p_hashes) as wanted (content_hash)
                        where wanted.content_hash = staged.content_hash)
           and not exists (select from ingest.chunks as live
                            where live.index_version = v_job.index_version
                              and live.document_id = v_document.id
                              and live.content_hash = staged.content_hash)
         -- Two runs that insert the same chunks do it in the same order.
         order by staged.content_hash;

        perform ingest_private.lock_for_publish(
            p_job_id, p_token, v_document.id, v_document.owner_id, v_document.access);

        select chunk_id into v_first from ingest.chunk_positions
         where index_version = v_job.index_version and document_id = v_document.id and ordinal = 0;
        delete from ingest.chunk_positions
         where index_version = v_job.index_version and document_id = v_document.id;
        delete from ingest.chunks as chunk
         where chunk.index_version = v_job.index_version and chunk.document_id = v_document.id
           and not exists (select from unnest(p_hashes) as wanted (content_hash)
                            where wanted.content_hash = chunk.content_hash);
        insert into ingest.chunk_positions (index_version, document_id, ordinal, chunk_id,
                                            page_start, page_end, locator)
        select v_job.index_version, v_document.id, position.ordinal - 1, chunk.id,
               position.page_start, position.page_end,
               case when jsonb_strip_nulls(chunk.metadata || position.locator) <> chunk.metadata
                    then position.locator else '{}' end
          from unnest(p_hashes, p_pages_start, p_pages_end, p_locators) with ordinality
                   as position (content_hash, page_start, page_end, locator, ordinal)
               join ingest.chunks as chunk
                 on chunk.index_version = v_job.index_version
                and chunk.document_id = v_document.id
                and chunk.content_hash = position.content_hash;
        get diagnostics v_count = row_count;
        if v_count is distinct from cardinality(p_hashes) then
            raise exception 'document % has % positions but % chunks to fill them',
                    v_document.id, cardinality(p_hashes), v_count
                using errcode = 'integrity_constraint_violation';
        end if;

        perform ingest_private.put_title(v_document.id, v_job.index_version, p_title, v_first);
        perform ingest_private.finish_publish(
            p_job_id, p_content_sha256, p_pipeline_version, p_title, p_mime_type,
            p_page_count, p_unread_pages, p_unread_page_numbers, p_hidden_characters,
            p_quarantine, p_uncomputed_formulas);
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
    end;
end
$$;

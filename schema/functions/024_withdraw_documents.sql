-- withdraw_documents: take documents out of search at once and keep what was paid for: their
-- chunks go back to staging, where the next run finds the embeddings. For a change of owner or
-- of access, after which neither side may find the old rows. Unfinished jobs become superseded, and
-- first: a batch being staged holds its lease, and must not meet the rows that come back.
create or replace function ingest_private.withdraw_documents(p_document_ids uuid[])
returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform ingest_private.supersede_jobs(id)
       from unnest(p_document_ids) as id order by id;
    insert into ingest_private.staged_chunks (
               document_id, index_version, content_hash, content, headings, token_count,
               metadata, embedding)
    select document_id, index_version, content_hash, content, headings, token_count,
           metadata, embedding
      from ingest.chunks where document_id = any(p_document_ids)
        on conflict do nothing;
    delete from ingest.chunk_positions where document_id = any(p_document_ids);
    delete from ingest.chunks where document_id = any(p_document_ids);
    delete from ingest_private.published_versions where document_id = any(p_document_ids);
    update ingest.documents
       set status = 'pending', searchable = false, error_code = null, error_message = null
     where id = any(p_document_ids);
end
$$;

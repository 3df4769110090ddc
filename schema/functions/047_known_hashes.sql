-- known_hashes: the chunks of a document that need not be embedded again, live or staged.
create or replace function ingest_private.known_hashes(p_document_id uuid, p_index_version integer)
returns table (content_hash bytea)
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select content_hash from ingest.chunks
     where index_version = p_index_version and document_id = p_document_id
    union
    select content_hash from ingest_private.staged_chunks
     where index_version = p_index_version and document_id = p_document_id
$$;

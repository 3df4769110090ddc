-- known_hashes: the chunks of a document that need not be embedded again. They are live in this
-- version or in one that differs only in chunking; or they are staged; or they belong to the former
-- document, from before its owner or access changed.
create or replace function ingest_private.known_hashes(p_document_id uuid, p_index_version integer)
returns table (content_hash bytea)
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select content_hash from ingest.chunks
     where index_version = any(ingest_private.versions_alike(p_index_version))
       and document_id = any(ingest_private.ids_of(p_document_id))
    union
    select content_hash from ingest_private.staged_chunks
     where index_version = p_index_version
       and document_id = any(ingest_private.ids_of(p_document_id))
$$;

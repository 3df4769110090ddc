-- chunking_of: the rules by which an index version cuts documents: its chunking, and whether it
-- counts tokens like the local model or like OpenAI.
create or replace function ingest_private.chunking_of(p_version ingest.index_versions)
returns jsonb
language sql immutable set search_path = pg_catalog, pg_temp as $$
    select p_version.chunking || jsonb_build_object(
               'counter', case coalesce(p_version.chunking ->> 'counter', p_version.provider)
                               when 'local' then 'local' else 'openai' end)
$$;

-- reindex_source: the document of a job of kind reindex as the active version has it, if the chunks
-- there can be used: the rules of chunking and the version in Storage are the same, and no chunk is
-- set aside. Then these chunks are embedded again, and the file is not read. No row: the file must
-- be read.
create or replace function ingest_private.reindex_source(p_job_id uuid)
returns table (index_version integer, sha256 bytea, pipeline text, title text, mime_type text,
               page_count integer, unread_pages integer, unread_page_numbers integer[],
               hidden_characters integer, uncomputed_formulas integer)
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select source.id, published.content_sha256, published.pipeline_version, document.title,
           document.mime_type, document.page_count, document.unread_pages,
           document.unread_page_numbers, document.hidden_characters,
           document.uncomputed_formulas
      from ingest.jobs as job
           join ingest.index_versions as target on target.id = job.index_version
           join ingest.index_versions as source
             on source.state = 'active' and source.id <> target.id
            and ingest_private.chunking_of(source) = ingest_private.chunking_of(target)
           join ingest.documents as document on document.id = job.document_id
           join ingest_private.published_versions as published
             on published.document_id = document.id and published.index_version = source.id
            and published.storage_version = job.storage_version
     where job.id = p_job_id and job.kind = 'reindex'
       and document.storage_version = job.storage_version
       and not exists (select from ingest_private.quarantine as refused
                        where refused.document_id = document.id
                          and refused.index_version = source.id)
$$;

-- reindex_chunks: p_limit chunks of a document in an index version, in reading order from an
-- ordinal on.
create or replace function ingest_private.reindex_chunks(
    p_document_id uuid, p_index_version integer, p_from integer, p_limit integer)
returns table (ordinal integer, content text, headings text[], page_start integer,
               page_end integer, token_count integer, metadata jsonb)
language sql stable security definer
set search_path = pg_catalog, pg_temp set enable_seqscan = off set enable_hashjoin = off
set enable_mergejoin = off as $$
    select place.ordinal, chunk.content, chunk.headings, place.page_start, place.page_end,
           chunk.token_count, jsonb_strip_nulls(chunk.metadata || place.locator)
      from ingest.chunk_positions as place
           cross join lateral (
               select found.content, found.headings, found.token_count, found.metadata
                 from ingest.chunks as found
                where found.index_version = p_index_version and found.id = place.chunk_id
               offset 0) as chunk
     where place.document_id = p_document_id and place.index_version = p_index_version
       and place.ordinal >= p_from
     order by place.ordinal limit p_limit
$$;

-- versions_alike: the index versions that give a text the same embedding as this version: itself,
-- and versions that differ only in chunking.
create or replace function ingest_private.versions_alike(p_index_version integer)
returns integer[]
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select array(
        select other.id
          from ingest.index_versions as version
               join ingest.index_versions as other
                 on (other.provider, other.model, other.dimensions, other.document_prefix)
                    = (version.provider, version.model, version.dimensions,
                       version.document_prefix)
         where version.id = p_index_version and other.state <> 'dropped'
         order by other.id = version.id desc, other.id)
$$;

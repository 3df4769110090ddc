-- The parts of the search functions of ingest. All of them run with their caller's rights.

-- version_for: the searchable index version for a query. If an index version is named: that
-- version. If a model is named: its version with the dimensions of the query, if there is one, so
-- that an app which still sends embeddings of a former version goes on working. Otherwise the
-- active version. Raises invalid_parameter_value if there is none: a version that is being filled
-- or was dropped, or that has another model than the one named, answers nothing.
create or replace function ingest_search.version_for(
    p_model text, p_dimensions integer default null, p_index_version integer default null)
returns ingest.index_versions
language plpgsql stable security invoker set search_path = pg_catalog, pg_temp as $$
declare
    v_version ingest.index_versions;
begin
    if p_index_version is not null then
        return ingest_search.version_of(p_index_version, p_model);
    end if;
    select version.* into v_version from ingest.index_versions as version
     where case when p_model is null then version.state = 'active'
                else version.model = p_model and version.state in ('active', 'retired') end
     order by version.dimensions = coalesce(p_dimensions, version.dimensions) desc,
              version.state = 'active' desc, version.id desc limit 1;
    if not found then
        raise exception 'no searchable index version for model %', coalesce(p_model, '(null)')
            using errcode = 'invalid_parameter_value',
                  hint = 'select model from ingest.active_index()';
    end if;
    return v_version;
end
$$;

-- version_of: this index version, if it is searchable and has the model, if a model is named.
-- Otherwise raises invalid_parameter_value.
create or replace function ingest_search.version_of(p_index_version integer, p_model text)
returns ingest.index_versions
language plpgsql stable security invoker set search_path = pg_catalog, pg_temp as $$
declare
    v_version ingest.index_versions;
begin
    select version.* into v_version from ingest.index_versions as version
     where version.id = p_index_version;
    if v_version.state is null or v_version.state not in ('active', 'retired') then
        raise exception 'index version % is %: it is not searchable',
                p_index_version, coalesce(v_version.state, 'not there')
            using errcode = 'invalid_parameter_value',
                  hint = 'select id from ingest.active_index()';
    end if;
    if p_model <> v_version.model then
        raise exception 'index version % is of model %, not of %',
                p_index_version, v_version.model, p_model
            using errcode = 'invalid_parameter_value',
                  hint = 'Embed the query with the same model and dimensions as the documents.';
    end if;
    return v_version;
end
$$;

-- documents_within: the documents that the caller may read and that pass these filters, those of
-- others among them, and how many chunks the latter have; null when there is no filter. So one
-- question to Storage's policies answers what shared_documents would ask again.
-- The plan is made for each call. So filters that are not used are left out, and a list of
-- thousands of documents is searched by a hash, not read for each row.
create or replace function ingest_search.documents_within(
    p_bucket text, p_path_prefix text, p_document_ids uuid[], p_metadata_filter jsonb,
    p_created_since timestamptz, p_created_until timestamptz,
    out ids uuid[], out shared uuid[], out shared_chunks bigint)
language plpgsql stable security invoker
set search_path = pg_catalog, pg_temp set plan_cache_mode = force_custom_plan set jit = off as $$
declare
    v_is_bound constant boolean := row_security_active('ingest.documents');
    v_sub constant text := auth.jwt() ->> 'sub';
begin
    if num_nonnulls(p_bucket, p_path_prefix, p_document_ids, p_metadata_filter, p_created_since,
                    p_created_until) = 0 then
        return;
    end if;
    select coalesce(array_agg(found.id), '{}'),
           coalesce(array_agg(found.id) filter (where found.is_shared), '{}'),
           coalesce(sum(found.chunk_count) filter (where found.is_shared), 0)
      into ids, shared, shared_chunks
      from (select document.id, document.chunk_count,
                   v_is_bound and document.access = 'inherit' and document.searchable
                   and (document.owner_id = v_sub) is not true as is_shared
              from ingest.documents as document
             where (p_bucket is null or document.bucket_id = p_bucket)
               and (p_path_prefix is null or starts_with(document.object_name, p_path_prefix))
               and (p_document_ids is null or document.id = any(p_document_ids))
               and (p_metadata_filter is null or document.metadata @> p_metadata_filter)
               and (p_created_since is null or document.created_at >= p_created_since)
               and (p_created_until is null or document.created_at < p_created_until)) as found;
end
$$;

-- vector_candidates: the p_limit chunks nearest to an embedding, nearest first, with their cosine
-- similarity; only of these documents, unless they are null. p_shared: see nearest_chunks. Raises
-- data_exception if the embedding does not fit the index version.
create or replace function ingest_search.vector_candidates(
    p_index_version integer, p_embedding extensions.vector, p_documents uuid[], p_limit integer,
    p_shared uuid[] default null)
returns table (chunk_id uuid, score double precision)
language plpgsql stable security invoker rows 50 set search_path = pg_catalog, pg_temp as $$
declare
    v_version ingest.index_versions;
begin
    select version.* into v_version from ingest.index_versions as version
     where version.id = p_index_version;
    if extensions.vector_dims(p_embedding) is distinct from v_version.dimensions then
        raise exception 'the query embedding has % dimensions, model % has %',
                extensions.vector_dims(p_embedding), v_version.model, v_version.dimensions
            using errcode = 'data_exception',
                  hint = 'Embed the query with the same model and dimensions as the documents.';
    end if;
    if extensions.vector_norm(p_embedding) = 0 then
        raise exception 'the query embedding is zero: nothing is near to it'
            using errcode = 'data_exception';
    end if;
    return query
        select nearest.id, 1 - nearest.distance
          from ingest_search.nearest_chunks(
                   p_index_version, extensions.l2_normalize(p_embedding), p_limit, p_documents,
                   p_shared) as found
               cross join lateral unnest(found.ids, found.distances)
                   with ordinality as nearest (id, distance, place)
         order by nearest.place;
end
$$;

-- cited_chunks: these chunks, with the columns for a citation, if the caller may read them. Each
-- table is looked up by one key at a time, behind OFFSET 0. With two keys, a table that was never
-- analysed is read by both, and one of them fits all its rows (11 rows took 40 to 204 ms).
create or replace function ingest_search.cited_chunks(p_index_version integer, p_ids uuid[])
returns table (
    chunk_id uuid, document_id uuid, bucket_id text, object_name text, title text,
    headings text[], page_start integer, page_end integer, content text, metadata jsonb)
language plpgsql stable security invoker rows 10
set search_path = pg_catalog, pg_temp
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off
set enable_mergejoin = off set jit = off as $$
#variable_conflict use_column
begin
    return query
        select chunk.id, document.id, document.bucket_id, document.object_name, document.title,
               chunk.headings, place.page_start, place.page_end, chunk.content,
               jsonb_strip_nulls(chunk.metadata || place.locator)
          from unnest(p_ids) as wanted (id)
               cross join lateral (
                   select found.id, found.document_id, found.headings, found.content, found.metadata
                     from ingest.chunks as found
                    where found.index_version = p_index_version and found.id = wanted.id
                   offset 0) as chunk
               cross join lateral (
                   select found.id, found.bucket_id, found.object_name, found.title
                     from ingest.documents as found
                    where found.id = chunk.document_id offset 0) as document
               cross join lateral (
                   select position.page_start, position.page_end, position.locator
                     from (select * from ingest.chunk_positions as found
                            where found.chunk_id = wanted.id offset 0) as position
                    where position.index_version = p_index_version
                    order by position.ordinal limit 1) as place;
end
$$;

-- context_of: the text of a chunk and of p_neighbours chunks before and after it in its document,
-- as far as the caller may read them. If a chunk stands in several places, the first counts.
create or replace function ingest_search.context_of(
    p_index_version integer, p_document_id uuid, p_chunk_id uuid, p_neighbours integer)
returns text
language plpgsql stable security invoker
set search_path = pg_catalog, pg_temp
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off
set enable_mergejoin = off set jit = off as $$
declare
    v_ordinal integer;
begin
    select min(position.ordinal) into v_ordinal
      from (select * from ingest.chunk_positions as found
             where found.chunk_id = p_chunk_id offset 0) as position
     where position.index_version = p_index_version and position.document_id = p_document_id;
    return (
        select string_agg(chunk.content, E'\n\n' order by near.ordinal)
          from (select position.ordinal, position.chunk_id
                  from ingest.chunk_positions as position
                 where position.document_id = p_document_id
                   and position.index_version = p_index_version
                   and position.ordinal between v_ordinal - p_neighbours
                                            and v_ordinal + p_neighbours offset 0) as near
               cross join lateral (
                   select found.content from ingest.chunks as found
                    where found.index_version = p_index_version and found.id = near.chunk_id
                   offset 0) as chunk);
end
$$;

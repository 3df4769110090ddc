-- version_with: the searchable index version for an embedding with these dimensions; of a model, or
-- a certain version, if it is named. Raises invalid_parameter_value if no version fits, or if
-- several models have these dimensions, because a comparison with the wrong model is meaningless.
create or replace function ingest_search.version_with(
    p_dimensions integer, p_model text, p_index_version integer)
returns ingest.index_versions
language plpgsql stable security invoker set search_path = pg_catalog, pg_temp as $$
declare
    v_models text[];
    v_version ingest.index_versions;
begin
    if num_nonnulls(p_model, p_index_version) > 0 then
        return ingest_search.version_for(p_model, p_dimensions, p_index_version);
    end if;
    select array_agg(distinct version.model order by version.model) into v_models
      from ingest.index_versions as version
     where version.dimensions = p_dimensions and version.state in ('active', 'retired');
    if v_models is null then
        raise exception 'no searchable index version has % dimensions', p_dimensions
            using errcode = 'invalid_parameter_value',
                  hint = 'Embed the query with the same model and dimensions as the documents.';
    end if;
    if cardinality(v_models) > 1 then
        raise exception 'several models have % dimensions: %',
                p_dimensions, array_to_string(v_models, ', ')
            using errcode = 'invalid_parameter_value',
                  hint = 'Say which one made the query embedding: model => ''...''';
    end if;
    select version.* into v_version from ingest.index_versions as version
     where version.dimensions = p_dimensions and version.state in ('active', 'retired')
     order by version.state = 'active' desc, version.id desc limit 1;
    return v_version;
end
$$;

-- url_path: a name encoded for the path of a URL.
create or replace function ingest_search.url_path(p_name text)
returns text
language plpgsql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
begin
    if p_name !~ '[^A-Za-z0-9_.~/-]' then
        return p_name;
    end if;
    return (
        select string_agg(
                   case when letter ~ '[A-Za-z0-9_.~/-]' then letter
                        else regexp_replace(upper(encode(convert_to(letter, 'UTF8'), 'hex')),
                                            '(..)', '%\1', 'g') end, '' order by place)
          from unnest(string_to_array(p_name, null)) with ordinality as one (letter, place));
end
$$;

-- document_metadata: what match_documents returns about a document: its own metadata, and facts
-- about its place, which win over metadata of the same name. `url` is relative to the address of
-- the project's API, and reading it needs a token.
create or replace function ingest_search.document_metadata(
    p_document_id uuid, p_bucket_id text, p_object_name text, p_title text, p_mime_type text,
    p_metadata jsonb)
returns jsonb
language plpgsql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
begin
    return (p_metadata - '{page,page_end,headings,chunk}'::text[])
        || jsonb_strip_nulls(jsonb_build_object(
               'document_id', p_document_id,
               'bucket_id', p_bucket_id,
               'object_name', p_object_name,
               'file_name', regexp_replace(p_object_name, '^.*/', ''),
               'title', p_title,
               'mime_type', p_mime_type,
               'url', '/storage/v1/object/authenticated/'
                      || ingest_search.url_path(p_bucket_id || '/' || p_object_name)));
end
$$;

-- chunk_metadata: what match_documents returns about a chunk and its place, under four names that
-- document_metadata never uses.
create or replace function ingest_search.chunk_metadata(
    p_page_start integer, p_page_end integer, p_headings text[], p_metadata jsonb)
returns jsonb
language plpgsql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
begin
    return jsonb_strip_nulls(jsonb_build_object(
               'page', p_page_start, 'page_end', p_page_end, 'headings', to_jsonb(p_headings)))
        || case when p_metadata = '{}' then '{}' else jsonb_build_object('chunk', p_metadata) end;
end
$$;

-- chunks_with: the p_limit chunks of these documents that are nearest to an embedding and whose
-- chunk_metadata contain p_filter. Looks at every chunk of the documents.
create or replace function ingest_search.chunks_with(
    p_index_version integer, p_embedding extensions.vector, p_documents uuid[], p_filter jsonb,
    p_limit integer)
returns table (chunk_id uuid, score double precision)
language plpgsql stable security invoker rows 50
set search_path = pg_catalog, pg_temp
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off
set enable_mergejoin = off set jit = off as $$
#variable_conflict use_column
begin
    return query
        select chunk.id, 1 - (chunk.embedding operator(extensions.<=>) p_embedding::extensions.halfvec)
          from unnest(p_documents) as wanted (id)
               cross join lateral (
                   select found.id, found.headings, found.metadata, found.embedding
                     from ingest.chunks as found
                    where found.document_id = wanted.id and found.index_version = p_index_version
                   offset 0) as chunk
               cross join lateral (
                   select position.page_start, position.page_end, position.locator
                     from (select * from ingest.chunk_positions as found
                            where found.chunk_id = chunk.id offset 0) as position
                    where position.index_version = p_index_version
                    order by position.ordinal limit 1) as place
         where ingest_search.chunk_metadata(place.page_start, place.page_end, chunk.headings,
                                            jsonb_strip_nulls(chunk.metadata || place.locator))
               @> p_filter
         order by 2 desc, 1 limit p_limit;
end
$$;

-- match_documents: the chunks nearest to a query embedding, for clients such as LangChain's
-- SupabaseVectorStore that expect a function of this name. Only chunks whose returned metadata
-- contain `filter` count; this is decided before the limit. Without match_count it returns 200, for
-- clients that limit the response instead. `similarity` is cosine similarity, `embedding` the text
-- of the vector.
create or replace function ingest.match_documents(
    query_embedding extensions.vector,
    match_count integer default null,
    filter jsonb default '{}',
    model text default null,
    index_version integer default null)
returns table (
    id uuid, content text, metadata jsonb, similarity double precision, embedding text)
language plpgsql stable security invoker rows 10
set search_path = pg_catalog, pg_temp set jit = off as $$
#variable_conflict use_column
declare
    v_version constant ingest.index_versions :=
        ingest_search.version_with(
            extensions.vector_dims(query_embedding), model, index_version);
    v_count constant integer := least(coalesce(match_count, 200), 200);
    v_filter constant jsonb := coalesce(filter, '{}');
    v_of_documents jsonb;
    v_of_chunks jsonb;
    v_documents uuid[];
    v_ids uuid[];
    v_scores double precision[];
begin
    if match_count < 1 then
        raise exception 'match_count is %, and must be at least 1', match_count
            using errcode = 'invalid_parameter_value';
    end if;
    if jsonb_typeof(v_filter) <> 'object' then
        raise exception 'filter must be a JSON object' using errcode = 'invalid_parameter_value';
    end if;
    -- An object contains another if this is true for each name, so the filter can be split in two.
    v_of_documents := v_filter - '{page,page_end,headings,chunk}'::text[];
    select coalesce(jsonb_object_agg(name, value), '{}') into v_of_chunks
      from jsonb_each(v_filter) as each (name, value) where not v_of_documents ? name;
    if v_filter <> '{}' then
        v_documents := array(
            select document.id from ingest.documents as document
             where document.searchable
               and (v_of_documents = '{}'
                    or ingest_search.document_metadata(
                           document.id, document.bucket_id, document.object_name, document.title,
                           document.mime_type, document.metadata) @> v_of_documents));
    end if;
    if v_of_chunks = '{}' then
        select array_agg(found.chunk_id), array_agg(found.score) into v_ids, v_scores
          from ingest_search.vector_candidates(
                   v_version.id, query_embedding, v_documents, v_count) as found;
    else
        select array_agg(found.chunk_id), array_agg(found.score) into v_ids, v_scores
          from ingest_search.chunks_with(
                   v_version.id, query_embedding, v_documents, v_of_chunks, v_count) as found;
    end if;
    return query
        select chunk.chunk_id, chunk.content,
               ingest_search.document_metadata(
                   chunk.document_id, chunk.bucket_id, chunk.object_name, chunk.title,
                   more.mime_type, more.metadata)
               || ingest_search.chunk_metadata(chunk.page_start, chunk.page_end, chunk.headings,
                                               chunk.metadata),
               nearest.score, more.embedding
          from unnest(v_ids, v_scores) as nearest (id, score)
               join ingest_search.cited_chunks(v_version.id, v_ids) as chunk
                 on chunk.chunk_id = nearest.id
               join ingest_search.more_of(v_version.id, v_ids) as more
                 on more.chunk_id = nearest.id
         order by nearest.score desc, nearest.id;
end
$$;

-- more_of: the columns of these chunks that cited_chunks leaves out, if the caller may read them.
create or replace function ingest_search.more_of(p_index_version integer, p_ids uuid[])
returns table (
    chunk_id uuid, document_id uuid, bucket_id text, object_name text, mime_type text,
    metadata jsonb, stemmer text, embedding text)
language plpgsql stable security invoker rows 10
set search_path = pg_catalog, pg_temp
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off
set enable_mergejoin = off set jit = off as $$
#variable_conflict use_column
begin
    return query
        select chunk.id, document.id, document.bucket_id, document.object_name,
               document.mime_type, document.metadata, lexemes.stemmer, chunk.embedding::text
          from unnest(p_ids) as wanted (id)
               cross join lateral (
                   select found.id, found.document_id, found.embedding
                     from ingest.chunks as found
                    where found.index_version = p_index_version and found.id = wanted.id
                   offset 0) as chunk
               cross join lateral (
                   select found.* from ingest.documents as found
                    where found.id = chunk.document_id offset 0) as document
               left join lateral (
                   select found.stemmer from ingest.chunk_lexemes as found
                    where found.chunk_id = wanted.id and found.index_version = p_index_version
                   offset 0) as lexemes on true;
end
$$;

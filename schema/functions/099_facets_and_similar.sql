-- search_facets: how many candidates of a search are in each bucket and folder, and have each type
-- and language. It takes the arguments of hybrid_search, so that both can be called alike. It
-- counts the candidates of both lists before they are cut to match_count: 200 of each list unless
-- `candidates` says otherwise. So it does not count everything that holds a word. A null value: the
-- type or language is not known.
create or replace function ingest.search_facets(
    query_text text,
    query_embedding extensions.vector default null,
    model text default null,
    match_count integer default 10,
    bucket text default null,
    path_prefix text default null,
    document_ids uuid[] default null,
    metadata_filter jsonb default null,
    created_since timestamptz default null,
    created_until timestamptz default null,
    vector_weight double precision default 1,
    text_weight double precision default 2,
    candidates integer default 200,
    with_context integer default 0,
    max_per_document integer default null,
    index_version integer default null)
returns table (facet text, value text, chunks bigint, documents bigint)
language plpgsql stable security invoker rows 20
set search_path = pg_catalog, pg_temp set jit = off as $$
#variable_conflict use_column
declare
    v_version constant ingest.index_versions := ingest_search.version_for(
        model, extensions.vector_dims(query_embedding), index_version);
begin
    if candidates < 1 then
        raise exception 'candidates is %, and must be at least 1', candidates
            using errcode = 'invalid_parameter_value';
    end if;
    return query
        with found as materialized (
            select fused.chunk_id
              from ingest_search.documents_within(
                       bucket, path_prefix, document_ids, metadata_filter, created_since,
                       created_until) as within
                   cross join lateral ingest_search.fused_candidates(
                       v_version.id, query_text, query_embedding, within.ids,
                       least(coalesce(candidates, 200), 200), vector_weight, text_weight,
                       within.shared, within.shared_chunks) as fused)
        select each.facet, each.value, count(*), count(distinct more.document_id)
          from ingest_search.more_of(v_version.id, array(select chunk_id from found)) as more
               cross join lateral (values
                   ('bucket', more.bucket_id),
                   ('folder', coalesce(substring(more.object_name from '^(.*)/'), '')),
                   ('type', more.mime_type),
                   ('language', nullif(more.stemmer, ''))) as each (facet, value)
         group by each.facet, each.value
         order by each.facet, count(*) desc, each.value;
end
$$;

-- similar: the documents nearest to a given one, among those that the caller may read. Up to eight
-- passages, evenly spread over the given document, are each compared with all other documents. For
-- each of them, another document gets the cosine similarity of its nearest passage, or 0 if none is
-- among the 200 nearest; its score is the mean. The mean of all embeddings would not do: if a
-- document is about several subjects, it is near to none of them. There is no row if the document
-- does not exist or the caller may not read it.
create or replace function ingest.similar(document_id uuid, match_count integer default 10)
returns table (
    id uuid, bucket_id text, object_name text, title text, mime_type text, score double precision)
language plpgsql stable security invoker rows 10
set search_path = pg_catalog, pg_temp
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off as $$
#variable_conflict use_column
declare
    v_passages constant integer := 8;
    v_version constant ingest.index_versions := ingest_search.version_for(null);
    v_document constant uuid := document_id;
    v_others uuid[];
    v_last integer;
begin
    if match_count < 1 then
        raise exception 'match_count is %, and must be at least 1', match_count
            using errcode = 'invalid_parameter_value';
    end if;
    -- No policy hides from a role that may read everything what was withdrawn.
    if not row_security_active('ingest.documents') then
        if v_document in (select ingest.withdrawn_documents()) then
            return;
        end if;
    end if;
    select position.ordinal into v_last from ingest.chunk_positions as position
     where position.document_id = v_document and position.index_version = v_version.id
     order by position.ordinal desc limit 1;
    if v_last is null then
        return;
    end if;
    v_others := array(select document.id from ingest.documents as document
                       where document.id <> v_document and document.searchable);
    return query
        with passage as materialized (
            select distinct on (chunk.id) chunk.id, chunk.embedding
              from generate_series(0, v_passages - 1) as n
                   cross join lateral (
                       select position.chunk_id from ingest.chunk_positions as position
                        where position.document_id = v_document
                          and position.index_version = v_version.id
                          and position.ordinal >= n * (v_last + 1) / v_passages
                        order by position.ordinal limit 1) as place
                   cross join lateral (
                       select found.id, found.embedding::extensions.vector as embedding
                         from ingest.chunks as found
                        where found.index_version = v_version.id and found.id = place.chunk_id
                       offset 0) as chunk
             where extensions.vector_norm(chunk.embedding) > 0),
        near as (
            select passage.id as passage, chunk.document_id, greatest(max(found.score), 0) as score
              from passage
                   cross join lateral ingest_search.vector_candidates(
                       v_version.id, passage.embedding, v_others, 200) as found
                   cross join lateral (
                       select held.document_id from ingest.chunks as held
                        where held.index_version = v_version.id and held.id = found.chunk_id
                       offset 0) as chunk
             group by passage.id, chunk.document_id)
        select document.id, document.bucket_id, document.object_name, document.title,
               document.mime_type, ranked.score
          from (select near.document_id,
                       sum(near.score) / (select count(*) from passage) as score
                  from near group by near.document_id
                 order by 2 desc, 1 limit least(coalesce(match_count, 10), 200)) as ranked
               cross join lateral (
                   select found.* from ingest.documents as found
                    where found.id = ranked.document_id offset 0) as document
         order by ranked.score desc, document.id;
end
$$;

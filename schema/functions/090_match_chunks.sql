-- match_chunks: the chunks nearest to a query embedding among those that the caller may read.
-- `model` names the model that made the query embedding: the searchable index version with that
-- model and the same dimensions answers, the active one first, so vectors of two models are never
-- compared. `index_version` names one of them. The score is the cosine similarity. Fewer rows than
-- requested means that there are no more.
create or replace function ingest.match_chunks(
    query_embedding extensions.vector,
    model text,
    match_count integer default 10,
    bucket text default null,
    path_prefix text default null,
    document_ids uuid[] default null,
    metadata_filter jsonb default null,
    created_since timestamptz default null,
    created_until timestamptz default null,
    min_score double precision default null,
    index_version integer default null)
returns table (
    chunk_id uuid, document_id uuid, bucket_id text, object_name text, title text,
    headings text[], page_start integer, page_end integer, content text, metadata jsonb,
    score double precision)
language plpgsql stable security invoker rows 10
set search_path = pg_catalog, pg_temp set jit = off as $$
#variable_conflict use_column
declare
    -- Null names no model here.
    v_version constant ingest.index_versions :=
        ingest_search.version_for(
            coalesce(model, '(null)'), extensions.vector_dims(query_embedding), index_version);
    v_within constant record := ingest_search.documents_within(
        bucket, path_prefix, document_ids, metadata_filter, created_since, created_until);
    v_ids uuid[];
    v_scores double precision[];
begin
    if match_count < 1 then
        raise exception 'match_count is %, and must be at least 1', match_count
            using errcode = 'invalid_parameter_value';
    end if;
    select array_agg(found.chunk_id), array_agg(found.score) into v_ids, v_scores
      from ingest_search.vector_candidates(
               v_version.id, query_embedding, v_within.ids,
               least(coalesce(match_count, 10), 200), v_within.shared) as found;
    return query
        select chunk.*, nearest.score
          from unnest(v_ids, v_scores) as nearest (id, score)
               join ingest_search.cited_chunks(v_version.id, v_ids) as chunk
                 on chunk.chunk_id = nearest.id
         where min_score is null or nearest.score >= min_score
         order by nearest.score desc, nearest.id;
end
$$;

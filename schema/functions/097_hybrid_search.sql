-- fused_candidates: the chunks that answer a query by its words or by its embedding, with their
-- scores, at most twice p_candidates; only of these documents, unless they are null. p_shared and
-- p_shared_chunks: what documents_within said of those of others, if it did. The scores of
-- both lists are scaled to 0 to 1 and added by their weights. The best chunk of a list has 1, and
-- the last chunk of a full list has 0. A chunk that is missing in a list has 0 there. The default
-- weights of hybrid_search were the best of those measured: see docs/evaluation.md. What the query
-- requires or leaves out holds for both lists: then the list by the embedding is made of the 200
-- nearest chunks.
create or replace function ingest_search.fused_candidates(
    p_index_version integer, p_query_text text, p_query_embedding extensions.vector,
    p_documents uuid[], p_candidates integer, p_vector_weight double precision default 1,
    p_text_weight double precision default 2, p_shared uuid[] default null,
    p_shared_chunks bigint default null)
returns table (
    chunk_id uuid, score double precision, vector_score double precision,
    text_score double precision)
language plpgsql stable security invoker rows 100
set search_path = pg_catalog, pg_temp set jit = off as $$
#variable_conflict use_column
declare
    v_has_text constant boolean := coalesce(btrim(p_query_text), '') <> '';
    v_has_vector constant boolean := p_query_embedding is not null;
    v_text_weight constant double precision := case when v_has_text then p_text_weight else 0 end;
    v_vector_weight constant double precision :=
        case when v_has_vector then p_vector_weight else 0 end;
    v_text_ids uuid[];
    v_text_scores double precision[];
    v_vector_ids uuid[];
    v_vector_scores double precision[];
    v_asked record;
    v_is_bound boolean := false;
    v_shared_ids uuid[] := p_shared;
    v_shared_chunks bigint := p_shared_chunks;
begin
    if not v_has_text and not v_has_vector then
        raise exception 'there is nothing to search for: query_text and query_embedding are empty'
            using errcode = 'invalid_parameter_value';
    end if;
    if not coalesce(p_vector_weight >= 0 and p_text_weight >= 0
                    and greatest(p_vector_weight, p_text_weight) <= 1e100
                    and v_vector_weight + v_text_weight > 0, false) then
        raise exception 'vector_weight and text_weight must not be negative, nor all of them 0'
            using errcode = 'invalid_parameter_value';
    end if;
    if v_has_text then
        if v_shared_ids is null then
            select shared.ids, shared.chunk_count into v_shared_ids, v_shared_chunks
              from ingest_search.shared_documents(p_documents) as shared;
        end if;
        select array_agg(found.chunk_id), array_agg(found.score) into v_text_ids, v_text_scores
          from ingest_search.text_candidates(
                   p_index_version, p_query_text, p_documents, p_candidates, v_shared_ids,
                   v_shared_chunks) as found;
    end if;
    if v_has_vector then
        if p_query_text ~ '["„“”«»]|(^|\s)-' then
            v_asked := ingest_search.text_query(p_query_text, '{}');
            v_is_bound := v_asked.required <> '{}' or v_asked.left_out is not null;
        end if;
        select array_agg(found.chunk_id), array_agg(found.score)
          into v_vector_ids, v_vector_scores
          from ingest_search.vector_candidates(
                   p_index_version, p_query_embedding, p_documents,
                   case when v_is_bound then 200 else p_candidates end,
                   -- Few are asked about again one by one.
                   case when cardinality(v_shared_ids) <= 1000 or p_documents is not null
                        then v_shared_ids end) as found;
        if v_is_bound then
            select holding.ids, holding.scores into v_vector_ids, v_vector_scores
              from ingest_search.holding(p_index_version, v_vector_ids, v_vector_scores,
                                         v_asked.required, v_asked.left_out, p_candidates)
                       as holding;
        end if;
    end if;
    return query
        with scaled as (
            select one.id, 0::double precision as vector,
                   ingest_search.scaled(one.score,
                       -- Chunks outside the list rank lower, but not below 0.
                       case when count(*) over () < p_candidates then 0
                            else min(one.score) over () end,
                       max(one.score) over ()) as text
              from unnest(v_text_ids, v_text_scores) as one (id, score)
            union all
            select one.id,
                   ingest_search.scaled(one.score, min(one.score) over (),
                                        max(one.score) over ()), 0
              from unnest(v_vector_ids, v_vector_scores) as one (id, score))
        select each.id,
               (max(each.vector) * v_vector_weight + max(each.text) * v_text_weight)
               / (v_vector_weight + v_text_weight),
               max(each.vector), max(each.text)
          from scaled as each group by each.id;
end
$$;

-- holding: those of these chunks that satisfy what a query requires or leaves out, in their order,
-- p_limit at most; see text_query. The words of older chunks may not be stored yet: then those of
-- their text count.
create or replace function ingest_search.holding(
    p_index_version integer, p_ids uuid[], p_scores double precision[], p_required tsquery[],
    p_left_out tsquery, p_limit integer, out ids uuid[], out scores double precision[])
language plpgsql stable security invoker
set search_path = pg_catalog, pg_temp
set enable_seqscan = off set enable_bitmapscan = off set jit = off as $$
begin
    execute format(
        'select array_agg(kept.id order by kept.place), array_agg(kept.score order by kept.place)
           from (select wanted.id, wanted.score, wanted.place
                   from unnest($1, $2) with ordinality as wanted (id, score, place)
                        cross join lateral (
                            select chunk.document_id, coalesce(
                                       (select held.lexemes from ingest.chunk_lexemes as held
                                         where held.chunk_id = wanted.id
                                           and held.index_version = $3 offset 0),
                                       chunk.fts) as lexemes
                              from ingest.chunks as chunk
                             where chunk.index_version = $3 and chunk.id = wanted.id
                            offset 0) as found
                  where %s
                  order by wanted.place limit $4) as kept',
        ingest_search.requirement(p_index_version, null, p_ids, p_required, p_left_out))
       into ids, scores using p_ids, p_scores, p_index_version, p_limit;
end
$$;

-- scaled: the place of a score between two others, from 0 to 1; 1 if they are equal.
create or replace function ingest_search.scaled(
    p_score double precision, p_least double precision, p_most double precision)
returns double precision
language plpgsql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
begin
    return case when p_most > p_least then (p_score - p_least) / (p_most - p_least) else 1 end;
end
$$;

-- hybrid_search: the chunks that answer a query best, by its words and by its embedding, among
-- those that the caller may read. Without an embedding it searches by words alone, without words by
-- the embedding alone. `model` names the model that made the embedding; null: the model of the
-- active index version. The version of the model with the embedding's dimensions answers;
-- `index_version` names another one. `with_context` adds the text of this many chunks before and
-- after each hit. One document has at most `max_per_document` hits.
create or replace function ingest.hybrid_search(
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
    candidates integer default 50,
    with_context integer default 0,
    max_per_document integer default null,
    index_version integer default null)
returns table (
    chunk_id uuid, document_id uuid, bucket_id text, object_name text, title text,
    headings text[], page_start integer, page_end integer, content text, metadata jsonb,
    score double precision, vector_score double precision, text_score double precision,
    context text)
language plpgsql stable security invoker rows 10
set search_path = pg_catalog, pg_temp set jit = off as $$
#variable_conflict use_column
declare
    v_version constant ingest.index_versions := ingest_search.version_for(
        model, extensions.vector_dims(query_embedding), index_version);
    v_count constant integer := least(coalesce(match_count, 10), 200);
    v_neighbours constant integer := least(coalesce(with_context, 0), 10);
begin
    if match_count < 1 or candidates < 1 or max_per_document < 1 or with_context < 0 then
        raise exception 'match_count, candidates and max_per_document must be at least 1, '
                        'and with_context not negative'
            using errcode = 'invalid_parameter_value';
    end if;
    return query
        with fused as materialized (
            select found.* from ingest_search.documents_within(
                       bucket, path_prefix, document_ids, metadata_filter, created_since,
                       created_until) as within
                   cross join lateral ingest_search.fused_candidates(
                       v_version.id, query_text, query_embedding, within.ids,
                       least(greatest(coalesce(candidates, 50), v_count), 200),
                       vector_weight, text_weight, within.shared, within.shared_chunks) as found
             order by found.score desc, found.chunk_id
             limit case when max_per_document is null then v_count end),
        hit as (
            select chunk.*, fused.score, fused.vector_score, fused.text_score,
                   row_number() over (partition by chunk.document_id
                                      order by fused.score desc, fused.chunk_id) as place
              from fused
                   join ingest_search.cited_chunks(
                            v_version.id, array(select chunk_id from fused)) as chunk
                     on chunk.chunk_id = fused.chunk_id),
        best as (
            select * from hit
             where max_per_document is null or hit.place <= max_per_document
             order by hit.score desc, hit.chunk_id limit v_count)
        select best.chunk_id, best.document_id, best.bucket_id, best.object_name, best.title,
               best.headings, best.page_start, best.page_end, best.content, best.metadata,
               best.score, best.vector_score, best.text_score,
               case when v_neighbours > 0 then ingest_search.context_of(
                        v_version.id, best.document_id, best.chunk_id, v_neighbours) end
          from best
         order by best.score desc, best.chunk_id;
end
$$;

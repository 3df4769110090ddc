-- nearest_in_branch: ids and distances of the k chunks nearest to an embedding among those that
-- one way of access opens to the caller: owner, inherit, or all for a role that bypasses
-- policies. Few rows are compared exactly: HNSW would first meet everyone else's. When the graph
-- yields fewer than k, the exact comparison has the last word. Null documents: no restriction; for
-- inherit that means many, which are not counted: each would ask Storage's policies.
create or replace function ingest.nearest_in_branch(
    p_index_version integer, p_dimensions integer, p_branch text,
    p_embedding extensions.vector, p_k integer, p_sub text, p_documents uuid[],
    out ids uuid[], out distances double precision[])
language plpgsql stable security invoker set search_path = pg_catalog, pg_temp as $$
declare
    -- $1 embedding, $2 k, $3 subject, $4 documents
    v_condition constant text := case p_branch
        when 'all' then 'true'
        when 'owner' then 'chunk.owner_id = $3'
        when 'inherit' then
            'chunk.access = ''inherit'' and (chunk.owner_id = $3) is not true'
        else 'false' end || case when p_documents is null then '' else ' and chunk.document_id = any($4)' end;
    -- Below this many rows an exact comparison is faster than the graph.
    v_few constant integer := 2000;
    v_rows integer;
    v_distance constant text := format(
        '(chunk.embedding::extensions.halfvec(%1$s) operator(extensions.<=>) $1::extensions.halfvec(%1$s))',
        p_dimensions);
    v_from constant text := format(
        'from ingest.chunks as chunk where chunk.index_version = %s and %s',
        p_index_version, v_condition);
    v_exact constant text := format(
        'select array_agg(id), array_agg(distance)
           from (select id, distance from (select chunk.id, %s as distance %s offset 0) as every
                  order by distance, id limit $2) as nearest', v_distance, v_from);
    v_graph constant text := format(
        'select array_agg(id), array_agg(distance)
           from (select chunk.id, %1$s as distance %2$s order by %1$s limit $2) as nearest',
        v_distance, v_from);
begin
    if p_branch = 'inherit' and p_documents is null then
        v_rows := v_few + 1;
    else
        execute format('select count(*) from (select %s limit %s) as counted', v_from, v_few + 1)
           into v_rows using p_embedding, p_k, p_sub, p_documents;
    end if;
    if v_rows > v_few then
        execute v_graph into ids, distances using p_embedding, p_k, p_sub, p_documents;
    end if;
    if coalesce(cardinality(ids), 0) < p_k then
        execute v_exact into ids, distances using p_embedding, p_k, p_sub, p_documents;
    end if;
end
$$;

-- match_chunks: the chunks nearest to a query embedding among those that the caller may read.
-- `model` names the model that made the query embedding: the newest searchable index version of
-- that model answers, so two models are never compared. Score is cosine similarity. Fewer rows
-- than asked for means that there are no more.
-- Why it is written this way, each point measured on 50,000 chunks:
--   * Partition and dimensions are literals: with parameters the HNSW index is not used.
--   * The caller's subject is repeated as a parameter beside the policy. The policy alone hides
--     its value from the planner, which then plans for the average owner.
--   * One branch per way to access, each with its own limit: joined by OR they lose recall.
--   * Storage's policies are asked once for each document of others, not for each chunk: whoever may
--     read few of many documents searches these few (100,000 chunks: 40 ms instead of 900).
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
    min_score double precision default null)
returns table (
    chunk_id uuid, document_id uuid, bucket_id text, object_name text, title text,
    headings text[], page_start integer, page_end integer, content text, metadata jsonb,
    score double precision)
language plpgsql stable security invoker set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
    v_version ingest.index_versions;
    v_sub constant text := auth.jwt() ->> 'sub';
    v_k constant integer := least(coalesce(match_count, 10), 200);
    v_few_documents constant integer := 1000;
    v_documents uuid[];
    v_shared uuid[];
    v_branch text;
    v_branches text[];
    v_nearest record;
    v_ids uuid[] := '{}';
    v_distances double precision[] := '{}';
begin
    select version.* into v_version from ingest.index_versions as version
     where version.model = match_chunks.model and version.state in ('active', 'retired')
     order by version.state = 'active' desc, version.id desc limit 1;
    if not found then
        raise exception 'no searchable index version for model %', coalesce(model, '(null)')
            using errcode = 'invalid_parameter_value',
                  hint = 'select model from ingest.index_versions where state = ''active''';
    end if;
    if extensions.vector_dims(query_embedding) is distinct from v_version.dimensions then
        raise exception 'the query embedding has % dimensions, model % has %',
                extensions.vector_dims(query_embedding), v_version.model, v_version.dimensions
            using errcode = 'data_exception',
                  hint = 'Embed the query with the same model and dimensions as the documents.';
    end if;

    if extensions.vector_norm(query_embedding) = 0 then
        raise exception 'the query embedding is zero: nothing is near to it'
            using errcode = 'data_exception';
    end if;
    if match_count < 1 then
        raise exception 'match_count is %, and must be at least 1', match_count
            using errcode = 'invalid_parameter_value';
    end if;

    if num_nonnulls(bucket, path_prefix, document_ids, metadata_filter, created_since,
                    created_until) > 0 then
        select array_agg(document.id) into v_documents
          from ingest.documents as document
         where (bucket is null or document.bucket_id = bucket)
           and (path_prefix is null or starts_with(document.object_name, path_prefix))
           and (document_ids is null or document.id = any(document_ids))
           and (metadata_filter is null or document.metadata @> metadata_filter)
           and (created_since is null or document.created_at >= created_since)
           and (created_until is null or document.created_at < created_until);
        if v_documents is null then
            return;
        end if;
    end if;

    if not row_security_active('ingest.chunks') then
        v_branches := array['all'];
    else
        v_branches := array['owner'];
        v_shared := array(
            select document.id from ingest.documents as document
             where document.access = 'inherit' and (document.owner_id = v_sub) is not true
               and (v_documents is null or document.id = any(v_documents))
             limit v_few_documents + 1);
        if cardinality(v_shared) > 0 then
            v_branches := array['owner', 'inherit'];
        end if;
        if cardinality(v_shared) > v_few_documents then
            v_shared := v_documents;
        end if;
    end if;

    -- relaxed_order keeps scanning the graph until enough rows passed the filter; the exact
    -- order is restored below. JIT would compile each statement for longer than it runs.
    perform set_config('jit', 'off', true),
            set_config('hnsw.iterative_scan', 'relaxed_order', true),
            set_config('hnsw.ef_search', least(greatest(v_k * 4, 40), 1000)::text, true);
    foreach v_branch in array v_branches loop
        select * into v_nearest from ingest.nearest_in_branch(
            v_version.id, v_version.dimensions, v_branch, query_embedding, v_k, v_sub,
            case when v_branch = 'inherit' then v_shared else v_documents end);
        v_ids := v_ids || v_nearest.ids;
        v_distances := v_distances || v_nearest.distances;
    end loop;

    return query
        select chunk.id, document.id, document.bucket_id, document.object_name, document.title,
               chunk.headings, place.page_start, place.page_end, chunk.content, chunk.metadata,
               1 - nearest.distance
          from unnest(v_ids, v_distances) as nearest (id, distance)
               join ingest.chunks as chunk
                 on chunk.index_version = v_version.id and chunk.id = nearest.id
               join ingest.documents as document on document.id = chunk.document_id
               cross join lateral (
                   select position.page_start, position.page_end
                     from ingest.chunk_positions as position
                    where position.index_version = v_version.id and position.chunk_id = chunk.id
                    order by position.ordinal limit 1) as place
         where min_score is null or 1 - nearest.distance >= min_score
         order by nearest.distance, chunk.id
         limit v_k;
end
$$;

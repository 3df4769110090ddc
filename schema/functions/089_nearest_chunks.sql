-- nearest_query: the text of a query for the nearest chunks of an index version by the distance
-- p_distance, from ingest.chunks or ingest_private.sketches. Its parameters: $1 the embedding, $2
-- how many, $3 the caller's subject, $4 documents or null, $5 documents of others, $6 withdrawn
-- documents. Its plans must not depend on statistics, which are missing after the first upload and
-- stale after a large one. So a table is read by owner, or document by document, each through its
-- index and behind OFFSET 0; then the planner cannot choose another condition. Many documents are
-- looked for among the rows of the owner, in a form that no index serves.
create or replace function ingest_private.nearest_query(
    p_table text, p_index_version integer, p_distance text, p_is_everything boolean,
    p_documents uuid[], p_shared uuid[], p_withdrawn uuid[])
returns text
language sql stable set search_path = pg_catalog, pg_temp as $$
    select format(
        'select array_agg(id) as ids, array_agg(distance) as distances
           from (select id, distance from (%s) as every order by distance, id limit $2) as nearest',
        concat_ws(' union all ', format(
            'select id, %s as distance from %s as chunk where index_version = %L and %s', p_distance,
            case when cardinality(p_documents) <= 2000 then by_document else p_table end,
            p_index_version,
            concat_ws(' and ', case when p_is_everything then 'true' else 'owner_id = $3' end,
                case when cardinality(p_documents) > 2000
                     then '(document_id = any($4)) is true' end,
                case when cardinality(p_withdrawn) > 0
                     then '(document_id <> all($6)) is true' end)),
        case when cardinality(p_shared) > 0 then format(
            'select id, %1$s from %2$s as chunk
              where access = ''inherit'' and (owner_id = $3) is not true', p_distance,
            replace(by_document, '$4', '$5')) end))
      from (select format(
                '(select found.* from (select distinct unnest($4) as id) as wanted
                         cross join lateral (
                             select * from %s
                              where index_version = %L and document_id = wanted.id
                             offset 0) as found)',
                p_table, p_index_version) as by_document) as parts
$$;

-- nearest_of: the p_k chunks that are nearest by their embeddings, among chunks that were found by
-- their signs, nearest first. Compares the first p_few, then the others. If there are fewer than
-- p_all, these are all chunks. Null: some of the nearest may be missing, because the signs are not precise
-- enough, for example among nearly equal chunks. This is so in two cases:
--   one of the 20 best is in the farther half of those compared, so others may lie beyond them;
--   the chunks beyond may be nearer than the best p_k. How far they are is estimated from those
--   compared: a straight line from signs to distance, at the signs of the last one, less four
--   standard deviations. These are at least what signs of random vectors have (2/pi of the variance
--   is explained), because those compared may all be of one dense document, and others not.
create or replace function ingest_private.nearest_of(
    p_index_version integer, p_embedding extensions.vector, p_k integer, p_ids uuid[],
    p_distances double precision[], p_few integer, p_all integer,
    out ids uuid[], out distances double precision[])
language plpgsql stable
set search_path = pg_catalog, pg_temp set jit = off set enable_seqscan = off
set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
declare
    v_compare constant text := format(
        'select array_agg(chunk.embedding operator(extensions.<=>) $1::extensions.halfvec
                          order by wanted.place)
           from unnest($2) with ordinality as wanted (id, place)
                left join lateral (
                    select embedding from ingest.chunks
                     where index_version = %s and id = wanted.id offset 0) as chunk on true',
        p_index_version);
    v_noise constant double precision := 0.75 / sqrt(extensions.vector_dims(p_embedding));
    v_all constant integer := coalesce(cardinality(p_ids), 0);
    v_best constant integer := greatest(p_k, 20);
    v_compared double precision[] := '{}';
    v_more double precision[];
    v_tried integer;
    v_farthest double precision;
    v_beyond double precision;
begin
    foreach v_tried in array array[least(p_few, v_all), v_all] loop
        execute v_compare into v_more
          using p_embedding, p_ids[cardinality(v_compared) + 1:v_tried];
        v_compared := v_compared || v_more;
        select coalesce(regr_intercept(one.distance, one.signs)
                        + regr_slope(one.distance, one.signs) * max(one.signs), avg(one.distance))
               - 4 * greatest(
                     sqrt(regr_syy(one.distance, one.signs) / count(*)
                          * greatest(1 - coalesce(regr_r2(one.distance, one.signs), 0), 0)),
                     avg(one.distance) * v_noise)
          into v_beyond
          from unnest(v_compared, p_distances[:v_tried]) as one (distance, signs);
        select array_agg(best.id), array_agg(best.distance), max(best.signs)
          into ids, distances, v_farthest
          from (select one.id, one.distance, one.signs
                  from unnest(p_ids[:v_tried], v_compared, p_distances[:v_tried])
                           as one (id, distance, signs)
                 order by one.distance, one.id limit v_best) as best;
        if cardinality(ids) = least(v_best, v_tried)
           and (v_tried < p_all and v_tried = v_all
                or v_farthest < p_distances[v_tried / 2] and distances[p_k] < v_beyond) then
            ids := ids[:p_k];
            distances := distances[:p_k];
            return;
        end if;
    end loop;
    ids := null;
    distances := null;
end
$$;

-- nearest_in_graph: the p_k chunks nearest to a unit vector by the HNSW index of their version, for
-- one owner, or for everybody if the subject is null. The index may lose some (docs/retrieval.md),
-- so it is used only where a scan would be slow. Null: there is no index, there are no more than
-- p_enough rows, or the graph gives fewer rows than requested. Sorting is off, because the planner
-- expects an average owner and would sort all rows of this one.
create or replace function ingest_private.nearest_in_graph(
    p_index_version integer, p_embedding extensions.vector, p_k integer, p_is_everything boolean,
    p_sub text, p_withdrawn uuid[], p_enough integer,
    out ids uuid[], out distances double precision[])
language plpgsql stable
set search_path = pg_catalog, pg_temp set jit = off set max_parallel_workers_per_gather = 0
set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off as $$
declare
    v_owned constant text := format(
        'index_version = %s and %s', p_index_version,
        case when p_is_everything then 'true' else 'owner_id = $3' end);
    v_rows integer;
begin
    if not exists (select from pg_index
                    where indexrelid = to_regclass(format('ingest_private.chunks_%s_embedding',
                                                          p_index_version)) and indisvalid) then
        return;
    end if;
    execute format('select count(*) from (select from ingest_private.sketches where %s limit $1)
                               as counted', v_owned)
       into v_rows using p_enough + 1, null::text, p_sub;
    if v_rows <= p_enough then
        return;
    end if;
    perform set_config('hnsw.iterative_scan', 'relaxed_order', true),
            set_config('hnsw.ef_search', greatest(200, least(4 * p_k, 1000))::text, true);
    execute format(
        'select array_agg(id order by distance, id), array_agg(distance order by distance, id)
           from (select id, %1$s as distance from ingest.chunks
                  where %2$s and ($4 = ''{}'' or document_id <> all($4))
                  order by %1$s limit $2) as nearest',
        format('embedding::extensions.halfvec(%1$s) operator(extensions.<=>)
                $1::extensions.halfvec(%1$s)', extensions.vector_dims(p_embedding)), v_owned)
       into ids, distances using p_embedding, p_k, p_sub, p_withdrawn;
    if cardinality(ids) is distinct from p_k then
        ids := null;
        distances := null;
    end if;
end
$$;

-- nearest_scanned: the p_k chunks nearest to a unit vector among the chunks of the caller, or of
-- everybody, and those of the documents p_shared. p_documents restricts the former. Scans the
-- sketch of every such chunk, so none is lost, whatever its neighbours are. Sketches of signs only
-- choose the chunks whose embeddings are compared. If the signs are not precise enough, or until
-- all chunks have sketches, all embeddings are compared. A second process of the server, if there is
-- one, scans half of the chunks of a large owner: 100,000 of them are more than one core compares in
-- 50 ms.
create or replace function ingest_private.nearest_scanned(
    p_index_version integer, p_embedding extensions.vector, p_k integer,
    p_is_everything boolean, p_sub text, p_documents uuid[], p_shared uuid[], p_withdrawn uuid[],
    out ids uuid[], out distances double precision[])
language plpgsql stable
set search_path = pg_catalog, pg_temp set jit = off set max_parallel_workers_per_gather = 1
set min_parallel_index_scan_size = 0 set min_parallel_table_scan_size = 0
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off
set enable_mergejoin = off as $$
declare
    v_few constant integer := greatest(400, 10 * p_k);
    v_all constant integer := 4 * v_few;
    v_is_filled constant boolean := ingest_search.is_filled('sketches', p_index_version);
    v_is_wide constant boolean := extensions.vector_dims(p_embedding) > 512;
    v_found record;
begin
    if v_is_filled and v_is_wide then
        execute ingest_private.nearest_query(
                    'ingest_private.sketches', p_index_version,
                    'bits operator(extensions.<~>) extensions.binary_quantize($1)',
                    p_is_everything, p_documents, p_shared, p_withdrawn)
           into v_found using p_embedding, v_all, p_sub, p_documents, p_shared, p_withdrawn;
        select * into ids, distances from ingest_private.nearest_of(
            p_index_version, p_embedding, p_k, v_found.ids, v_found.distances, v_few, v_all);
        if ids is not null or v_found.ids is null then
            return;
        end if;
    end if;
    execute ingest_private.nearest_query(
                case when v_is_filled and not v_is_wide
                     then 'ingest_private.sketches' else 'ingest.chunks' end, p_index_version,
                'embedding operator(extensions.<=>) $1::extensions.halfvec',
                p_is_everything, p_documents, p_shared, p_withdrawn)
       into ids, distances using p_embedding, p_k, p_sub, p_documents, p_shared, p_withdrawn;
end
$$;

-- nearest_allowed: the p_k chunks nearest to a unit vector, and their distances. Only
-- nearest_chunks calls it, and says what the caller may read: everything, or their own chunks and
-- the documents p_shared of others. p_documents restricts their own chunks, or everything. Scans,
-- unless the caller has more than 200,000 chunks and there is a graph. Then the chunks that others
-- share are still scanned, and joined with the chunks from the graph.
create or replace function ingest_private.nearest_allowed(
    p_index_version integer, p_embedding extensions.vector, p_k integer,
    p_is_everything boolean, p_documents uuid[], p_shared uuid[],
    out ids uuid[], out distances double precision[])
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
    v_sub constant text := auth.jwt() ->> 'sub';
    v_withdrawn constant uuid[] := case
        when p_is_everything then array(select ingest.withdrawn_documents())
        else array(select ingest_private.withdrawn_of_caller()) end;
    v_graph_ids uuid[];
    v_graph_distances double precision[];
begin
    if p_documents is null then
        select * into v_graph_ids, v_graph_distances from ingest_private.nearest_in_graph(
            p_index_version, p_embedding, p_k, p_is_everything, v_sub, v_withdrawn, 200000);
        p_documents := case when v_graph_ids is not null then '{}'::uuid[] end;
    end if;
    select * into ids, distances from ingest_private.nearest_scanned(
        p_index_version, p_embedding, p_k, p_is_everything, v_sub, p_documents, p_shared,
        v_withdrawn);
    if v_graph_ids is not null then
        select array_agg(id), array_agg(distance) into ids, distances
          from (select id, distance
                  from unnest(ids || v_graph_ids, distances || v_graph_distances)
                           as both_ways (id, distance)
                 order by distance, id limit p_k) as nearest;
    end if;
end
$$;

-- nearest_chunks: the chunks nearest to a unit vector among those that the caller may read, 200 at
-- most, and their distances. Null p_documents: no restriction. p_shared: the documents of others
-- that are looked into, if their caller knows them already; each is asked about again. Its body is
-- parsed when the function is created. So it can call nearest_allowed, which clients cannot name,
-- because the schema of that function is closed to them.
create or replace function ingest_search.nearest_chunks(
    p_index_version integer, p_embedding extensions.vector, p_k integer, p_documents uuid[],
    p_shared uuid[] default null, out ids uuid[], out distances double precision[])
language sql stable security invoker set search_path = pg_catalog, pg_temp
begin atomic
    select nearest.ids, nearest.distances
      from ingest_private.nearest_allowed(
               p_index_version, p_embedding, least(p_k, 200),
               not pg_catalog.row_security_active('ingest.chunks'), p_documents,
               (select shared.ids
                  from ingest_search.shared_documents(coalesce(p_shared, p_documents)) as shared))
           as nearest;
end;

-- Samples that workers take on the schedule: whether searches find the nearest chunks, and whether
-- tables or indexes take much more room than they need. Workers may not repair either, so each
-- finding names what an operator does. Everything is computed here: no chunk leaves the database.

-- recall_sample: some owners and, for each, the same stored chunks to search for, chosen at random. An
-- owner with more chunks is chosen more often. Reads one row for each, however many chunks there are.
create or replace function ingest_private.recall_sample(p_owners integer, p_queries integer)
returns table (owner_id text, query uuid)
language sql volatile security definer
set search_path = pg_catalog, pg_temp set lock_timeout = '2s' set enable_seqscan = off
set jit = off as $$
    with active as materialized (
        select id from ingest.index_versions where state = 'active'),
    drawn as materialized (
        select found.id, found.owner_id, place
          from generate_series(1, greatest(p_owners, p_queries)) as place
               cross join active
               cross join lateral (select gen_random_uuid() as start where place > 0 offset 0) as spot
               -- The next chunk in the order of ids; after the last one comes the first.
               join lateral (
                   select coalesce(
                       (select chunk.id from ingest.chunks as chunk
                         where chunk.index_version = active.id and chunk.id >= spot.start
                         order by chunk.id limit 1),
                       (select chunk.id from ingest.chunks as chunk
                         where chunk.index_version = active.id
                         order by chunk.id limit 1)) as id) as next on true
               join ingest.chunks as found
                 on found.index_version = active.id and found.id = next.id)
    select owner.owner_id, wanted.id
      from (select distinct drawn.owner_id from drawn
             where drawn.place <= p_owners and drawn.owner_id is not null) as owner
           cross join (select distinct drawn.id from drawn where drawn.place <= p_queries) as wanted
     order by owner.owner_id
$$;

-- recall_of: which share of the p_k chunks of an owner that are nearest to a stored chunk a search of
-- the owner finds; 1 if there are none. A chunk that is equally near counts as found: halfvec has
-- three digits. The truth is a comparison of all the owner's chunks, without sketch or index. Null: the
-- owner has more than p_most, or the chunk is gone. uses_graph: whether the search may use an HNSW index.
create or replace function ingest_private.recall_of(
    p_owner_id text, p_query uuid, p_k integer, p_most integer,
    out share double precision, out uses_graph boolean, out is_sketched boolean)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp set lock_timeout = '2s' set jit = off
set max_parallel_workers_per_gather = 0 set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
declare
    v_version integer := (select id from ingest.index_versions where state = 'active');
    v_embedding extensions.vector;
    v_claims constant text := current_setting('request.jwt.claims', true);
    v_chunks integer;
    v_withdrawn uuid[];
    v_found double precision[];
    v_nearest double precision[];
begin
    select extensions.l2_normalize(chunk.embedding::extensions.vector) into v_embedding
      from ingest.chunks as chunk where chunk.index_version = v_version and chunk.id = p_query;
    select count(*) into v_chunks from (
        select from ingest.chunks as chunk
         where chunk.index_version = v_version and chunk.owner_id = p_owner_id
         limit p_most + 1) as counted;
    if v_embedding is null or v_chunks > p_most then
        return;
    end if;
    is_sketched := ingest_search.is_filled('sketches', v_version);
    uses_graph := v_chunks > 200000 and exists (
        select from pg_index
         where indexrelid = to_regclass(format('ingest_private.chunks_%s_embedding', v_version))
           and indisvalid);
    perform set_config('request.jwt.claims', jsonb_build_object('sub', p_owner_id)::text, true);
    select found.distances into v_found
      from ingest_private.nearest_allowed(v_version, v_embedding, p_k, false, null, '{}') as found;
    v_withdrawn := array(select ingest_private.withdrawn_of_caller());
    perform set_config('request.jwt.claims', coalesce(v_claims, ''), true);
    select array_agg(nearest.distance order by nearest.distance) into v_nearest
      from (select chunk.embedding operator(extensions.<=>) v_embedding::extensions.halfvec
                       as distance
              from (select every.embedding from ingest.chunks as every
                     where every.index_version = v_version and every.owner_id = p_owner_id
                       and every.document_id <> all(v_withdrawn) offset 0) as chunk
             order by distance limit p_k) as nearest;
    share := coalesce((
        select least(count(*) filter (
                         where distance <= v_nearest[cardinality(v_nearest)] + 0.000001)::double precision
                     / cardinality(v_nearest), 1)
          from unnest(v_found) as one (distance)), 1);
    if v_nearest is not null and v_found is null then
        share := 0;
    end if;
end
$$;

-- bloat: tables and indexes of docmill that take more than twice the room that their rows need, and
-- p_least bytes more at least; and tables with more deleted rows than others. From statistics alone: a relation
-- that was never analysed is left out. The room of rows is estimated by the mean width of their columns;
-- of an index of words, by the words themselves, and of an HNSW index by its embeddings and 32
-- neighbours each. An estimate that is too high hides bloat, and reports none that is not there.
create or replace function ingest_private.bloat(p_least bigint default 64 * 1024 * 1024)
returns table (relation text, bytes bigint, needed bigint, seen text, remedy text)
language sql stable security definer set search_path = pg_catalog, pg_temp set jit = off as $$
    with tables as materialized (
        select class.oid, class.relname, class.relnamespace::regnamespace::text as schema,
               class.reltuples::double precision as number, pg_relation_size(class.oid) as bytes,
               coalesce(pg_stat_get_dead_tuples(class.oid), 0) as gone,
               coalesce(pg_stat_get_live_tuples(class.oid), 0) as alive,
               -- By how much it has grown since it was analysed.
               greatest(1, pg_stat_get_live_tuples(class.oid)
                           / greatest(class.reltuples::double precision, 1)) as growth
          from pg_class as class
         where class.relkind = 'r'
           and class.relnamespace in ('ingest'::regnamespace, 'ingest_private'::regnamespace)),
    widths as materialized (
        select tables.oid, attribute.attnum as place,
               statistic.avg_width * (1 - statistic.null_frac) as width
          from tables
               join pg_stats as statistic
                 on statistic.schemaname = tables.schema and statistic.tablename = tables.relname
                and not statistic.inherited
               join pg_attribute as attribute
                 on attribute.attrelid = tables.oid and attribute.attname = statistic.attname),
    rooms as (
        -- 28 bytes before each row, and a ninth that updates leave free.
        select tables.oid, tables.schema, tables.relname, tables.bytes, 'table' as kind,
               tables.number, tables.growth,
               (select sum(widths.width) from widths where widths.oid = tables.oid) + 28 as width,
               1.1 as usual
          from tables
        union all
        select class.oid, tables.schema, class.relname, pg_relation_size(class.oid), method.amname,
               class.reltuples, tables.growth,
               case method.amname
                    when 'btree' then 16 + (
                        select sum(coalesce(widths.width, 16))
                          from unnest(index.indkey::smallint[]) as key (place)
                               left join widths on widths.oid = index.indrelid
                                               and widths.place = key.place)
                    when 'gin' then (
                        select 60 + sum(widths.width) from widths
                         where widths.oid = index.indrelid
                           and widths.place = any(index.indkey::smallint[]))
                    -- The element with its embedding, and its neighbours. Few fit a page of 8 kB.
                    when 'hnsw' then (
                        select 8192.0 / greatest(1, floor(8152.0 / (360 + 2 * attribute.atttypmod)))
                          from pg_attribute as attribute
                         where attribute.attrelid = class.oid and attribute.attnum = 1) end,
               -- Pages that are split are three quarters full. Each word has an entry of its own.
               case method.amname when 'btree' then 1.4 when 'gin' then 2 else 1 end
          from tables
               join pg_index as index on index.indrelid = tables.oid and index.indisvalid
               join pg_class as class on class.oid = index.indexrelid
               join pg_am as method on method.oid = class.relam),
    judged as (
        select *, (greatest(number, 1) * growth * width * usual)::bigint + 8192 as needed
          from rooms where number >= 0 and width > 0)
    select format('%I.%I', schema, relname), bytes, needed,
           format('%s takes %s, and its rows need %s', relname, pg_size_pretty(bytes),
                  pg_size_pretty(needed)),
           case kind
                when 'table' then format('vacuum full %I.%I, which stops searches and uploads '
                                         'meanwhile; or pg_repack', schema, relname)
                else format('reindex index concurrently %I.%I', schema, relname) end
      from judged
     where bytes > 2 * needed and bytes - needed >= p_least
       -- A table with deleted rows is vacuumed first.
       and not exists (select from tables where tables.oid = judged.oid
                          and tables.gone > tables.alive)
    union all
    select format('%I.%I', schema, relname), bytes, null,
           format('%s of %s rows of %s are deleted and take room', gone, gone + alive, relname),
           format('vacuum (analyze) %I.%I', schema, relname)
      from tables
     where gone > alive and bytes >= p_least
     order by 2 desc
     limit 20
$$;

-- sample_bloat: writes down what bloat() finds now in place of what it found before. Returns how many
-- relations.
create or replace function ingest_private.sample_bloat(p_least bigint default 64 * 1024 * 1024)
returns integer
language plpgsql security definer
set search_path = pg_catalog, pg_temp set lock_timeout = '2s' as $$
declare
    v_found integer;
begin
    delete from ingest_private.samples where schedule = 'sample_bloat';
    insert into ingest_private.samples (schedule, relation, is_bad, seen, remedy, bytes)
    select 'sample_bloat', found.relation, true, found.seen, found.remedy, found.bytes
      from ingest_private.bloat(p_least) as found;
    get diagnostics v_found = row_count;
    if v_found = 0 then
        insert into ingest_private.samples (schedule, relation, is_bad, seen)
        values ('sample_bloat', '', false, 'no table or index takes twice the room that it needs');
    end if;
    return v_found;
end
$$;

-- note_recall: writes down what a sample of recall found in place of the last one. With p_remedy: it is
-- too low. p_graph: the HNSW index is to blame.
create or replace function ingest_private.note_recall(
    p_seen text, p_remedy text, p_graph boolean)
returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp set lock_timeout = '2s' as $$
begin
    delete from ingest_private.samples where schedule = 'sample_recall';
    insert into ingest_private.samples (schedule, relation, is_bad, seen, remedy)
    select 'sample_recall',
           case when p_graph
                then coalesce(format('ingest_private.chunks_%s_embedding', (
                         select id from ingest.index_versions where state = 'active')), '')
                else '' end,
           p_remedy is not null, p_seen, p_remedy;
end
$$;

-- bad_samples: what the last samples found and nobody has mended since: the relation is still there, as
-- large as it was, and was not vacuumed. What depends on no relation stays until the next sample.
create or replace function ingest_private.bad_samples()
returns setof ingest_private.samples
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select sample.* from ingest_private.samples as sample
     where sample.is_bad
       and (sample.relation = ''
            or to_regclass(sample.relation) is not null
               and (sample.bytes is null
                    or pg_relation_size(to_regclass(sample.relation)) > sample.bytes / 2
                       and greatest(
                               pg_stat_get_last_vacuum_time(to_regclass(sample.relation)),
                               pg_stat_get_last_autovacuum_time(to_regclass(sample.relation)),
                               sample.sampled_at) = sample.sampled_at))
$$;

-- create_index_version: a new index version with its partitions. For the schema owner, not for
-- workers. State building; the first one becomes active at once.
create or replace function ingest_private.create_index_version(
    p_model text, p_dimensions integer, p_chunking jsonb)
returns integer
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    v_id integer;
    v_chunks text;
    v_positions text;
begin
    insert into ingest.index_versions (model, dimensions, chunking, state)
    values (p_model, p_dimensions, p_chunking,
            case when exists (select from ingest.index_versions where state = 'active')
                 then 'building' else 'active' end)
    returning id into v_id;
    v_chunks := 'chunks_' || v_id;
    v_positions := 'chunk_positions_' || v_id;

    execute format(
        'create table ingest_private.%1$I
             (like ingest.chunks including defaults including storage including constraints,
              constraint %2$I check (index_version = %3$s),
              constraint %4$I check (extensions.vector_dims(embedding) = %5$s))',
        v_chunks, v_chunks || '_version', v_id, v_chunks || '_dimensions', p_dimensions);
    execute format(
        'create index %1$I on ingest_private.%2$I
             using hnsw ((embedding::extensions.halfvec(%3$s)) extensions.halfvec_cosine_ops)',
        v_chunks || '_embedding', v_chunks, p_dimensions);
    execute format(
        'create index %1$I on ingest_private.%2$I using gin (fts)', v_chunks || '_fts', v_chunks);
    execute format(
        'create table ingest_private.%1$I (like ingest.chunk_positions including defaults
             including constraints)', v_positions);
    execute format(
        'alter table ingest.chunks attach partition ingest_private.%I for values in (%s)',
        v_chunks, v_id);
    execute format(
        'alter table ingest.chunk_positions attach partition ingest_private.%I for values in (%s)',
        v_positions, v_id);
    -- Readers go through the parents and their policies. A partition by itself shows nothing,
    -- whatever default privileges the project hands out.
    execute format('alter table ingest_private.%I enable row level security', v_chunks);
    execute format('alter table ingest_private.%I enable row level security', v_positions);
    execute format(
        'revoke all on ingest_private.%I, ingest_private.%I
           from public, anon, authenticated, service_role, docmill_worker',
        v_chunks, v_positions);
    return v_id;
end
$$;

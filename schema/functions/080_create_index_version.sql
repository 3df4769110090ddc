-- create_index_version: makes a new index version with its partitions. For the schema's owner, not
-- for workers. Its state is building; the first version becomes active at once. Without a provider
-- it takes the provider of the model, as the settings of the first release did.
create or replace function ingest_private.create_index_version(
    p_model text, p_dimensions integer, p_chunking jsonb, p_provider text default null,
    p_sends_dimensions boolean default null, p_document_prefix text default '',
    p_query_prefix text default '')
returns integer
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    v_id integer;
    v_chunks text;
    v_positions text;
    v_sketches text;
begin
    insert into ingest.index_versions (model, dimensions, chunking, provider, sends_dimensions,
                                       document_prefix, query_prefix, state)
    values (p_model, p_dimensions, p_chunking,
            coalesce(p_provider, case when p_model = 'wordllama-l2-supercat-256' then 'local'
                                      else 'openai' end),
            coalesce(p_sends_dimensions, p_model like 'text-embedding-3%'),
            p_document_prefix, p_query_prefix,
            case when exists (select from ingest.index_versions where state = 'active')
                 then 'building' else 'active' end)
    returning id into v_id;
    v_chunks := 'chunks_' || v_id;
    v_positions := 'chunk_positions_' || v_id;
    v_sketches := 'sketches_' || v_id;

    execute format(
        'create table ingest_private.%1$I
             (like ingest.chunks including defaults including storage including constraints,
              constraint %2$I check (index_version = %3$s),
              constraint %4$I check (extensions.vector_dims(embedding) = %5$s))',
        v_chunks, v_chunks || '_version', v_id, v_chunks || '_dimensions', p_dimensions);
    execute format(
        'create table ingest_private.%1$I (like ingest.chunk_positions including defaults
             including constraints)', v_positions);
    execute format(
        'create table ingest_private.%1$I (like ingest_private.sketches including storage
             including constraints)', v_sketches);
    execute format(
        'alter table ingest.chunks attach partition ingest_private.%I for values in (%s)',
        v_chunks, v_id);
    execute format(
        'alter table ingest.chunk_positions attach partition ingest_private.%I for values in (%s)',
        v_positions, v_id);
    execute format(
        'alter table ingest_private.sketches attach partition ingest_private.%I
             for values in (%s)', v_sketches, v_id);
    insert into ingest_private.chunk_fills (copy, index_version, completed_at)
    select copy, v_id, clock_timestamp() from unnest(array['sketches', 'lexemes', 'titles']) as copy;
    -- Readers use the parent tables and their policies. A partition by itself shows nothing,
    -- whatever default privileges the project has.
    execute format('alter table ingest_private.%I enable row level security', v_chunks);
    execute format('alter table ingest_private.%I enable row level security', v_positions);
    execute format('alter table ingest_private.%I enable row level security', v_sketches);
    execute format(
        'revoke all on ingest_private.%I, ingest_private.%I, ingest_private.%I
           from public, anon, authenticated, service_role, docmill_worker',
        v_chunks, v_positions, v_sketches);
    return v_id;
end
$$;

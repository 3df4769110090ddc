-- active_index_version: the index version that uploads go to and searches are answered from.
create or replace function ingest_private.active_index_version()
returns table (id integer, model text, dimensions integer, chunking jsonb)
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select id, model, dimensions, chunking from ingest.index_versions where state = 'active'
$$;

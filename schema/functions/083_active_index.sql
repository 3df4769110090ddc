-- active_index: how to embed a query for the index version that answers. No row: there is no active
-- version. An app that calls this before it embeds goes on working when another version becomes
-- active.
create or replace function ingest.active_index()
returns table (
    id integer, model text, dimensions integer, sends_dimensions boolean, query_prefix text,
    document_prefix text, provider text)
language plpgsql stable security invoker rows 1 set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
begin
    return query
        select version.id, version.model, version.dimensions, version.sends_dimensions,
               version.query_prefix, version.document_prefix, version.provider
          from ingest.index_versions as version where version.state = 'active';
end
$$;

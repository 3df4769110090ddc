-- remove_source: one page of taking a source out of use, in order of documents, from p_after on.
-- The first page ends the ingestion: nothing new comes in from then on. Documents that another
-- source covers go over to it. Of the others, what is searchable in its present version stays until
-- its file changes; with p_forget they go, with their chunks, and at the end so does the source.
-- Unfinished jobs become superseded. Returns how many documents stayed, how many went, and the
-- document to continue after; null: the end.
create or replace function ingest_private.remove_source(
    p_source_id bigint, p_forget boolean, p_after uuid, p_limit integer default 500,
    out kept integer, out forgotten integer, out next_after uuid)
language plpgsql security definer
set search_path = pg_catalog, pg_temp set lock_timeout = '5s' as $$
declare
    v_objects uuid[];
    v_count integer;
    v_mine uuid[];
    v_leaving uuid[];
begin
    update ingest_private.sources
       set retired_at = coalesce(retired_at, clock_timestamp()) where id = p_source_id;
    select array_agg(page.object_id), max(page.id::text)::uuid, count(*)
      into v_objects, next_after, v_count
      from (select id, object_id from ingest.documents
             where source_id = p_source_id and (p_after is null or id > p_after)
             order by id limit p_limit) as page;
    if v_count < p_limit then
        next_after := null;
    end if;
    perform ingest_private.sync_objects(v_objects);
    v_mine := array(select id from ingest.documents
                     where object_id = any(v_objects) and source_id = p_source_id
                     order by id for no key update);
    v_leaving := array(select id from ingest.documents
                        where id = any(v_mine) and (p_forget or status <> 'ready'));
    perform ingest_private.withdraw_documents(v_leaving);
    forgotten := cardinality(v_leaving);
    kept := cardinality(v_mine) - forgotten;
    if next_after is null and p_forget then
        delete from ingest_private.sources where id = p_source_id;
    end if;
end
$$;

-- remove_source: takes a source out of use, one page of documents at a time, from p_after on. The
-- first page ends the ingestion: from then on no new files are ingested. Documents that another
-- source covers move to that source. Of the others, documents that are searchable in their present
-- version stay until their file changes. With p_forget they are removed with their chunks, and at
-- the end the source is removed too. Unfinished jobs become superseded. Returns how many documents
-- stayed, how many were removed, and the document to continue after; null: the end.
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

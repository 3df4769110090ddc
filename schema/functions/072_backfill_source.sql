-- count_source: counts the objects of a source in Storage, before they are ingested.
--   objects, bytes      of the source
--   fresh, fresh_bytes  of these, not yet ingested in their present version
--   unowned             of these, without an owner by the source's rule
create or replace function ingest_private.count_source(
    p_source_id bigint,
    out objects bigint, out bytes bigint, out fresh bigint, out fresh_bytes bigint,
    out unowned bigint)
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select count(*), coalesce(sum(stored.size_bytes), 0),
           count(*) filter (where document.storage_version is distinct from stored.storage_version),
           coalesce(sum(stored.size_bytes) filter (
               where document.storage_version is distinct from stored.storage_version), 0),
           count(*) filter (where stored.owner_id is null)
      from ingest_private.sources as source
           cross join lateral ingest_private.stored_objects(array(
               select object.id from storage.objects as object
                where object.bucket_id = source.bucket_id
                  and starts_with(object.name, source.prefix))) as stored
           left join ingest.documents as document on document.object_id = stored.object_id
     where source.id = p_source_id and stored.source_id = source.id
$$;

-- backfill_source: syncs one page of a source's objects in Storage, in order of their names, from
-- p_after on. Returns how many of their jobs are unfinished, and the name to continue after; null:
-- the end. Uploads may go on meanwhile: their triggers do the same. p_is_bulk: the jobs buy in bulk.
create or replace function ingest_private.backfill_source(
    p_source_id bigint, p_after text, p_limit integer default 500,
    p_is_bulk boolean default false,
    out queued integer, out next_after text)
language plpgsql security definer
set search_path = pg_catalog, pg_temp set lock_timeout = '5s' as $$
declare
    v_source ingest_private.sources;
    v_page uuid[];
begin
    select * into strict v_source from ingest_private.sources where id = p_source_id;
    select array_agg(page.id), max(page.name collate "C") into v_page, next_after
      from (select object.id, object.name from storage.objects as object
             where object.bucket_id = v_source.bucket_id
               and object.name collate "C" >= v_source.prefix
               and starts_with(object.name, v_source.prefix)
               and (p_after is null or object.name collate "C" > p_after)
             order by object.name collate "C" limit p_limit) as page;
    perform set_config('ingest_private.is_bulk', p_is_bulk::text, true);
    select count(*) into queued from ingest_private.sync_objects(v_page);
    perform set_config('ingest_private.is_bulk', 'false', true);
    if coalesce(cardinality(v_page), 0) < p_limit then
        next_after := null;
    end if;
end
$$;

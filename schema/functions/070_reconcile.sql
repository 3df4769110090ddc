-- reconcile: one page of the comparison of storage.objects with documents, in order of object
-- id, from p_after on. Syncs what differs. p_since limits the page to objects written since then
-- (the frequent run); null compares everything, documents whose object is gone included.
-- Returns how many were out of line and the object id to continue after; null: the end.
-- Two sweeps at once do no harm: both take documents in id order.
create or replace function ingest_private.reconcile(
    p_after uuid, p_since timestamptz, p_limit integer default 500,
    out repaired integer, out next_after uuid)
language plpgsql security definer
set search_path = pg_catalog, pg_temp set lock_timeout = '2s' as $$
declare
    v_page uuid[];
    v_different uuid[];
begin
    select array_agg(page.id order by page.id), max(page.id::text)::uuid
      into v_page, next_after
      from (select id from (
                (select object.id from storage.objects as object
                  where (p_after is null or object.id > p_after)
                    and (p_since is null or object.updated_at > p_since)
                  order by object.id limit p_limit)
                union
                (select document.object_id from ingest.documents as document
                  where (p_after is null or document.object_id > p_after) and p_since is null
                  order by document.object_id limit p_limit)) as both_sides
             order by id limit p_limit) as page;
    if coalesce(cardinality(v_page), 0) < p_limit then
        next_after := null;
    end if;

    select array_agg(coalesce(stored.object_id, document.object_id)) into v_different
      from ingest_private.stored_objects(v_page) as stored
           full join (select * from ingest.documents where object_id = any(v_page)) as document
             on document.object_id = stored.object_id
     where (document.bucket_id, document.object_name, document.storage_version,
            document.owner_id, document.access, document.source_id, document.metadata)
           is distinct from
           (stored.bucket_id, stored.object_name, stored.storage_version,
            stored.owner_id, stored.access, stored.source_id, stored.metadata);
    repaired := coalesce(cardinality(v_different), 0);
    if repaired > 0 then
        begin
            perform ingest_private.sync_objects(v_different);
        exception when others then
            -- One that is in use, or cannot be synced, must not hold up the sweep.
            perform ingest_private.note_pending(v_different, sqlstate);
        end;
    end if;
end
$$;

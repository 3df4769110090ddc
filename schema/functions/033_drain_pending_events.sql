-- drain_pending_events: sync the objects whose triggers could not. Returns how many events were
-- settled and how many failed; a failed one is kept and tried again after all others.
-- An event that finds no document is kept for ten seconds after it was first tried: a transaction
-- that was still inserting the document when its object was deleted has then committed or is gone
-- (callers of sync_objects bound their transactions to less).
-- The locks of all other events are held until commit: taken in order of document, as everywhere,
-- and for few at a time, because uploads to these documents wait. Its own waits are shorter than
-- deadlock_timeout: whoever else is in a circle never hears of it. Call again while it settles.
create or replace function ingest_private.drain_pending_events(
    p_limit integer default 200, out settled integer, out failed integer)
language plpgsql security definer
set search_path = pg_catalog, pg_temp set lock_timeout = '200ms' as $$
declare
    c_unseen constant interval := interval '10 seconds';
    v_event record;
    v_had_document boolean;
begin
    failed := 0;
    -- Neither object nor document: nothing to sync, however many there are.
    with idle as materialized (
        select event.id from ingest_private.pending_events as event
         where not exists (select from ingest.documents as document
                            where document.object_id = event.object_id)
           and not exists (select from storage.objects as object
                            where object.id = event.object_id)
           for update skip locked),
    waiting as (
        update ingest_private.pending_events as event
           set tried_at = clock_timestamp()
          from idle where event.id = idle.id and event.tried_at is null),
    over as (
        delete from ingest_private.pending_events as event
         using idle where event.id = idle.id and event.tried_at < clock_timestamp() - c_unseen
        returning event.id)
    select count(*) into settled from over;

    for v_event in
        with taken as materialized (
            select event.id, event.object_id, event.tried_at
              from ingest_private.pending_events as event
             where exists (select from ingest.documents as document
                            where document.object_id = event.object_id)
                or exists (select from storage.objects as object
                            where object.id = event.object_id)
             order by event.tried_at nulls first, event.id
             limit p_limit for update skip locked)
        select taken.id, taken.object_id, taken.tried_at
          from taken left join ingest.documents as document on document.object_id = taken.object_id
         order by document.id, taken.id
    loop
        begin
            v_had_document := exists (
                select from ingest.documents where object_id = v_event.object_id);
            perform ingest_private.sync_objects(array[v_event.object_id]);
            if v_had_document or v_event.tried_at < clock_timestamp() - c_unseen
               or exists (select from ingest.documents where object_id = v_event.object_id) then
                delete from ingest_private.pending_events where id = v_event.id;
                settled := settled + 1;
            else
                update ingest_private.pending_events
                   set tried_at = coalesce(tried_at, clock_timestamp()) where id = v_event.id;
            end if;
        exception when others then
            update ingest_private.pending_events
               set tried_at = clock_timestamp(), reason = sqlstate where id = v_event.id;
            failed := failed + 1;
        end;
    end loop;
end
$$;

-- drain_pending_events: sync the objects whose triggers could not. Returns how many events were
-- settled and how many failed; a failed one is kept and tried again after all others.
-- An event that finds no document is kept for ten seconds: a transaction that was still
-- inserting the document when its object was deleted has then committed or is gone (callers of
-- sync_objects bound their transactions to less).
create or replace function ingest_private.drain_pending_events(
    p_limit integer default 1000, out settled integer, out failed integer)
language plpgsql security definer set search_path = '' set lock_timeout = '1s' as $$
declare
    v_event record;
    v_had_document boolean;
begin
    settled := 0;
    failed := 0;
    for v_event in
        select id, object_id, created_at from ingest_private.pending_events
         order by tried_at nulls first, id limit p_limit for update skip locked
    loop
        begin
            v_had_document := exists (
                select from ingest.documents where object_id = v_event.object_id);
            perform ingest_private.sync_objects(array[v_event.object_id]);
            if v_had_document
               or v_event.created_at < clock_timestamp() - interval '10 seconds'
               or exists (select from ingest.documents where object_id = v_event.object_id) then
                delete from ingest_private.pending_events where id = v_event.id;
                settled := settled + 1;
            else
                update ingest_private.pending_events
                   set tried_at = clock_timestamp() where id = v_event.id;
            end if;
        exception when others then
            update ingest_private.pending_events
               set tried_at = clock_timestamp(), reason = sqlstate where id = v_event.id;
            failed := failed + 1;
        end;
    end loop;
end
$$;

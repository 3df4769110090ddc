-- drain_pending_events: syncs the objects that triggers could not sync. Returns how many events
-- were settled and how many failed. A failed event is kept and tried again after all others. An
-- event that ran into the statement timeout is then tried alone, because it leaves no time for
-- others. Syncs p_limit objects at most. If an event finds no document, it is kept for ten seconds
-- after its first try. If a transaction was still inserting the document when its object was
-- deleted, this transaction has ended by then (callers of sync_objects bound their transactions to
-- less). The locks of all other events are held until commit. They are taken in order of document,
-- as everywhere, and for few documents at a time, because uploads to these documents become pending
-- events. Its own waits are shorter than deadlock_timeout, so in a circle this function gives up
-- first. Call it again while it settles events.
create or replace function ingest_private.drain_pending_events(
    p_limit integer default 200, out settled integer, out failed integer)
language plpgsql security definer
set search_path = pg_catalog, pg_temp set lock_timeout = '200ms' set enable_seqscan = off as $$
declare
    c_timed_out constant text := '57014';
    v_alone bigint;
    v_event record;
begin
    failed := 0;
    settled := ingest_private.drop_idle_events(p_limit * 25);
    select next.id into v_alone
      from (select event.id, event.reason from ingest_private.pending_events as event
             order by event.tried_at nulls first, event.id limit 1) as next
     where next.reason = c_timed_out;
    for v_event in
        with taken as materialized (
            select event.id, event.object_id
              from ingest_private.pending_events as event
             where (v_alone is null and event.reason <> c_timed_out or event.id = v_alone)
               and (exists (select from ingest.documents as document
                             where document.object_id = event.object_id)
                    or exists (select from storage.objects as object
                                where object.id = event.object_id))
             order by event.tried_at nulls first, event.id
             limit p_limit for update skip locked)
        select taken.id, taken.object_id
          from taken left join ingest.documents as document on document.object_id = taken.object_id
         order by document.id, taken.id
    loop
        begin
            if ingest_private.settle_event(v_event.id, v_event.object_id) then
                settled := settled + 1;
            end if;
        exception
            -- The timeout comes only once: the remaining events would have no timeout.
            when query_canceled then
                perform ingest_private.put_back_event(v_event.id, sqlstate);
                failed := failed + 1;
                return;
            when others then
                perform ingest_private.put_back_event(v_event.id, sqlstate);
                failed := failed + 1;
        end;
    end loop;
end
$$;

-- drop_idle_events: of p_limit events, deletes those with neither object nor document, which have
-- nothing to sync. It takes many at once, because a delete may leave many. Returns how many it
-- deleted.
create or replace function ingest_private.drop_idle_events(p_limit integer)
returns integer
language sql security definer
set search_path = pg_catalog, pg_temp set enable_seqscan = off as $$
    with idle as materialized (
        select event.id from ingest_private.pending_events as event
         where not exists (select from ingest.documents as document
                            where document.object_id = event.object_id)
           and not exists (select from storage.objects as object
                            where object.id = event.object_id)
         order by event.tried_at nulls first, event.id
         limit p_limit for update skip locked),
    waiting as (
        update ingest_private.pending_events as event
           set tried_at = clock_timestamp(),
               first_tried_at = coalesce(event.first_tried_at, clock_timestamp())
          from idle where event.id = idle.id and event.first_tried_at is null),
    over as (
        delete from ingest_private.pending_events as event
         using idle
         where event.id = idle.id
           and event.first_tried_at < clock_timestamp() - interval '10 seconds'
        returning event.id)
    select count(*)::integer from over;
$$;

-- settle_event: syncs the object of one event and deletes the event. False: the event is kept,
-- because a transaction may still be inserting its document. The caller has locked the event.
create or replace function ingest_private.settle_event(p_event_id bigint, p_object_id uuid)
returns boolean
language plpgsql security definer
set search_path = pg_catalog, pg_temp set enable_seqscan = off as $$
declare
    c_unseen constant interval := interval '10 seconds';
    v_had_document constant boolean := exists (
        select from ingest.documents where object_id = p_object_id);
begin
    perform ingest_private.sync_objects(array[p_object_id]);
    delete from ingest_private.pending_events as event
     where event.id = p_event_id
       and (v_had_document or event.first_tried_at < clock_timestamp() - c_unseen
            or exists (select from ingest.documents where object_id = p_object_id));
    if not found then
        perform ingest_private.put_back_event(p_event_id, null);
        return false;
    end if;
    return true;
end
$$;

-- put_back_event: puts an event behind all others.
create or replace function ingest_private.put_back_event(p_event_id bigint, p_reason text)
returns void
language sql security definer set search_path = pg_catalog, pg_temp as $$
    update ingest_private.pending_events
       set tried_at = clock_timestamp(),
           first_tried_at = coalesce(first_tried_at, clock_timestamp()),
           reason = coalesce(p_reason, reason)
     where id = p_event_id;
$$;

-- The triggers on storage.objects. They run inside Storage's own transactions, also in its
-- permission tests, which are rolled back. So they only write to tables. They do not wait: they
-- lock rows with NOWAIT, and wait 5 ms at most for any other lock. They do the same work for one
-- chunk as for a hundred thousand, and turn every failure into a pending event. They fire as anon,
-- authenticated or service_role, so they are definer functions; otherwise every upload would be
-- refused. For watched buckets they ring the doorbell at the end, if it is installed.

-- note_pending: leaves objects to the drain. With p_hides nobody finds them until the drain has
-- settled them. Never raises, because the caller is an upload that must not fail. If even this note
-- cannot be written, reconcile finds the change.
create or replace function ingest_private.note_pending(
    p_object_ids uuid[], p_reason text, p_hides boolean)
returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    insert into ingest_private.pending_events (object_id, reason, hides)
    select unnest(p_object_ids), p_reason, p_hides;
exception when others then
    raise log 'docmill: % on noting % for %', sqlstate, p_reason, p_object_ids;
end
$$;

-- has_same_readers: whether an object that could not be synced has a document, and the same users
-- may read it as before. Then the document may stay searchable until its event is settled. The
-- answer is false while an earlier event hides the document, or if the document differs from the
-- object before the change: a sync that has not committed may be changing it.
create or replace function ingest_private.has_same_readers(p_object_id uuid, p_old jsonb)
returns boolean
language sql stable security definer
set search_path = pg_catalog, pg_temp set enable_seqscan = off as $$
    select exists (
               select from ingest.documents as document
                      cross join lateral ingest_private.stored_objects(array[p_object_id]) as stored
                      cross join lateral ingest_private.source_of(
                          p_old ->> 'bucket_id', p_old ->> 'name') as former
                where document.object_id = p_object_id
                  and (document.owner_id, document.access)
                      is not distinct from (stored.owner_id, stored.access)
                  and (document.owner_id, document.access)
                      is not distinct from (
                          ingest_private.owner_of(
                              former.owner_from,
                              coalesce(p_old ->> 'owner_id', p_old ->> 'owner'), p_old ->> 'name'),
                          former.access))
       and not exists (select from ingest_private.pending_events as event
                        where event.object_id = p_object_id and event.hides)
$$;

-- note_unsynced: leaves an object to the drain, because its sync failed with p_reason.
create or replace function ingest_private.note_unsynced(
    p_object_id uuid, p_old jsonb, p_reason text)
returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    v_hides boolean := true;
begin
    begin
        -- A new object has nothing to hide.
        v_hides := p_old is not null
                   and not ingest_private.has_same_readers(p_object_id, p_old);
    exception when others then
        raise log 'docmill: % on asking who may read %', sqlstate, p_object_id;
    end;
    perform ingest_private.note_pending(array[p_object_id], p_reason, v_hides);
end
$$;

create or replace function ingest_private.on_object_written() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp set lock_timeout = '5ms' as $$
declare
    v_left_unseen boolean := false;
    v_is_watched boolean := false;
begin
    -- This is the permission test of uploads and copies, which is always rolled back; here an
    -- upload would wait a second time for a document in use. If an object really had this version,
    -- reconcile would find it.
    if new.version = '1' then
        return null;
    end if;
    begin
        if not exists (select from ingest_private.source_of(new.bucket_id, new.name)) then
            if tg_op = 'INSERT'
               or not exists (select from ingest_private.source_of(old.bucket_id, old.name)) then
                return null;
            end if;
            v_left_unseen := not exists (
                select from ingest.documents as document where document.object_id = new.id);
        end if;
        v_is_watched := true;
        perform from ingest.documents as document
          where document.object_id = new.id for no key update nowait;
        perform ingest_private.sync_objects(array[new.id]);
        -- Checked here, where a failure can be caught; at commit it would break the upload.
        set constraints ingest.jobs_running_iff_leased,
                        ingest_private.leases_only_while_running immediate;
        set constraints ingest.jobs_running_iff_leased,
                        ingest_private.leases_only_while_running deferred;
        -- A transaction that has not committed may be inserting its document. The pending event
        -- removes the document again, as after a delete.
        if v_left_unseen then
            perform ingest_private.note_pending(array[new.id], 'moved', true);
        end if;
    exception when others then
        perform ingest_private.note_unsynced(
            new.id, case when tg_op = 'UPDATE' then to_jsonb(old) end, sqlstate);
    end;
    begin
        if v_is_watched then
            perform ingest_private.ring_doorbell(
                tg_op,
                ingest_private.event_row(new.id, new.bucket_id, new.name, new.version),
                case when tg_op = 'UPDATE' then
                    ingest_private.event_row(old.id, old.bucket_id, old.name, old.version) end);
        end if;
    exception when others then
        perform ingest_private.note_unrung(sqlerrm);
    end;
    return null;
end
$$;

-- on_objects_truncated: all objects are gone; the drain finds the documents.
create or replace function ingest_private.on_objects_truncated() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp set lock_timeout = '5ms' as $$
begin
    perform ingest_private.note_pending(
                array_agg(document.object_id), 'deleted', true)
       from ingest.documents as document;
    return null;
exception when others then
    raise log 'docmill: % on noting that storage.objects was truncated', sqlstate;
    return null;
end
$$;

create or replace function ingest_private.on_objects_deleted() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp set lock_timeout = '5ms'
set enable_seqscan = off set jit = off as $$
declare
    v_deleted uuid[];
    v_locked uuid[];
    v_documents uuid[];
    v_left uuid[];
begin
    begin
        select array_agg(object.id) into v_deleted
          from deleted_objects as object
         where exists (select from ingest.documents as document
                        where document.object_id = object.id)
            or exists (select from ingest_private.source_of(object.bucket_id, object.name));
        if v_deleted is null then
            return null;
        end if;
        -- Documents in use are hidden and left to the drain, because a delete of many objects must
        -- not wait. For an object without a document, a transaction that has not committed may be
        -- inserting one; the pending event removes it again.
        select array_agg(locked.object_id), coalesce(array_agg(locked.id), '{}')
          into v_locked, v_documents
          from (select id, object_id from ingest.documents
                 where object_id = any(v_deleted)
                 order by id for no key update skip locked) as locked;
        perform ingest_private.withdraw_documents(v_documents);
        set constraints ingest.jobs_running_iff_leased,
                        ingest_private.leases_only_while_running immediate;
        set constraints ingest.jobs_running_iff_leased,
                        ingest_private.leases_only_while_running deferred;
        v_left := array(select unnest(v_deleted) except select unnest(v_locked));
        perform ingest_private.note_pending(v_left, 'deleted', true);
    exception when others then
        perform ingest_private.note_pending(
            coalesce(v_deleted, array(select id from deleted_objects)), sqlstate, true);
    end;
    begin
        -- One ring for all of them, about an object that was left to the drain; the receiver then
        -- withdraws it.
        perform ingest_private.ring_doorbell(
                    'DELETE', null,
                    ingest_private.event_row(object.id, object.bucket_id, object.name,
                                             object.version))
           from deleted_objects as object
          where object.id = coalesce(v_left[1], v_deleted[1]);
    exception when others then
        perform ingest_private.note_unrung(sqlerrm);
    end;
    return null;
end
$$;

-- The triggers on storage.objects. They run inside Storage's own transactions, also in its
-- rolled-back permission tests (as the caller), so they write to tables only, wait for nothing
-- longer than 200 ms, and turn every failure into a pending event. They fire as anon, authenticated
-- or service_role: definer, or every upload would be refused. What is watched rings the doorbell
-- at the end, where one is installed.

-- note_pending: leave objects to the drain. Never raises: the caller is an upload that must not
-- fail. What cannot be noted even here is left to reconcile.
create or replace function ingest_private.note_pending(p_object_ids uuid[], p_reason text)
returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    insert into ingest_private.pending_events (object_id, reason)
    select unnest(p_object_ids), p_reason;
exception when others then
    raise log 'docmill: % on noting % for %', sqlstate, p_reason, p_object_ids;
end
$$;

create or replace function ingest_private.on_object_written() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp set lock_timeout = '200ms' as $$
declare
    v_left_unseen boolean := false;
    v_is_watched boolean := false;
begin
    -- The permission test of uploads and copies, which is always rolled back: an upload would wait
    -- twice for a document in use. Were an object ever of this version, the sweep would find it.
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
        perform ingest_private.sync_objects(array[new.id]);
        -- Checked here, where a failure can be caught: at commit it would break the upload.
        set constraints ingest.jobs_running_iff_leased,
                        ingest_private.leases_only_while_running immediate;
        set constraints ingest.jobs_running_iff_leased,
                        ingest_private.leases_only_while_running deferred;
        -- Its document may be on its way in with a transaction that has not committed: the
        -- pending event takes it out again, as after a delete.
        if v_left_unseen then
            perform ingest_private.note_pending(array[new.id], 'moved');
        end if;
    exception when others then
        perform ingest_private.note_pending(array[new.id], sqlstate);
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

create or replace function ingest_private.on_objects_deleted() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp set lock_timeout = '200ms' as $$
declare
    v_deleted uuid[];
    v_locked uuid[];
    v_left uuid[];
begin
    begin
        select array_agg(object.id) into v_deleted
          from deleted_objects as object
         where exists (select from ingest_private.source_of(object.bucket_id, object.name))
            or exists (select from ingest.documents as document
                        where document.object_id = object.id);
        if v_deleted is null then
            return null;
        end if;
        -- Documents in use are left to the drain: a delete of many must not wait for one. An
        -- object without a document may be on its way in with a transaction that has not
        -- committed: the pending event takes it out again.
        select array_agg(locked.object_id) into v_locked
          from (select object_id from ingest.documents
                 where object_id = any(v_deleted)
                 order by id for no key update skip locked) as locked;
        perform ingest_private.forget_documents(array(
            select id from ingest.documents where object_id = any(v_locked)));
        set constraints ingest.jobs_running_iff_leased,
                        ingest_private.leases_only_while_running immediate;
        set constraints ingest.jobs_running_iff_leased,
                        ingest_private.leases_only_while_running deferred;
        v_left := array(select unnest(v_deleted) except select unnest(v_locked));
        perform ingest_private.note_pending(v_left, 'deleted');
    exception when others then
        perform ingest_private.note_pending(
            coalesce(v_deleted, array(select id from deleted_objects)), sqlstate);
    end;
    begin
        -- One ring for all of them: about one that was left, which the receiver then withdraws.
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

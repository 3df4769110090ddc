-- The triggers on storage.objects. They run inside Storage's own transactions, also in its
-- rolled-back permission test (as the caller, version '1'), so they write to tables only, wait
-- for nothing longer than 200 ms, and turn every failure into a pending event. They fire as
-- anon, authenticated or service_role: definer, or every upload would be refused.

-- note_pending: leave objects to the drain. Never raises: the caller is an upload that must not
-- fail. What cannot be noted even here is left to reconcile.
create or replace function ingest_private.note_pending(p_object_ids uuid[], p_reason text)
returns void
language plpgsql security definer set search_path = '' as $$
begin
    insert into ingest_private.pending_events (object_id, reason)
    select unnest(p_object_ids), p_reason;
exception when others then
    raise log 'docmill: % on noting % for %', sqlstate, p_reason, p_object_ids;
end
$$;

create or replace function ingest_private.on_object_written() returns trigger
language plpgsql security definer set search_path = '' set lock_timeout = '200ms' as $$
declare
    v_left_unseen boolean := false;
begin
    begin
        if not exists (select from ingest_private.source_of(new.bucket_id, new.name)) then
            if tg_op = 'INSERT'
               or not exists (select from ingest_private.source_of(old.bucket_id, old.name)) then
                return null;
            end if;
            v_left_unseen := not exists (
                select from ingest.documents as document where document.object_id = new.id);
        end if;
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
    return null;
end
$$;

create or replace function ingest_private.on_objects_deleted() returns trigger
language plpgsql security definer set search_path = '' set lock_timeout = '200ms' as $$
declare
    v_deleted uuid[];
    v_locked uuid[];
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
        perform ingest_private.note_pending(array(
            select unnest(v_deleted) except select unnest(v_locked)), 'deleted');
    exception when others then
        perform ingest_private.note_pending(
            coalesce(v_deleted, array(select id from deleted_objects)), sqlstate);
    end;
    return null;
end
$$;

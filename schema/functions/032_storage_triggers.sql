-- The triggers on storage.objects. They run inside Storage's own transactions, also in its
-- rolled-back permission test (as the caller, version '1'), so they write to tables only, wait
-- for nothing longer than 200 ms, and turn every failure into a pending event. They fire as
-- anon, authenticated or service_role: definer, or every upload would be refused.
create or replace function ingest_private.note_pending(p_object_ids uuid[], p_reason text)
returns void
language sql security definer set search_path = '' as $$
    insert into ingest_private.pending_events (object_id, reason)
    select unnest(p_object_ids), p_reason
$$;

create or replace function ingest_private.on_object_written() returns trigger
language plpgsql security definer set search_path = '' set lock_timeout = '200ms' as $$
begin
    if not exists (select from ingest_private.source_of(new.bucket_id, new.name))
       and (tg_op = 'INSERT'
            or not exists (select from ingest_private.source_of(old.bucket_id, old.name))) then
        return null;
    end if;
    begin
        perform ingest_private.sync_objects(array[new.id]);
        -- Checked here, where a failure can be caught: at commit it would break the upload.
        set constraints ingest.jobs_running_iff_leased,
                        ingest_private.leases_only_while_running immediate;
        set constraints ingest.jobs_running_iff_leased,
                        ingest_private.leases_only_while_running deferred;
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
    select array_agg(object.id) into v_deleted
      from deleted_objects as object
     where exists (select from ingest_private.source_of(object.bucket_id, object.name))
        or exists (select from ingest.documents as document
                    where document.object_id = object.id);
    if v_deleted is null then
        return null;
    end if;
    begin
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
    exception when others then
        v_locked := null;
        perform ingest_private.note_pending(v_deleted, sqlstate);
        return null;
    end;
    perform ingest_private.note_pending(array(
        select unnest(v_deleted) except select unnest(v_locked)), 'deleted');
    return null;
end
$$;

-- lock_for_publish: locks document, job and lease, in that order, and checks that the publish is
-- still allowed. Raises DM001 if the lease is lost, DM003 if the owner has asked to cancel, and
-- DM002 if the document has changed: Storage holds another version, or the owner is not the one
-- that its new chunks were written for; and DM004 while another index version is being made active.
create or replace function ingest_private.lock_for_publish(
    p_job_id uuid, p_token bigint, p_document_id uuid, p_owner_id text, p_access text)
returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    v_document ingest.documents;
    v_job ingest.jobs;
begin
    -- No other index version can become active until this publish has committed: see
    -- activate_index_version.
    perform pg_advisory_xact_lock_shared(hashtext('ingest_private.activate_index_version'));
    select * into v_document from ingest.documents
     where id = p_document_id for no key update;
    if not found then
        raise exception 'document is gone' using errcode = 'DM001';
    end if;
    select * into v_job from ingest.jobs
     where id = p_job_id and state = 'running' for no key update;
    if not found then
        raise exception 'job is not running' using errcode = 'DM001';
    end if;
    perform from ingest_private.leases
      where job_id = p_job_id and token = p_token for update;
    if not found then
        raise exception 'lease is lost' using errcode = 'DM001';
    end if;
    if v_document.storage_version <> v_job.storage_version
       or (v_document.owner_id, v_document.access) is distinct from (p_owner_id, p_access) then
        raise exception 'document has moved on' using errcode = 'DM002';
    end if;
    if v_job.cancel_requested then
        raise exception 'cancelled' using errcode = 'DM003';
    end if;
    if v_job.kind = 'ingest' and ingest_private.activating_until(v_job.index_version) is not null then
        raise exception 'another index version is being made active' using errcode = 'DM004';
    end if;
end
$$;

-- keep_window: keeps a window that a run has read, for later runs. False: the lease is lost, and
-- nothing was kept.
create or replace function ingest_private.keep_window(
    p_job_id uuid, p_token bigint, p_content_sha256 bytea, p_extraction_version text,
    p_number integer, p_content bytea)
returns boolean
language plpgsql security definer
set search_path = pg_catalog, pg_temp set lock_timeout = '5s' as $$
declare
    v_document_id uuid;
begin
    -- The job is locked before its lease, as in begin_stage: contents of a withdrawn document are
    -- not removed while its job is locked.
    select document_id into v_document_id from ingest.jobs
     where id = p_job_id and state = 'running' for no key update;
    perform from ingest_private.leases
      where job_id = p_job_id and token = p_token for key share;
    if not found or v_document_id is null then
        return false;
    end if;
    insert into ingest_private.document_windows (
               document_id, content_sha256, extraction_version, number, content)
    values (v_document_id, p_content_sha256, p_extraction_version, p_number, p_content)
        on conflict do nothing;
    return true;
end
$$;

-- kept_windows: numbers of the windows that need not be read again.
create or replace function ingest_private.kept_windows(
    p_document_id uuid, p_content_sha256 bytea, p_extraction_version text)
returns table (number integer)
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select distinct kept.number from ingest_private.document_windows as kept
     where kept.document_id = any(ingest_private.ids_of(p_document_id))
       and kept.content_sha256 = p_content_sha256
       and kept.extraction_version = p_extraction_version
$$;

-- kept_window: the content of a window; null if it is no longer kept.
create or replace function ingest_private.kept_window(
    p_document_id uuid, p_content_sha256 bytea, p_extraction_version text, p_number integer)
returns bytea
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select kept.content from ingest_private.document_windows as kept
     where kept.document_id = any(ingest_private.ids_of(p_document_id))
       and kept.content_sha256 = p_content_sha256
       and kept.extraction_version = p_extraction_version and kept.number = p_number
     limit 1
$$;

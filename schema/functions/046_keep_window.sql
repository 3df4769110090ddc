-- keep_window: what a run has read of its document, for later runs. False: the lease is lost,
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
    -- The document before the lease, as everywhere.
    select document.id into v_document_id
      from ingest.documents as document join ingest.jobs as job on job.document_id = document.id
     where job.id = p_job_id
       for key share of document;
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
    select kept.number from ingest_private.document_windows as kept
     where kept.document_id = p_document_id and kept.content_sha256 = p_content_sha256
       and kept.extraction_version = p_extraction_version
$$;

-- kept_window: what is in one of them; null when it is not kept any more.
create or replace function ingest_private.kept_window(
    p_document_id uuid, p_content_sha256 bytea, p_extraction_version text, p_number integer)
returns bytea
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select kept.content from ingest_private.document_windows as kept
     where kept.document_id = p_document_id and kept.content_sha256 = p_content_sha256
       and kept.extraction_version = p_extraction_version and kept.number = p_number
$$;

-- claim_job: queued -> running, leased to one worker. No row: somebody else has it, it is not
-- due, it is paused, it is finished, or it must run alone and this worker does not; the hint is
-- then dropped.
-- Takes locks in the order document, job. The attempt number grows only with counted failures.
create or replace function ingest_private.claim_job(
    p_job_id uuid, p_worker_id text, p_isolated boolean, p_lease_for interval)
returns table (
    job_id uuid, token bigint, run integer, attempt smallint, max_attempts smallint, kind text,
    document_id uuid, object_id uuid, bucket_id text, object_name text, owner_id text,
    storage_version text, size_bytes bigint, max_bytes bigint,
    index_version integer, model text, dimensions integer, chunking jsonb,
    published_sha256 bytea, published_pipeline text)
language plpgsql security definer
set search_path = pg_catalog, pg_temp set lock_timeout = '5s' as $$
#variable_conflict use_column
declare
    v_document_id uuid;
    v_entry ingest_private.job_queue;
    v_token bigint;
begin
    select job.document_id into v_document_id from ingest.jobs as job where job.id = p_job_id;
    perform from ingest.documents where id = v_document_id for no key update;
    perform from ingest.jobs as job
      where job.id = p_job_id and job.state = 'queued' for no key update skip locked;
    if not found then
        return;
    end if;
    -- Deleting an object supersedes its jobs; somebody deleted this document by hand.
    if v_document_id is null then
        perform ingest_private.end_job(p_job_id, 'superseded');
        return;
    end if;
    select * into v_entry from ingest_private.job_queue as entry
     where entry.job_id = p_job_id and entry.isolated = p_isolated
       and (entry.phase in ('ready', 'dispatched') or entry.due_at <= clock_timestamp())
       for update;
    if not found then
        return;
    end if;
    if (select ingest_private.is_paused(document.owner_id, document.source_id)
          from ingest.documents as document where document.id = v_document_id) then
        perform ingest_private.hold_paused(p_job_id);
        return;
    end if;

    v_token := nextval('ingest_private.lease_token');
    insert into ingest_private.leases (job_id, token, worker_id, expires_at)
    values (p_job_id, v_token, p_worker_id, clock_timestamp() + p_lease_for);
    update ingest_private.job_queue as entry
       set phase = 'running', due_at = null where entry.job_id = p_job_id;
    update ingest.jobs as job
       set state = 'running', stage = 'downloading', attempt = v_entry.failures + 1,
           hold_reason = null, next_attempt_at = null, error_code = null, error_message = null,
           pages_total = null, pages_done = 0,
           chunks_total = null, chunks_embedded = 0, chunks_reused = 0,
           started_at = coalesce(job.started_at, clock_timestamp()),
           updated_at = clock_timestamp()
     where job.id = p_job_id;
    insert into ingest_private.attempts (job_id, token, attempt, worker_id, isolated)
    values (p_job_id, v_token, v_entry.failures + 1, p_worker_id, p_isolated);
    update ingest.documents as document
       set status = 'processing', updated_at = clock_timestamp()
     where document.id = v_document_id and document.latest_job_id = p_job_id;

    return query
        select job.id, v_token,
               (select count(*)::integer from ingest_private.attempts as attempt
                 where attempt.job_id = job.id),
               job.attempt, job.max_attempts, job.kind,
               document.id, document.object_id, document.bucket_id, document.object_name,
               document.owner_id, job.storage_version, document.size_bytes, source.max_bytes,
               version.id, version.model, version.dimensions, version.chunking,
               published.content_sha256, published.pipeline_version
          from ingest.jobs as job
               join ingest.documents as document on document.id = job.document_id
               join ingest.index_versions as version on version.id = job.index_version
               left join ingest_private.sources as source on source.id = document.source_id
               left join ingest_private.published_versions as published
                      on published.document_id = document.id
                     and published.index_version = version.id
         where job.id = p_job_id;
end
$$;

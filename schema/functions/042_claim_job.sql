-- claim_job: queued -> running, leased to one worker. No row means that the hint is dropped:
-- another worker has the job; the job is not due, paused, over its budget or finished; it must run alone and this
-- worker does not run jobs alone; this worker lacks the key of its provider, or would read the file
-- worse than it was read; the index version was dropped; or, for a job of kind ingest, the version
-- is no longer active. Takes locks in the order document, job. The attempt number grows only with
-- counted failures.
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
    v_is_gone boolean;
begin
    select job.document_id into v_document_id from ingest.jobs as job where job.id = p_job_id;
    perform from ingest.documents where id = v_document_id for no key update;
    v_is_gone := not found;
    perform from ingest.jobs as job
      where job.id = p_job_id and job.state = 'queued' for no key update skip locked;
    if not found then
        return;
    end if;
    -- The document was withdrawn while another transaction had the job locked, or was deleted by
    -- hand.
    if v_is_gone then
        perform ingest_private.end_job(p_job_id, 'superseded');
        return;
    end if;
    if ingest_private.end_misplaced(p_job_id) then
        return;
    end if;
    select * into v_entry from ingest_private.job_queue as entry
     where entry.job_id = p_job_id and entry.isolated = p_isolated
       and (entry.phase in ('ready', 'dispatched') or entry.due_at <= clock_timestamp())
       for update;
    if not found then
        return;
    end if;
    if exists (select from ingest_private.workers as worker
                      join ingest.jobs as job on job.id = p_job_id
                      join ingest.index_versions as target on target.id = job.index_version
                where worker.id = p_worker_id
                  and not ingest_private.serves(worker.providers, target)) then
        return;
    end if;
    if ingest_private.hold_run(p_job_id) then
        return;
    end if;

    if ingest_private.reads_worse(p_job_id, p_worker_id, p_isolated) then
        perform ingest_private.leave_to_others(p_job_id, p_isolated);
        return;
    end if;
    perform ingest_private.note_tried(p_job_id, p_worker_id);

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
               case when not v_entry.in_full then published.content_sha256 end,
               published.pipeline_version
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

-- end_misplaced: a job that was made while its index version was being dropped -> superseded. A job
-- of kind ingest that was made while another version became active -> superseded, and a new job in
-- that version follows it. False: the job is in the right version. The caller has locked document
-- and job.
create or replace function ingest_private.end_misplaced(p_job_id uuid)
returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    v_job ingest.jobs;
    v_state text;
    v_active constant integer := (select id from ingest.index_versions where state = 'active');
begin
    select * into strict v_job from ingest.jobs where id = p_job_id;
    select state into strict v_state from ingest.index_versions where id = v_job.index_version;
    if v_job.kind = 'ingest' and v_job.index_version <> v_active then
        perform ingest_private.ingest_in(v_job, v_active);
    elsif v_state = 'dropped' then
        perform ingest_private.end_job(p_job_id, 'superseded');
    else
        return false;
    end if;
    return true;
end
$$;

-- embedding_of: settings for embedding the texts of an index version that claim_job does not
-- return. Workers of the former release read the columns of claim_job, so claim_job gets no new
-- columns.
create or replace function ingest_private.embedding_of(p_index_version integer)
returns table (provider text, sends_dimensions boolean, document_prefix text, query_prefix text)
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select version.provider, version.sends_dimensions, version.document_prefix,
           version.query_prefix
      from ingest.index_versions as version where version.id = p_index_version
$$;

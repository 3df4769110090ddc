-- reading_of: how the published version was read.
create or replace function ingest_private.reading_of(
    p_published ingest_private.published_versions)
returns ingest_private.reading
language sql immutable set search_path = pg_catalog, pg_temp as $$
    select row(p_published.reader_rules, p_published.chunk_rules,
               p_published.extras)::ingest_private.reading
$$;

-- as_good: whether a reading is at least as good as another one: its rules are at least as new, and
-- it has every extra of the other one.
create or replace function ingest_private.as_good(
    p_reading ingest_private.reading, p_other ingest_private.reading)
returns boolean
language sql immutable set search_path = pg_catalog, pg_temp as $$
    select p_reading.reader_rules >= p_other.reader_rules
       and p_reading.chunk_rules >= p_other.chunk_rules
       and p_reading.extras @> p_other.extras
$$;

-- offer_of: how a worker reads. An unknown worker, or a worker of a former release, gets the lowest
-- rules and no extras.
create or replace function ingest_private.offer_of(p_worker_id text)
returns ingest_private.reading
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select row(coalesce(max(worker.reader_rules), 0), coalesce(max(worker.chunk_rules), 0),
               coalesce(max(worker.extras), '{}'))::ingest_private.reading
      from ingest_private.workers as worker where worker.id = p_worker_id
$$;

-- offers: how the live workers that serve an index version read.
create or replace function ingest_private.offers(p_index_version integer, p_isolated boolean)
returns setof ingest_private.reading
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select distinct coalesce(worker.reader_rules, 0), coalesce(worker.chunk_rules, 0),
                    coalesce(worker.extras, '{}')
      from ingest_private.workers as worker
           join ingest.index_versions as target on target.id = p_index_version
     where worker.isolated = p_isolated and not worker.draining
       and worker.expires_at > clock_timestamp()
       and ingest_private.serves(worker.providers, target)
$$;

-- reads_worse: whether a worker must leave a job to others, so that a worse reading never replaces
-- a better reading of the same version of the file. A worker that reads worse than the document was
-- read does not read it again; and no worker does while a better one is live. A job of another
-- kind, for the same version of the file, goes to a worker that reads as well as before, if such a
-- worker is live.
create or replace function ingest_private.reads_worse(
    p_job_id uuid, p_worker_id text, p_isolated boolean)
returns boolean
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
    v_job ingest.jobs;
    v_read ingest_private.reading;
    v_offer constant ingest_private.reading := ingest_private.offer_of(p_worker_id);
    v_offers ingest_private.reading[];
    v_is_again boolean;
begin
    select * into strict v_job from ingest.jobs where id = p_job_id;
    select published.reader_rules, published.chunk_rules, published.extras into v_read
      from ingest_private.published_versions as published
     where published.document_id = v_job.document_id
       and published.storage_version = v_job.storage_version
       and published.index_version
           in (v_job.index_version, (select id from ingest.index_versions where state = 'active'))
     order by published.index_version = v_job.index_version desc limit 1;
    -- The document is not published yet, or its chunks are used without reading.
    if not found or exists (select from ingest_private.reindex_source(p_job_id)) then
        return false;
    end if;
    v_is_again := ingest_private.is_read_again(v_job);
    v_offers := array(select offer
                        from ingest_private.offers(v_job.index_version, p_isolated) as offer);
    if not ingest_private.as_good(v_offer, v_read) then
        return v_is_again
            or exists (select from unnest(v_offers) as other
                        where ingest_private.as_good(other, v_read));
    end if;
    return v_is_again
       and exists (select from unnest(v_offers) as other
                    where ingest_private.as_good(other, v_offer)
                      and not ingest_private.as_good(v_offer, other));
end
$$;

-- is_read_again: whether a job reads a version of a file again that its index version already has.
-- Clients do not see such a job in the document's status.
create or replace function ingest_private.is_read_again(p_job ingest.jobs)
returns boolean
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select p_job.kind = 'reindex'
       and exists (select from ingest_private.published_versions as published
                    where published.document_id = p_job.document_id
                      and published.index_version = p_job.index_version
                      and published.storage_version = p_job.storage_version)
$$;

-- leave_to_others: dispatched -> waiting: for a few seconds if another worker may take the job,
-- else for a minute. The caller has locked its place in the queue.
create or replace function ingest_private.leave_to_others(p_job_id uuid, p_isolated boolean)
returns void
language sql security definer set search_path = pg_catalog, pg_temp as $$
    update ingest_private.job_queue as entry
       set phase = 'waiting',
           due_at = clock_timestamp() + case
               when exists (select from ingest_private.workers as other
                             where other.isolated = p_isolated and not other.draining
                               and other.expires_at > clock_timestamp()
                               and not ingest_private.reads_worse(
                                           p_job_id, other.id, p_isolated))
               then interval '3 seconds' else interval '1 minute' end
     where entry.job_id = p_job_id
$$;

-- note_tried: this worker reads a document again, under the name that it has now. The caller has
-- locked the document.
create or replace function ingest_private.note_tried(p_job_id uuid, p_worker_id text)
returns void
language sql security definer set search_path = pg_catalog, pg_temp as $$
    update ingest_private.published_versions as published
       set tried = ingest_private.offer_of(p_worker_id),
           tried_named_type = ingest_private.named_type(document.object_name),
           tried_at = clock_timestamp()
      from ingest.jobs as job
           join ingest.documents as document on document.id = job.document_id
     where job.id = p_job_id and ingest_private.is_read_again(job)
       and published.document_id = job.document_id
       and published.index_version = job.index_version
       and published.storage_version = job.storage_version
$$;

-- note_version_failures: of jobs that failed or were cancelled, those that were to fill an index version:
-- it does without these documents until fill_version may try them again. Jobs that read again what a
-- version has leave no note.
create or replace function ingest_private.note_version_failures(p_job_ids uuid[])
returns void
language sql security definer
set search_path = pg_catalog, pg_temp set enable_seqscan = off as $$
    insert into ingest_private.version_failures as noted (
               document_id, index_version, storage_version, error_code, tried)
    select job.document_id, job.index_version, job.storage_version,
           case job.state when 'failed' then coalesce(job.error_code, 'internal_error')
                else 'cancelled' end,
           ingest_private.offer_of((
               select attempt.worker_id from ingest_private.attempts as attempt
                where attempt.job_id = job.id order by attempt.token desc limit 1))
      from ingest.jobs as job
           join ingest.documents as document
             on document.id = job.document_id and document.storage_version = job.storage_version
     where job.id = any(p_job_ids) and job.kind = 'reindex' and job.state in ('failed', 'cancelled')
       and ingest_private.lacks(job.index_version, document)
        on conflict (document_id, index_version) do update
           set storage_version = excluded.storage_version, error_code = excluded.error_code,
               tried = excluded.tried, failed_at = clock_timestamp()
$$;

-- is_given_up: whether an index version does without this version of a document: its job failed, and no
-- live worker reads better than the one that tried; or it was cancelled.
create or replace function ingest_private.is_given_up(
    p_index_version integer, p_document ingest.documents, p_offers ingest_private.reading[])
returns boolean
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select exists (
        select from ingest_private.version_failures as noted
         where noted.document_id = p_document.id and noted.index_version = p_index_version
           and noted.storage_version = p_document.storage_version
           and (noted.error_code = 'cancelled' or not exists (
                select from unnest(p_offers) as offer
                 where ingest_private.as_good(offer, noted.tried)
                   and not ingest_private.as_good(noted.tried, offer))))
$$;

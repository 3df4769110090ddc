-- missing_from: documents that the active version has in their present version, and that this
-- version lacks, p_limit at most.
create or replace function ingest_private.missing_from(p_index_version integer, p_limit integer)
returns table (document_id uuid, bucket_id text, object_name text)
language sql stable security definer set search_path = pg_catalog, pg_temp set jit = off as $$
    select document.id, document.bucket_id, document.object_name
      from ingest_private.published_versions as current
           join ingest.documents as document
             on document.id = current.document_id
            and document.storage_version = current.storage_version
           left join ingest_private.published_versions as published
             on published.document_id = current.document_id
            and published.index_version = p_index_version
            and published.storage_version = current.storage_version
     where current.index_version = (select id from ingest.index_versions where state = 'active')
       and published.document_id is null
     limit p_limit
$$;

-- missing_since: whether missing_from would name a document that was published in the active version at
-- this time or later. Looks at those alone.
create or replace function ingest_private.missing_since(
    p_index_version integer, p_active integer, p_since timestamptz)
returns boolean
language sql stable security definer
set search_path = pg_catalog, pg_temp set enable_hashjoin = off set enable_mergejoin = off
set enable_seqscan = on set jit = off as $$
    select exists (
        select from ingest_private.published_versions as current
               join ingest.documents as document
                 on document.id = current.document_id
                and document.storage_version = current.storage_version
         where current.index_version = p_active and current.published_at >= p_since
           and ingest_private.lacks(p_index_version, document))
$$;

-- activate_index_version: building or retired -> active, and the active one -> retired. For the
-- schema's owner. Returns false, and changes nothing, if documents are missing and p_anyway is
-- false. The caller may have compared before with the version p_active, and found at p_checked_at
-- that nothing is missing. Then only documents that were published since then are compared, while
-- nobody can publish. From the commit on, the new version answers searches, and uploads go there.
-- What it lacks is made at the priority of uploads, before and after. The former version stays
-- filled for p_drop_after (see end_due_versions), by default until it is dropped by hand.
-- Waits up to 30 s for publishes under way, and delays later ones, so nothing is ever published in
-- a version that is no longer active. Waiting and running jobs are superseded by jobs for the new
-- version. Uploads go on meanwhile. An upload that saw the former version as active, and commits
-- after this, is sent to the new version when its job is claimed, or by fill_index_versions.
-- Versions are locked FOR NO KEY UPDATE: every new job refers to its version and holds the document
-- that this waits for.
create or replace function ingest_private.activate_index_version(
    p_index_version integer, p_anyway boolean, p_active integer default null,
    p_checked_at timestamptz default null, p_drop_after interval default null)
returns boolean
language plpgsql
set search_path = pg_catalog, pg_temp set lock_timeout = '30s' set enable_seqscan = off as $$
declare
    -- More than the 15 minutes that a publish may take, because a publish notes its time before it
    -- commits.
    c_publish constant interval := '20 minutes';
    v_version ingest.index_versions;
    v_active integer;
begin
    perform pg_advisory_xact_lock(hashtext('ingest_private.activate_index_version'));
    select id into v_active from ingest.index_versions where state = 'active' for no key update;
    select * into v_version from ingest.index_versions where id = p_index_version for no key update;
    if v_version.state is null or v_version.state not in ('building', 'retired') then
        raise exception 'index version % is %', p_index_version,
                coalesce(v_version.state, 'not there')
            using errcode = 'object_not_in_prerequisite_state';
    end if;
    if not p_anyway and (case when v_active = p_active
            then ingest_private.missing_since(p_index_version, v_active, p_checked_at - c_publish)
            else exists (select from ingest_private.missing_from(p_index_version, 1)) end) then
        return false;
    end if;
    update ingest.index_versions
       set state = 'retired', retired_at = clock_timestamp(), is_hurried = false,
           drop_at = clock_timestamp() + p_drop_after
     where id = v_active;
    update ingest.index_versions
       set state = 'active', retired_at = null, drop_at = null, is_paused = false,
           is_hurried = false
     where id = p_index_version;
    perform ingest_private.ingest_elsewhere(v_active, p_index_version);
    perform ingest_private.hurry_jobs(p_index_version);
    return true;
end
$$;

-- hurry_index_version: from now on, jobs that fill a version beside the active one go like uploads. For
-- the schema's owner. Nothing happens to a version that is active, dropped or unknown. Ends when the
-- version becomes active, or retires.
create or replace function ingest_private.hurry_index_version(p_index_version integer)
returns void
language plpgsql set search_path = pg_catalog, pg_temp set lock_timeout = '10s' as $$
begin
    update ingest.index_versions set is_hurried = true
     where id = p_index_version and state in ('building', 'retired');
    if found then
        perform ingest_private.hurry_jobs(p_index_version);
    end if;
end
$$;

-- hurry_jobs: queued jobs that fill this version -> the priority and the slots of uploads. Not those
-- that buy in bulk: their texts lie in batches. Not those that read again what the version has. Skips
-- locked jobs, which somebody claims or ends.
create or replace function ingest_private.hurry_jobs(p_index_version integer)
returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp set lock_timeout = '10s' set enable_seqscan = off as $$
declare
    v_jobs uuid[] := array(
        select job.id from ingest.jobs as job
         where job.index_version = p_index_version and job.kind = 'reindex'
           and job.state = 'queued'
           and exists (select from ingest.documents as document
                        where document.id = job.document_id
                          and ingest_private.lacks(p_index_version, document))
         order by job.id for no key update skip locked);
begin
    with hurried as (
        update ingest_private.job_queue as entry set priority = 5, is_reindex = false
         where entry.job_id = any(v_jobs) and entry.is_reindex and not entry.is_bulk
        returning entry.job_id)
    update ingest.jobs as job set priority = 5, updated_at = clock_timestamp()
      from hurried where job.id = hurried.job_id;
end
$$;

-- ingest_elsewhere: the unfinished jobs of kind ingest of one version -> superseded; a job in
-- another version follows each. Skips locked documents: fill_index_versions comes back to them.
create or replace function ingest_private.ingest_elsewhere(p_from integer, p_to integer)
returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp set enable_seqscan = off as $$
declare
    v_document_id uuid;
begin
    for v_document_id in
        select document.id from ingest.documents as document
         where document.id in (select job.document_id from ingest.jobs as job
                                where job.index_version = p_from and job.kind = 'ingest'
                                  and job.state in ('queued', 'running'))
         order by document.id for no key update skip locked
    loop
        perform ingest_private.ingest_in(job, p_to)
           from ingest.jobs as job
          where job.document_id = v_document_id and job.index_version = p_from
            and job.kind = 'ingest' and job.state in ('queued', 'running');
    end loop;
end
$$;

-- ingest_in: makes a job that ingests the document of a job in this version, which is the active
-- one. If the job is unfinished, all unfinished jobs of the document are superseded. If the job was
-- asked to stop, the new job is cancelled at once. The caller has locked the document.
create or replace function ingest_private.ingest_in(p_job ingest.jobs, p_index_version integer)
returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    v_is_in_full constant boolean := coalesce((
        select in_full from ingest_private.job_queue where job_id = p_job.id), false);
    v_is_cancelled boolean;
    v_job_id uuid;
begin
    if p_job.state in ('queued', 'running') then
        perform ingest_private.supersede_jobs(p_job.document_id);
    end if;
    select ingest_private.enqueue_job(
               document.id, p_index_version, 'ingest', p_job.priority, coalesce(source.weight, 1))
      into strict v_job_id
      from ingest.documents as document
           left join ingest_private.sources as source on source.id = document.source_id
     where document.id = p_job.document_id;
    update ingest_private.job_queue set in_full = v_is_in_full where job_id = v_job_id;
    update ingest.documents set status = 'pending', error_code = null, error_message = null
     where id = p_job.document_id;
    select cancel_requested into v_is_cancelled from ingest.jobs where id = p_job.id;
    if v_is_cancelled then
        perform ingest_private.request_cancel(v_job_id);
    end if;
end
$$;

-- recount_documents: writes the counts of the active version to p_limit documents after an id.
-- Returns where to go on; null at the end. Skips locked documents.
create or replace function ingest_private.recount_documents(p_after uuid, p_limit integer)
returns uuid
language plpgsql security definer
set search_path = pg_catalog, pg_temp set enable_seqscan = off as $$
declare
    v_ids uuid[];
begin
    v_ids := array(
        select document.id from ingest.documents as document
         where document.id > coalesce(p_after, '00000000-0000-0000-0000-000000000000')
         order by document.id limit p_limit);
    update ingest.documents as document
       set chunk_count = published.chunk_count, token_count = published.token_count,
           quarantined_chunks = published.quarantined_chunks, updated_at = clock_timestamp()
      from ingest_private.published_versions as published
     where published.document_id = document.id
       and published.index_version = (select id from ingest.index_versions
                                       where state = 'active')
       and published.chunk_count is not null
       and document.id in (
           select other.id
             from ingest.documents as other
                  join ingest_private.published_versions as current
                    on current.document_id = other.id
            where other.id = any(v_ids)
              and current.index_version = (select id from ingest.index_versions
                                            where state = 'active')
              and (other.chunk_count, other.token_count, other.quarantined_chunks)
                  is distinct from
                  (current.chunk_count, current.token_count, current.quarantined_chunks)
              for no key update of other skip locked);
    return case when cardinality(v_ids) = p_limit then v_ids[p_limit] end;
end
$$;

-- retire_for_good: building or retired -> dropped; p_states says which of these. No jobs are made for a
-- dropped version, and it answers no search. Its unfinished jobs become superseded; call this twice,
-- because a publish may make another job during the first call. Waits for publishes under way. The
-- caller drops the tables.
create or replace function ingest_private.retire_for_good(
    p_index_version integer, p_states text[] default array['building', 'retired'])
returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp set lock_timeout = '10s' as $$
declare
    v_state text;
begin
    perform pg_advisory_xact_lock(hashtext('ingest_private.activate_index_version'));
    update ingest.index_versions
       set state = 'dropped', retired_at = clock_timestamp(), drop_at = null, is_hurried = false
     where id = p_index_version and state = any(p_states) and state <> 'active'
    returning state into v_state;
    if v_state is null then
        select state into v_state from ingest.index_versions where id = p_index_version;
        if v_state is distinct from 'dropped' then
            raise exception 'index version % is %', p_index_version, coalesce(v_state, 'not there')
                using errcode = 'object_not_in_prerequisite_state';
        end if;
    end if;
    perform ingest_private.ingest_elsewhere(p_index_version, version.id)
       from ingest.index_versions as version where version.state = 'active';
    perform from ingest.documents
      where id in (select document_id from ingest.jobs
                    where index_version = p_index_version and state in ('queued', 'running'))
      order by id for no key update;
    perform ingest_private.end_jobs(array(
        select id from ingest.jobs
         where index_version = p_index_version and state in ('queued', 'running')
         order by id for no key update), 'superseded');
end
$$;

-- forget_version_rows: deletes p_limit rows of a dropped version from tables that all versions
-- share. Returns how many; 0: none is left.
create or replace function ingest_private.forget_version_rows(
    p_index_version integer, p_limit integer)
returns integer
language plpgsql security definer
set search_path = pg_catalog, pg_temp set lock_timeout = '10s' set enable_seqscan = off as $$
declare
    v_table text;
    v_rows integer;
begin
    if not exists (select from ingest.index_versions
                    where id = p_index_version and state = 'dropped') then
        raise exception 'index version % is not dropped', p_index_version
            using errcode = 'object_not_in_prerequisite_state';
    end if;
    foreach v_table in array array['ingest.chunk_lexemes', 'ingest_private.staged_chunks',
                                   'ingest_private.kept_embeddings',
                                   'ingest_private.quarantine',
                                   'ingest_private.published_versions',
                                   'ingest_private.version_failures',
                                   'ingest_private.chunk_fills'] loop
        execute format('delete from %1$s where ctid = any(array(
                            select ctid from %1$s where index_version = $1 limit $2))', v_table)
          using p_index_version, p_limit;
        get diagnostics v_rows = row_count;
        if v_rows > 0 then
            return v_rows;
        end if;
    end loop;
    return 0;
end
$$;

-- end_due_versions: retired versions whose time is over -> dropped, and p_limit of their rows in tables
-- that all versions share are deleted. The same for dropped versions whose tables are still there. The
-- tables are left to docmill reindex drop, because workers have no right to drop them; troubles()
-- names such versions. Returns how many rows were deleted; 0: none is left.
create or replace function ingest_private.end_due_versions(p_limit integer default 5000)
returns integer
language plpgsql security definer
set search_path = pg_catalog, pg_temp set lock_timeout = '10s' as $$
declare
    v_id integer;
    v_rows integer;
begin
    for v_id in
        select version.id from ingest.index_versions as version
         where version.state = 'retired' and version.drop_at <= clock_timestamp()
            or ingest_private.has_tables_left(version)
         order by version.id
    loop
        perform ingest_private.retire_for_good(v_id, array['retired']);
        v_rows := ingest_private.forget_version_rows(v_id, p_limit);
        if v_rows > 0 then
            return v_rows;
        end if;
    end loop;
    return 0;
end
$$;

-- Finds the documents that an index version beside the active one still lacks. A version is filled
-- while it is built, and stays filled while it is retired, so that it can become active again at
-- any time.

-- enqueue_for_others: makes jobs that bring the document of this job to the other versions; this
-- job is about to publish it in the active version. The caller holds the locks of lock_for_publish.
-- A paused version gets its jobs from fill_index_versions when it is resumed. If the active version
-- lacked the document, versions that have it keep it as it is.
create or replace function ingest_private.enqueue_for_others(p_job ingest.jobs)
returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    v_version ingest.index_versions;
    v_is_missing constant boolean := (
        select ingest_private.lacks(p_job.index_version, document)
          from ingest.documents as document where document.id = p_job.document_id);
begin
    for v_version in
        select version.* from ingest.index_versions as version
         where version.state in ('building', 'retired') and not version.is_paused
           and not exists (select from ingest.jobs as job
                            where job.document_id = p_job.document_id
                              and job.index_version = version.id
                              and job.state in ('queued', 'running'))
           and not exists (select from ingest_private.published_versions as published
                            where published.document_id = p_job.document_id
                              and published.index_version = version.id
                              and published.storage_version = p_job.storage_version
                              and (v_is_missing or published.published_at > p_job.created_at))
         order by version.id
    loop
        perform ingest_private.enqueue_job(
            p_job.document_id, v_version.id, 'reindex',
            ingest_private.filling_priority(v_version), 1);
    end loop;
end
$$;

-- filling_priority: of jobs that fill a version. Nobody finds what the active version lacks, and somebody
-- waits for a version that is hurried: their jobs go like uploads. Others go last.
create or replace function ingest_private.filling_priority(p_version ingest.index_versions)
returns smallint
language sql immutable set search_path = pg_catalog, pg_temp as $$
    select (case when p_version.state = 'active' or p_version.is_hurried then 5 else 9
            end)::smallint
$$;

-- lacks: whether an index version lacks the present version of a document.
create or replace function ingest_private.lacks(p_index_version integer, p_document ingest.documents)
returns boolean
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select not exists (select from ingest_private.published_versions as published
                        where published.document_id = p_document.id
                          and published.index_version = p_index_version
                          and published.storage_version = p_document.storage_version)
$$;

-- fill_index_versions: makes jobs for documents that a version lacks and the active version has, as
-- long as the version has fewer than p_jobs unfinished jobs, without those in a batch. The active version itself gets jobs
-- for ready documents that it lacks, in case it was made active although they were missing. Returns
-- how many jobs were made. A crash repeats no work: a version that has a document gets no job, and
-- what failed for this version of a document is not tried again, unless a worker reads better than the
-- one that tried. Looks at p_page documents at most,
-- in order of id, and goes on from there the next time; at the end it begins again. First sends
-- jobs that came too late for activate_index_version to the active version.
create or replace function ingest_private.fill_index_versions(
    p_jobs integer default null, p_page integer default 2000)
returns integer
language plpgsql security definer
set search_path = pg_catalog, pg_temp set lock_timeout = '2s'
set enable_seqscan = off set jit = off as $$
declare
    v_version ingest.index_versions;
    v_active constant integer := (select id from ingest.index_versions where state = 'active');
    v_had_another constant boolean := exists (
        select from ingest.index_versions where retired_at is not null);
    v_jobs constant integer := coalesce(p_jobs, (
        select greatest(coalesce(sum(slots), 0), 8) from ingest_private.workers
         where not isolated and expires_at > clock_timestamp()));
    v_made integer := 0;
    -- Jobs in a batch do not count, as long as no more texts wait than a few batches take.
    v_has_many constant boolean := (
        select count(*) > 200000 from (
            select from ingest_private.bulk_texts limit 200001) as texts);
begin
    perform ingest_private.ingest_elsewhere(version.id, v_active)
       from ingest.index_versions as version where version.state in ('building', 'retired');
    for v_version in
        select * from ingest.index_versions
         where state in ('building', 'retired') and not is_paused
            or state = 'active' and v_had_another
         order by id for no key update skip locked
    loop
        v_made := v_made + ingest_private.fill_version(v_version, v_active, v_jobs - (
            select count(*) from (
                select from ingest.jobs as job
                 where job.index_version = v_version.id and job.kind = 'reindex'
                   and job.state in ('queued', 'running')
                   and (job.hold_reason is distinct from 'in_batch' or v_has_many)
                 limit v_jobs) as unfinished)::integer,
            p_page);
    end loop;
    return v_made;
end
$$;

-- fill_version: does this for one version that the caller has locked, p_room jobs at most.
create or replace function ingest_private.fill_version(
    p_version ingest.index_versions, p_active integer, p_room integer, p_page integer)
returns integer
language plpgsql security definer
set search_path = pg_catalog, pg_temp set enable_seqscan = off set jit = off as $$
declare
    v_document ingest.documents;
    v_page uuid[];
    v_id uuid;
    v_last uuid;
    v_made integer := 0;
    v_offers constant ingest_private.reading[] := array(
        select offer from ingest_private.offers(p_version.id, false) as offer);
begin
    if p_room <= 0 then
        return 0;
    end if;
    v_page := array(
        select document.id from ingest.documents as document
         where document.id > coalesce(p_version.filled_to, '00000000-0000-0000-0000-000000000000')
         order by document.id limit p_page);
    foreach v_id in array v_page loop
        v_last := v_id;
        select * into v_document from ingest.documents as document
         where document.id = v_id and ingest_private.lacks(p_version.id, document)
           and case when p_version.id = p_active then document.status = 'ready'
                    else not ingest_private.lacks(p_active, document) end
           and not exists (select from ingest.jobs as job
                            where job.document_id = document.id
                              and job.index_version = p_version.id
                              and job.state in ('queued', 'running'))
           and not ingest_private.is_given_up(p_version.id, document, v_offers)
           for no key update skip locked;
        continue when not found;
        perform ingest_private.enqueue_job(
            v_id, p_version.id, 'reindex', ingest_private.filling_priority(p_version), 1);
        v_made := v_made + 1;
        exit when v_made >= p_room;
    end loop;
    -- A page that is not full is the last one: begin again the next time.
    update ingest.index_versions
       set filled_to = case when v_made < p_room and cardinality(v_page) < p_page then null
                            else v_last end
     where id = p_version.id;
    return v_made;
end
$$;

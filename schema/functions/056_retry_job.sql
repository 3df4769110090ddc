-- retry_job: a new queued job for the document of a job that failed or was cancelled, or whose
-- document has chunks in quarantine; the old row stays as it is. Returns the id of the new job, or
-- of a job that is already under way for the document, so asking twice does no harm. The new job
-- brings the version that Storage holds now. A job of kind ingest brings it to the index version
-- that is active now, even if another was active for the old job. Raises PT404 if there is no such
-- job, and PT409 if there is nothing to retry.
create or replace function ingest_private.retry_job(p_job_id uuid)
returns uuid
language plpgsql security definer
set search_path = pg_catalog, pg_temp set lock_timeout = '5s' as $$
declare
    v_job ingest.jobs;
    v_document ingest.documents;
    v_version ingest.index_versions;
    v_latest ingest.jobs;
    v_new_id uuid;
begin
    select * into v_job from ingest.jobs where id = p_job_id;
    if not found then
        raise exception 'there is no such job' using errcode = 'PT404';
    end if;
    select * into v_document from ingest.documents
     where id = v_job.document_id for no key update;
    if not found then
        raise exception 'the file of this job is gone'
            using errcode = 'PT409', hint = 'Upload it again.';
    end if;
    select * into v_version from ingest.index_versions as version
     where case v_job.kind when 'ingest' then version.state = 'active'
                           else version.id = v_job.index_version and version.state <> 'dropped' end;
    if not found then
        raise exception 'the index version of this job was dropped'
            using errcode = 'PT409', hint = 'Nothing is searched there any more.';
    end if;
    -- A job that is under way, of any kind; else the newest job of this kind. If reading a document
    -- again failed, this says nothing about its upload.
    select * into v_latest from ingest.jobs
     where document_id = v_document.id
       and case when finished_at is null then index_version = v_version.id
                else kind = v_job.kind
                     and (kind = 'ingest' or index_version = v_version.id) end
     order by finished_at is null desc, created_at desc, id limit 1;
    if found and v_latest.finished_at is null then
        return v_latest.id;
    end if;
    if v_latest.state = 'succeeded' and v_document.quarantined_chunks = 0 then
        raise exception 'there is nothing to retry: the document is searchable'
            using errcode = 'PT409', hint = 'Upload the file again to have it read anew.';
    end if;
    select ingest_private.enqueue_job(
               v_document.id, v_version.id, v_job.kind,
               coalesce(source.priority, v_job.priority), coalesce(source.weight, 1))
      into v_new_id
      from (select) as always
           left join ingest_private.sources as source on source.id = v_document.source_id;
    update ingest.documents
       set status = 'pending', error_code = null, error_message = null,
           updated_at = clock_timestamp()
     where id = v_document.id and latest_job_id = v_new_id;
    return v_new_id;
end
$$;

-- is_stuck: whether a document's version is neither published nor failed, and has no job for this:
-- somebody has deleted the job.
create or replace function ingest_private.is_stuck(p_document ingest.documents)
returns boolean
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select p_document.status <> 'failed'
       and not exists (select from ingest_private.published_versions as published
                        where published.document_id = p_document.id
                          and published.storage_version = p_document.storage_version
                          and published.index_version
                              = (select id from ingest.index_versions where state = 'active'))
       and not exists (select from ingest.jobs as job
                        where job.document_id = p_document.id
                          and job.index_version
                              = (select id from ingest.index_versions where state = 'active')
                          and job.state in ('queued', 'running'))
$$;

-- What an index version could not be filled with: kept although jobs are pruned.

create table ingest_private.version_failures (
    document_id uuid not null,
    index_version integer not null references ingest.index_versions (id),
    storage_version text not null,
    -- `cancelled` where somebody wanted no such job.
    error_code text not null,
    -- How the worker reads that tried it: one that reads better tries again.
    tried ingest_private.reading not null default row(0, 0, '{}')::ingest_private.reading,
    failed_at timestamptz not null default clock_timestamp(),
    primary key (document_id, index_version)
);
create index version_failures_index_version
    on ingest_private.version_failures (index_version);
comment on table ingest_private.version_failures is
    'Documents that an index version lacks because their jobs ended without success.';

insert into ingest_private.version_failures (
           document_id, index_version, storage_version, error_code, tried, failed_at)
select distinct on (job.document_id, job.index_version)
       job.document_id, job.index_version, job.storage_version,
       case job.state when 'failed' then coalesce(job.error_code, 'internal_error')
            else 'cancelled' end,
       row(0, 0, '{}')::ingest_private.reading, job.finished_at
  from ingest.jobs as job
 where job.kind = 'reindex' and job.state in ('failed', 'cancelled') and job.document_id is not null
 order by job.document_id, job.index_version, job.finished_at desc;

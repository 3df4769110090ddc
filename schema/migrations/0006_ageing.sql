-- Ageing lifts one job of each owner at a time: see age_jobs.

alter table ingest_private.job_queue add column lifted boolean not null default false;
comment on column ingest_private.job_queue.lifted is
    'Waited so long that it runs with a higher priority than its source has.';
-- The one that is lifted, and the one that has waited longest, of each owner.
create index job_queue_lifted on ingest_private.job_queue (fairness_key) where lifted;
create index job_queue_oldest on ingest_private.job_queue (fairness_key, aged_at)
    where phase = 'ready' and priority > 0;

-- It takes no limit any more; both forms side by side would be one too many.
drop function if exists ingest_private.age_jobs(integer);

-- Nothing waits for ever: neither behind a backlog, nor for what will never be.

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

-- What other runs met lately, and what a worker tried by itself: see is_hopeless.
create index attempts_finished on ingest_private.attempts (finished_at)
    where finished_at is not null;
create table ingest_private.probes (
    dependency text not null check (dependency in ('storage', 'provider')),
    tried_at timestamptz not null default clock_timestamp(),
    served boolean not null,
    primary key (dependency, tried_at)
);
comment on table ingest_private.probes is
    'Whether a dependency served when a worker tried it by itself.';

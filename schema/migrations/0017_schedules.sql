-- What runs at certain times, and when it is due next.

create table ingest_private.schedules (
    name text primary key,
    -- A cron expression; null: it is off, and what is known of its last run stays.
    expression text,
    time_zone text,
    next_due_at timestamptz,
    -- Of the run that goes on, or whose process died, or that failed: another may begin after it.
    token bigint,
    leased_until timestamptz,
    last_started_at timestamptz,
    last_finished_at timestamptz,
    last_outcome text check (last_outcome in ('done', 'failed')),
    last_error text,
    -- What the last run met or made jobs for; and the jobs, which tell what that has cost.
    documents integer,
    job_ids uuid[] not null default '{}',
    constraint schedules_due check (
        (expression is null) = (next_due_at is null) and (expression is null) = (time_zone is null)),
    constraint schedules_lease check ((token is null) = (leased_until is null))
);
comment on table ingest_private.schedules is
    'When each schedule is due next, and what its last run did.';

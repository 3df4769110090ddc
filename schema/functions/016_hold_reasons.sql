-- hold_reasons: the list of hold reasons. `is_stored`: the reason is written into ingest.jobs;
-- explain_job finds the others when it is called. `python -m tests.support.hold_table` copies
-- `set_when` and `ends` into docs/job_states.md. A new reason needs a row here, and no migration.
create or replace function ingest_private.hold_reasons()
returns table (reason text, is_stored boolean, set_when text, ends text)
language sql immutable set search_path = pg_catalog, pg_temp as $$
    values
    ('rate_limited', true,
     'the embedding provider asked to slow down',
     'at `next_attempt_at`'),
    ('breaker_open', true,
     'the job met an error that every job would meet: a key that is refused, or a model or a quota that is missing',
     'when one job is embedded that was tried at `next_attempt_at` or by a worker that has just started; until then no other job is tried'),
    ('owner_budget_exceeded', true,
     'a budget is used up, of its owner or of all ([What it costs](costs.md))',
     'at `next_attempt_at`, when the next day or month begins (UTC), or when the budget is raised'),
    ('paused', true,
     'an operator paused everything, its source or its owner',
     'when the operator resumes it'),
    ('activating', true,
     'an operator makes another index version active ([Reindex](reindex.md#from-one-to-the-other))',
     'at `next_attempt_at`, after 30 s at most, or when the other version is active'),
    ('in_batch', true,
     'its texts wait for a batch of the provider, or are in one ([In bulk](bulk.md))',
     'when the batch is answered, within a day as a rule'),
    ('no_worker', false,
     'workers run, and none of them has the key of the provider that the job needs',
     'when a worker with that key starts')
$$;

-- is_hold_reason: whether a job may have this reason; the check constraint of ingest.jobs asks it.
create or replace function ingest_private.is_hold_reason(p_reason text)
returns boolean
language sql immutable set search_path = pg_catalog, pg_temp as $$
    select exists (
        select from ingest_private.hold_reasons() where reason = p_reason and is_stored)
$$;

-- The list of hold reasons is one function, which a new reason changes without a migration: see
-- hold_reasons in schema/functions.

-- Stands in until the files of functions are applied, later in the same transaction.
create function ingest_private.is_hold_reason(p_reason text)
returns boolean
language sql immutable as 'select p_reason is not null';

alter table ingest.jobs
    drop constraint jobs_hold_reason_check,
    add constraint jobs_hold_reason_check
        check (hold_reason is null or ingest_private.is_hold_reason(hold_reason));

-- Queue, leases, workers, staging: nothing here is for clients.

-- One row per unfinished job. Apart from ingest.jobs, so that dispatching makes no noise on
-- the rows that clients poll.
create table ingest_private.job_queue (
    job_id uuid primary key references ingest.jobs (id) on delete cascade,
    -- ready: may be dispatched; waiting: not before due_at; dispatched: a hint was sent, and
    -- is taken for lost at due_at; running: claimed.
    phase text not null default 'ready'
        check (phase in ('ready', 'waiting', 'dispatched', 'running')),
    due_at timestamptz,
    isolated boolean not null default false,
    priority smallint not null,
    rank double precision not null,
    fairness_key text not null,
    -- Failures that count against max_attempts, deaths of the worker, deaths when alone.
    failures smallint not null default 0,
    crashes smallint not null default 0,
    isolated_crashes smallint not null default 0 check (isolated_crashes between 0 and 2),
    aged_at timestamptz not null default clock_timestamp(),
    constraint job_queue_due check ((phase in ('waiting', 'dispatched')) = (due_at is not null))
) with (fillfactor = 70);
comment on table ingest_private.job_queue is 'Order and readiness of unfinished jobs.';
create index job_queue_ready
    on ingest_private.job_queue (isolated, priority, rank) where phase = 'ready';
create index job_queue_due
    on ingest_private.job_queue (due_at) where phase in ('waiting', 'dispatched');
create index job_queue_aging
    on ingest_private.job_queue (aged_at) where phase = 'ready' and priority > 0;
create index job_queue_active
    on ingest_private.job_queue (priority, rank) where phase in ('dispatched', 'running');
create index job_queue_fairness on ingest_private.job_queue (fairness_key, priority, rank);

-- Fencing tokens: one sequence for all jobs, so that a later claim always has a higher token.
create sequence ingest_private.lease_token;

create table ingest_private.workers (
    id text primary key,
    slots integer not null check (slots >= 0),
    isolated boolean not null default false,
    draining boolean not null default false,
    version text not null,
    started_at timestamptz not null default clock_timestamp(),
    last_seen timestamptz not null default clock_timestamp(),
    -- With its leases: whoever has not renewed them by then is taken for dead.
    expires_at timestamptz not null
);
comment on table ingest_private.workers is 'Worker processes and when each was last heard of.';

create table ingest_private.leases (
    job_id uuid primary key references ingest.jobs (id) on delete cascade,
    token bigint not null unique,
    worker_id text not null,
    expires_at timestamptz not null
) with (fillfactor = 50);
comment on table ingest_private.leases is 'Which worker may write for which job, until when.';
create index leases_worker on ingest_private.leases (worker_id);

create table ingest_private.attempts (
    id bigint generated always as identity primary key,
    job_id uuid not null references ingest.jobs (id) on delete cascade,
    token bigint not null unique,
    attempt smallint not null,
    worker_id text not null,
    isolated boolean not null,
    started_at timestamptz not null default clock_timestamp(),
    finished_at timestamptz,
    -- How it ended.
    outcome text check (outcome in
        ('succeeded', 'failed', 'retried', 'released', 'crashed', 'superseded', 'cancelled')),
    error_code text,
    constraint attempts_outcome_iff_finished check ((finished_at is null) = (outcome is null))
);
comment on table ingest_private.attempts is 'History: one row per claim of a job.';
create index attempts_job on ingest_private.attempts (job_id);

-- Logged on purpose: what lies here was paid for. No foreign keys: COPY would lock documents.
create table ingest_private.staged_chunks (
    document_id uuid not null,
    index_version integer not null,
    content_hash bytea not null check (octet_length(content_hash) = 32),
    content text not null,
    headings text[] not null,
    token_count integer not null,
    metadata jsonb not null,
    embedding extensions.halfvec not null,
    staged_at timestamptz not null default clock_timestamp(),
    primary key (document_id, index_version, content_hash)
);
alter table ingest_private.staged_chunks alter column embedding set storage main;
comment on table ingest_private.staged_chunks is
    'Embedded chunks that search cannot see yet; a retry continues from here.';

create table ingest_private.published_versions (
    document_id uuid not null references ingest.documents (id) on delete cascade,
    index_version integer not null references ingest.index_versions (id) on delete cascade,
    storage_version text not null,
    content_sha256 bytea not null,
    -- Version of the extraction and chunking rules that made the chunks.
    pipeline_version text not null,
    published_at timestamptz not null default clock_timestamp(),
    primary key (document_id, index_version)
);
comment on table ingest_private.published_versions is
    'What was published last, so that the same bytes are not read again.';

create table ingest_private.document_windows (
    document_id uuid not null references ingest.documents (id) on delete cascade,
    content_sha256 bytea not null,
    pipeline_version text not null,
    first_page integer not null,
    last_page integer not null,
    elements bytea not null,
    created_at timestamptz not null default clock_timestamp(),
    primary key (document_id, content_sha256, pipeline_version, first_page)
);
comment on table ingest_private.document_windows is
    'Checkpoints of extraction: a retry does not extract these pages again.';

create table ingest_private.quarantine (
    document_id uuid not null references ingest.documents (id) on delete cascade,
    index_version integer not null references ingest.index_versions (id) on delete cascade,
    content_hash bytea not null,
    ordinal integer not null,
    error_code text not null,
    created_at timestamptz not null default clock_timestamp(),
    primary key (document_id, index_version, content_hash)
);
comment on table ingest_private.quarantine is
    'Chunks that the embedding provider refuses; the document is searchable without them.';

create table ingest_private.pending_events (
    id bigint generated always as identity primary key,
    object_id uuid not null,
    -- `deleted`, or the SQLSTATE that the trigger met.
    reason text not null,
    created_at timestamptz not null default clock_timestamp(),
    tried_at timestamptz
);
create index pending_events_next
    on ingest_private.pending_events (tried_at nulls first, id);
comment on table ingest_private.pending_events is
    'Changes of Storage that a trigger could not act on at once; drained every few seconds.';

-- One object of Storage as docmill sees it: what stored_objects returns.
create type ingest_private.stored_object as (
    object_id uuid, bucket_id text, object_name text, storage_version text, size_bytes bigint,
    metadata jsonb, owner_id text, source_id bigint, access text, priority smallint, weight real);

create table ingest_private.breakers (
    error_code text primary key,
    open_until timestamptz not null,
    opened_at timestamptz not null default clock_timestamp()
);
comment on table ingest_private.breakers is
    'Configuration errors that hold every job until one try succeeds.';

create table ingest_private.pauses (
    scope text not null check (scope in ('everything', 'source', 'owner')),
    -- Id of the source, sub of the owner.
    key text not null default '',
    created_at timestamptz not null default clock_timestamp(),
    primary key (scope, key),
    constraint pauses_key check ((scope = 'everything') = (key = ''))
);
comment on table ingest_private.pauses is
    'What an operator has paused: uploads are accepted, jobs wait.';

create table ingest_private.settings (
    name text primary key,
    value jsonb not null
);
comment on table ingest_private.settings is 'Facts about the installation, kept by docmill itself.';

create table ingest_private.error_codes (
    code text primary key,
    kind text not null check (kind in ('permanent', 'waiting', 'transient', 'configuration')),
    message text not null,
    remedy text not null
);
comment on table ingest_private.error_codes is
    'The fixed list of error messages: clients never see the text of an exception.';

-- "Running if and only if leased", and final states absorb. Deferred: a function may change
-- the job and its lease one after the other. Definer: at commit the user may be Storage's.
create function ingest_private.check_job_lease() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    v_job_id uuid;
    v_running boolean;
    v_leased boolean;
begin
    if tg_table_name = 'jobs' then
        v_job_id := new.id;
    elsif tg_op = 'DELETE' then
        v_job_id := old.job_id;
    else
        v_job_id := new.job_id;
    end if;
    v_leased := exists (select from ingest_private.leases where job_id = v_job_id);
    select state = 'running' into v_running from ingest.jobs where id = v_job_id;
    if coalesce(v_running, false) <> v_leased then
        raise exception 'job % must be running if and only if it is leased', v_job_id
            using errcode = 'check_violation';
    end if;
    return null;
end
$$;

create constraint trigger jobs_running_iff_leased
    after insert or update of state on ingest.jobs
    deferrable initially deferred for each row
    execute function ingest_private.check_job_lease();

create constraint trigger leases_only_while_running
    after insert or delete on ingest_private.leases
    deferrable initially deferred for each row
    execute function ingest_private.check_job_lease();

create function ingest_private.guard_job() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    raise exception 'job % is %: a finished job does not change its state', old.id, old.state
        using errcode = 'check_violation';
end
$$;

create trigger jobs_final_states_absorb
    before update of state on ingest.jobs for each row
    when (old.finished_at is not null and new.state is distinct from old.state)
    execute function ingest_private.guard_job();

-- What clients poll: one row per object of Storage, one row per piece of work on it.

create table ingest_private.sources (
    id bigint generated always as identity primary key,
    bucket_id text not null,
    -- Objects whose name starts with this; the longest matching prefix wins.
    prefix text not null default '',
    -- uploader: storage.objects.owner_id; folder:N: the N-th folder of the name; fixed:SUB.
    owner_from text not null default 'uploader'
        check (owner_from ~ '^(uploader|folder:[1-9][0-9]?|fixed:.+)$'),
    -- owner: its owner only; inherit: whoever may read the object under Storage's policies.
    access text not null default 'owner' check (access in ('owner', 'inherit')),
    priority smallint not null default 5 check (priority between 0 and 9),
    weight real not null default 1 check (weight > 0 and weight <= 1000),
    max_bytes bigint check (max_bytes > 0),
    created_at timestamptz not null default now(),
    -- Removed, but not forgotten: nothing new is ingested, what is searchable stays until its file
    -- changes.
    retired_at timestamptz,
    unique (bucket_id, prefix)
);
comment on table ingest_private.sources is
    'Which buckets and prefixes are ingested, and who owns what is found there.';

create table ingest.index_versions (
    id integer generated always as identity primary key,
    model text not null,
    dimensions integer not null check (dimensions between 1 and 4000),
    chunking jsonb not null,
    state text not null default 'building' check (state in ('building', 'active', 'retired')),
    created_at timestamptz not null default now()
);
comment on table ingest.index_versions is
    'A model, its dimensions and a chunking: chunks of different index versions are never mixed.';
-- building: being filled beside the active one; active: uploads go here and searches are
-- answered from here; retired: searchable until dropped.
create unique index index_versions_one_active
    on ingest.index_versions (state) where state = 'active';

create table ingest.documents (
    id uuid primary key default gen_random_uuid(),
    object_id uuid not null,
    bucket_id text not null,
    object_name text not null,
    owner_id text,
    source_id bigint references ingest_private.sources (id) on delete set null,
    access text not null default 'owner' check (access in ('owner', 'inherit')),
    title text,
    mime_type text,
    size_bytes bigint,
    -- pending: waits for a worker; processing: one works on it; ready: the newest version is
    -- searchable; failed: error_code says why it is not.
    status text not null default 'pending'
        check (status in ('pending', 'processing', 'ready', 'failed')),
    searchable boolean not null default false,
    storage_version text not null,
    content_sha256 bytea check (octet_length(content_sha256) = 32),
    page_count integer,
    unread_pages integer not null default 0,
    chunk_count integer not null default 0,
    quarantined_chunks integer not null default 0,
    token_count bigint not null default 0,
    metadata jsonb not null default '{}',
    error_code text,
    error_message text,
    latest_job_id uuid,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    ready_at timestamptz,
    constraint documents_object unique (object_id),
    -- Deferrable so that one statement can swap two names.
    constraint documents_name unique (bucket_id, object_name) deferrable initially immediate,
    constraint documents_failed_has_code check ((status = 'failed') = (error_code is not null)),
    constraint documents_ready_is_searchable check (status <> 'ready' or searchable)
);
comment on table ingest.documents is 'One row per object of Storage that is ingested.';
comment on column ingest.documents.status is 'State of the newest version.';
comment on column ingest.documents.searchable is
    'True when any version of the document can be found, the newest or an older one.';
create index documents_owner on ingest.documents (owner_id, created_at desc);
create index documents_source on ingest.documents (source_id, id);
create index documents_inherit on ingest.documents (owner_id) where access = 'inherit';

create table ingest.jobs (
    id uuid primary key default gen_random_uuid(),
    document_id uuid references ingest.documents (id) on delete set null,
    bucket_id text not null,
    object_name text not null,
    owner_id text,
    kind text not null default 'ingest' check (kind in ('ingest', 'reindex')),
    index_version integer not null references ingest.index_versions (id),
    storage_version text not null,
    -- queued: insert, or a run that ended without a result; running: claimed and leased;
    -- succeeded: published; failed: permanent error or attempts used up; superseded: a newer
    -- version or a delete made it pointless; cancelled: asked for. The last four absorb.
    state text not null default 'queued'
        check (state in ('queued', 'running', 'succeeded', 'failed', 'superseded', 'cancelled')),
    stage text not null default 'waiting' check (stage in
        ('waiting', 'downloading', 'extracting', 'embedding', 'publishing', 'finished')),
    pages_total integer,
    pages_done integer not null default 0,
    chunks_total integer,
    chunks_embedded integer not null default 0,
    chunks_reused integer not null default 0,
    tokens_used bigint not null default 0,
    cost_usd numeric(14, 6) not null default 0,
    attempt smallint not null default 0,
    max_attempts smallint not null default 5 check (max_attempts between 1 and 100),
    hold_reason text check (hold_reason in
        ('rate_limited', 'breaker_open', 'owner_budget_exceeded', 'paused')),
    error_code text,
    error_message text,
    priority smallint not null default 5 check (priority between 0 and 9),
    next_attempt_at timestamptz,
    cancel_requested boolean not null default false,
    created_at timestamptz not null default now(),
    started_at timestamptz,
    finished_at timestamptz,
    updated_at timestamptz not null default now(),
    constraint jobs_finished_iff_final check (
        (state in ('succeeded', 'failed', 'superseded', 'cancelled')) = (finished_at is not null)),
    constraint jobs_stage_fits_state check (case state
        when 'queued' then stage = 'waiting'
        when 'running' then stage not in ('waiting', 'finished')
        else stage = 'finished' end),
    constraint jobs_failed_has_code check (state <> 'failed' or error_code is not null),
    constraint jobs_hold_only_queued check (hold_reason is null or state = 'queued'),
    constraint jobs_attempts_bounded check (attempt between 0 and max_attempts),
    constraint jobs_chunks_bounded check (
        chunks_total is null or chunks_embedded + chunks_reused <= chunks_total)
) with (fillfactor = 80);
comment on table ingest.jobs is 'Bring one document to one version. Clients poll these rows.';
-- Also serves the lookup of a document's jobs, final ones included, through the second index.
create unique index jobs_one_active
    on ingest.jobs (document_id, index_version) where state in ('queued', 'running');
create index jobs_document on ingest.jobs (document_id, created_at desc);
create index jobs_owner on ingest.jobs (owner_id, created_at desc);
create index jobs_finished on ingest.jobs (finished_at) where finished_at is not null;

create table ingest.usage (
    owner_id text not null,
    day date not null,
    model text not null,
    tokens bigint not null default 0,
    usd numeric(14, 6) not null default 0,
    primary key (owner_id, day, model)
);
comment on table ingest.usage is 'Tokens and money spent per owner, day (UTC) and model.';

do $$
begin
    if exists (select from pg_catalog.pg_publication where pubname = 'supabase_realtime') then
        alter publication supabase_realtime add table ingest.jobs;
    end if;
end
$$;

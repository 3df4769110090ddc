-- The bulk lane: embeddings that are bought through the batches of a provider, within a day and for
-- less. See schema/functions/036_bulk.sql.

alter table ingest.index_versions
    -- Whether the jobs that fill it buy in bulk.
    add column is_bulk boolean not null default false;
alter table ingest_private.job_queue
    add column is_bulk boolean not null default false,
    -- All that the job wanted in bulk has been paid for: no budget keeps it from its publish.
    add column is_bought boolean not null default false;

create table ingest_private.bulk_names (
    bucket_id text not null,
    object_name text not null,
    noted_at timestamptz not null default clock_timestamp(),
    primary key (bucket_id, object_name)
);
comment on table ingest_private.bulk_names is
    'Names under which files are about to be uploaded whose embeddings are to be bought in bulk.';

create table ingest_private.bulk_batches (
    -- Stands in the metadata that the provider keeps: by it a batch is found again whose answer was
    -- lost.
    id uuid primary key default gen_random_uuid(),
    provider text not null,
    model text not null,
    dimensions integer not null,
    sends_dimensions boolean not null,
    purpose text not null check (purpose in ('ingest', 'reindex')),
    -- made: its texts are chosen; submitted: the provider has it, under remote_id; collecting: the
    -- provider has ended it, and what it answered is read; ended: nothing is expected of it.
    state text not null default 'made'
        check (state in ('made', 'submitted', 'collecting', 'ended')),
    -- The worker that is at it, as long as that lives.
    worker_id text,
    texts integer not null check (texts > 0),
    -- What the texts that have not been answered are expected to cost: it counts as spent.
    held_usd numeric not null check (held_usd >= 0),
    input_file_id text,
    -- From then on the provider may have it, whether remote_id is known or not.
    submitting_at timestamptz,
    remote_id text unique,
    remote_status text,
    output_file_id text,
    error_file_id text,
    -- Lines of both files that were dealt with: each is dealt with once.
    read_lines integer not null default 0 check (read_lines >= 0),
    -- Why it makes no progress, or why it came to nothing.
    error_code text,
    created_at timestamptz not null default clock_timestamp(),
    submitted_at timestamptz,
    ended_at timestamptz,
    -- The files at the provider are deleted.
    cleared_at timestamptz,
    constraint bulk_batches_known_once_submitted
        check (state in ('made', 'ended') or remote_id is not null),
    constraint bulk_batches_ended check ((state = 'ended') = (ended_at is not null))
);
comment on table ingest_private.bulk_batches is
    'Batches of texts at a provider, each from before it is submitted.';
create index bulk_batches_open on ingest_private.bulk_batches (created_at) where cleared_at is null;

create table ingest_private.bulk_texts (
    -- The provider's answer names it.
    id bigint generated always as identity primary key,
    job_id uuid not null,
    -- Null: the document is gone or has no use for it, and what is answered is dropped.
    document_id uuid,
    index_version integer not null,
    owner_id text,
    content_hash bytea not null check (octet_length(content_hash) = 32),
    content text not null,
    headings text[] not null,
    token_count integer not null,
    metadata jsonb not null,
    -- What it is expected to cost.
    usd numeric not null check (usd >= 0),
    -- waiting: for a batch; sent: in one; direct: batches did not bring it, and the next run of its
    -- job asks for it as for any other text.
    state text not null default 'waiting' check (state in ('waiting', 'sent', 'direct')),
    batch_id uuid references ingest_private.bulk_batches (id),
    -- Batches that ended without an answer for it.
    tries smallint not null default 0,
    added_at timestamptz not null default clock_timestamp(),
    unique (document_id, index_version, content_hash),
    constraint bulk_texts_sent_in_a_batch check ((state = 'sent') = (batch_id is not null))
);
comment on table ingest_private.bulk_texts is
    'Texts whose embeddings are bought in bulk, until they are staged.';
create index bulk_texts_job on ingest_private.bulk_texts (job_id, state);
create index bulk_texts_waiting on ingest_private.bulk_texts (id) where state = 'waiting';
create index bulk_texts_batch on ingest_private.bulk_texts (batch_id);

create table ingest_private.bulk_held (
    owner_id text not null,
    -- Of bulk_batches; its rows go when the batch ends.
    batch_id uuid not null,
    usd numeric not null check (usd >= 0),
    primary key (owner_id, batch_id)
);
comment on table ingest_private.bulk_held is
    'What an owner''s texts in a batch that have not been answered are expected to cost. An upload '
    'looks at it, and not at very many texts.';
create index bulk_held_batch on ingest_private.bulk_held (batch_id);

create index jobs_in_batch on ingest.jobs (id) where hold_reason = 'in_batch';

-- It takes more now; both forms side by side would be one too many.
drop function if exists ingest_private.backfill_source(bigint, text, integer);

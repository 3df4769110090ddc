-- Storage is never held up: its statements say which documents nobody may find any more, and the
-- drain removes what they were made of. See withdraw_documents and drain_withdrawn.

create table ingest_private.withdrawn (
    -- The row of documents is gone. The id never comes back: who follows has another.
    document_id uuid primary key,
    -- Whose searches have to pass over its chunks; with access `inherit`: everybody's.
    owner_id text,
    access text not null check (access in ('owner', 'inherit')),
    withdrawn_at timestamptz not null default clock_timestamp()
);
comment on table ingest_private.withdrawn is
    'Documents that nobody finds any more, and whose chunks are still to be removed.';
create index withdrawn_owner on ingest_private.withdrawn (owner_id) where access = 'owner';
create index withdrawn_inherit on ingest_private.withdrawn (document_id) where access = 'inherit';
create index withdrawn_age on ingest_private.withdrawn (withdrawn_at, document_id);

create table ingest_private.former_documents (
    former_id uuid primary key,
    document_id uuid not null
);
comment on table ingest_private.former_documents is
    'Whose embeddings a document takes over: what it was before its owner or access changed.';
create index former_documents_document on ingest_private.former_documents (document_id);

-- Deleting a document must not cost more the more was made of it, nor wait for who writes that.
alter table ingest.jobs drop constraint jobs_document_id_fkey;
alter table ingest_private.published_versions drop constraint published_versions_document_id_fkey;
alter table ingest_private.document_windows drop constraint document_windows_document_id_fkey;
alter table ingest_private.quarantine drop constraint quarantine_document_id_fkey;

alter table ingest_private.pending_events
    add column hides boolean not null default false,
    add column first_tried_at timestamptz;
comment on column ingest_private.pending_events.hides is
    'Until it is settled nobody finds the document of this object: it may be another''s by now.';
comment on column ingest_private.pending_events.tried_at is
    'When it was tried last: what fails goes behind all others.';
update ingest_private.pending_events set first_tried_at = tried_at;
create index pending_events_hiding on ingest_private.pending_events (object_id) where hides;

-- Deleting what a foreign key points to looks for those that point there.
create index jobs_index_version on ingest.jobs (index_version);
create index published_versions_index_version
    on ingest_private.published_versions (index_version);
create index quarantine_index_version on ingest_private.quarantine (index_version);

-- withdraw_documents does its work.
drop function if exists ingest_private.forget_documents(uuid[]);

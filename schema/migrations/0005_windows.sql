-- What was read of a document is kept window by window, in the form in which it was read.

drop table ingest_private.document_windows;
create table ingest_private.document_windows (
    document_id uuid not null references ingest.documents (id) on delete cascade,
    content_sha256 bytea not null check (octet_length(content_sha256) = 32),
    -- Version of the rules by which it was read.
    extraction_version text not null,
    -- From 1, in reading order.
    number integer not null check (number > 0),
    content bytea not null,
    created_at timestamptz not null default clock_timestamp(),
    primary key (document_id, content_sha256, extraction_version, number)
);
-- It comes packed.
alter table ingest_private.document_windows alter column content set storage external;
comment on table ingest_private.document_windows is
    'Checkpoints of extraction: what a run has read, a later one need not read again.';
create index document_windows_age on ingest_private.document_windows (created_at);

alter table ingest.documents add column hidden_characters integer not null default 0;
alter table ingest.documents add column unread_page_numbers integer[] not null default '{}';
comment on column ingest.documents.unread_page_numbers is
    'Which pages hold no text that could be read; of very many the first thousand.';
comment on column ingest.documents.hidden_characters is
    'Characters that a reader does not see, but a model does: a sign of text that hides.';

-- They get parameters more; both forms side by side would be one too many.
drop function if exists ingest_private.publish_document(
    uuid, bigint, bytea, text, text, text, integer, integer, bytea[], integer[], integer[],
    jsonb[], regconfig);
drop function if exists ingest_private.finish_publish(
    uuid, bytea, text, text, text, integer, integer);

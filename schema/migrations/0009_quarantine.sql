-- The quarantine is filled, with the place of each chunk.

alter table ingest_private.quarantine
    add column page_start integer,
    add column page_end integer;
comment on column ingest_private.quarantine.ordinal is
    'Of the chunk that it would stand before.';

-- It takes the quarantine too; both forms side by side would be one too many.
drop function if exists ingest_private.publish_document(
    uuid, bigint, bytea, text, text, text, integer, integer, bytea[], integer[], integer[],
    jsonb[], regconfig, integer, integer[]);
drop function if exists ingest_private.finish_publish(
    uuid, bytea, text, text, text, integer, integer, integer[], integer);

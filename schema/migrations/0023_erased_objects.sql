-- What was erased at an operator's wish stays erased, although Storage still holds the file: the
-- version that it had then is not ingested again. No word of whose it was. Another upload has
-- another version.

create table ingest_private.erased_objects (
    object_id uuid not null,
    storage_version text not null,
    erased_at timestamptz not null default clock_timestamp(),
    primary key (object_id, storage_version)
);
comment on table ingest_private.erased_objects is
    'Versions of files that are not ingested again, because their owner was erased.';

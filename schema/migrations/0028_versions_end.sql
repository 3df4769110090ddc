-- A retired version ends at a time that was asked for, and what a version lacks can be hurried.

alter table ingest.index_versions
    -- From when on a retired version is no longer kept filled; null: until it is dropped by hand.
    add column drop_at timestamptz,
    -- Somebody wanted it active while documents were missing: its jobs go like uploads.
    add column is_hurried boolean not null default false;

-- They take more now; both forms side by side would be one too many.
drop function if exists ingest_private.activate_index_version(integer, boolean, integer, timestamptz);
drop function if exists ingest_private.retire_for_good(integer);

-- Two schemas and the role that workers log in as.
-- `ingest` may be exposed to the Data API; `ingest_private` must never be.

create schema ingest;
comment on schema ingest is
    'docmill: documents, jobs and chunks that their owners read through row-level security.';

create schema ingest_private;
comment on schema ingest_private is
    'docmill: queue, leases, staging and the partitions of chunks. Not for the Data API.';

create table ingest_private.migrations (
    name text primary key,
    -- sha256 of the file: a released migration is never edited.
    checksum text not null,
    applied_at timestamptz not null default clock_timestamp()
);
comment on table ingest_private.migrations is 'Migrations that ran, each once.';

do $$
begin
    if not exists (select from pg_catalog.pg_roles where rolname = 'docmill_worker') then
        -- No password: the role cannot log in over the network until one is set.
        create role docmill_worker login noinherit nocreatedb nocreaterole;
    end if;
end
$$;

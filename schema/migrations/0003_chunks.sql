-- Chunks and where they stand. Partitioned by index version: a version is added and dropped
-- without touching the others. Partitions live in ingest_private, out of the Data API's reach.

create table ingest.chunks (
    id uuid not null default gen_random_uuid(),
    index_version integer not null,
    document_id uuid not null,
    object_id uuid not null,
    owner_id text,
    access text not null,
    content text not null,
    headings text[] not null default '{}',
    token_count integer not null,
    -- sha256 over model, dimensions and embedded text: the chunk's name within its document.
    content_hash bytea not null check (octet_length(content_hash) = 32),
    metadata jsonb not null default '{}',
    -- No dimensions here: each partition checks its own. MAIN keeps vectors out of TOAST,
    -- where the planner cannot see their cost and leaves the HNSW index aside.
    embedding extensions.halfvec not null,
    fts tsvector not null,
    primary key (index_version, id),
    -- The document first: a delete looks for its chunks in all versions.
    unique (document_id, index_version, content_hash)
) partition by list (index_version);
alter table ingest.chunks alter column embedding set storage main;
comment on table ingest.chunks is
    'Immutable pieces of text with their embedding. Every row is live: no version filter needed.';
create index chunks_owner on ingest.chunks (owner_id);

create table ingest.chunk_positions (
    index_version integer not null,
    document_id uuid not null,
    ordinal integer not null check (ordinal >= 0),
    chunk_id uuid not null,
    page_start integer,
    page_end integer,
    locator jsonb not null default '{}',
    primary key (document_id, index_version, ordinal),
    constraint chunk_positions_pages check (page_start <= page_end)
) partition by list (index_version);
comment on table ingest.chunk_positions is
    'Where a chunk stands in its document. Rewritten freely, so that chunks need not be.';
create index chunk_positions_chunk on ingest.chunk_positions (chunk_id);

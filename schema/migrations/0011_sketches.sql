-- Sketches: what a search reads of each chunk, small enough to be read for every chunk of a caller.

create table ingest_private.sketches (
    index_version integer not null,
    id uuid not null,
    document_id uuid not null,
    owner_id text,
    access text not null,
    -- One bit for each dimension, its sign: for embeddings that are too wide to be read by the
    -- thousand. No width here: partitions differ in it, and would not attach.
    bits pg_catalog."bit",
    -- The embedding itself, where it is short.
    embedding extensions.halfvec,
    -- The document first: it is what filters and deletes come with.
    primary key (document_id, id, index_version),
    constraint sketches_one_form check (num_nonnulls(bits, embedding) = 1)
) partition by list (index_version);
alter table ingest_private.sketches alter column embedding set storage main;
comment on table ingest_private.sketches is
    'A small copy of each chunk''s embedding, which searches read to the end. See nearest_chunks.';
create index sketches_owner on ingest_private.sketches (owner_id);

create table ingest_private.chunk_fills (
    -- Which copy of the chunks: see fill_chunks.
    copy text not null check (copy in ('sketches', 'lexemes')),
    index_version integer not null references ingest.index_versions (id) on delete cascade,
    -- Chunks up to this id have it; all others written since have it too.
    filled_to uuid,
    completed_at timestamptz,
    primary key (copy, index_version)
);
create index chunk_fills_index_version on ingest_private.chunk_fills (index_version);
comment on table ingest_private.chunk_fills is
    'How far older chunks have each of their copies. Until completed, searches read the chunks.';

-- Versions that are here already get a partition, and are filled by the schedule.
do $$
declare
    v_version integer;
begin
    for v_version in select id from ingest.index_versions loop
        execute format(
            'create table ingest_private.%1$I partition of ingest_private.sketches
                 for values in (%2$s)', 'sketches_' || v_version, v_version);
        execute format('alter table ingest_private.%I enable row level security',
                       'sketches_' || v_version);
        execute format(
            'revoke all on ingest_private.%I
               from public, anon, authenticated, service_role, docmill_worker',
            'sketches_' || v_version);
        insert into ingest_private.chunk_fills (copy, index_version) values ('sketches', v_version);
    end loop;
end
$$;

-- nearest_chunks does its work.
drop function if exists ingest.nearest_in_branch(
    integer, integer, text, extensions.vector, integer, text, uuid[]);

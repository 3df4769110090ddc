-- Words of the chunks, for text search. Beside the chunk and not in its row: other words must not
-- write its embedding anew.

create table ingest.chunk_lexemes (
    chunk_id uuid not null,
    index_version integer not null,
    document_id uuid not null,
    object_id uuid not null,
    owner_id text,
    access text not null,
    -- Of the language that the chunk is written in, as its stop words tell; '' where they do not.
    stemmer text not null,
    -- The words as written and their stems: A of the headings, B of the content, and one that no
    -- text can hold, made of index version and owner. See ingest.words_of.
    lexemes tsvector not null,
    primary key (chunk_id, index_version)
);
comment on table ingest.chunk_lexemes is 'The words of each chunk, written and removed with it.';
-- Uncompressed and in the row: a search looks at thousands of them.
alter table ingest.chunk_lexemes alter column lexemes set storage external;
alter table ingest.chunk_lexemes set (toast_tuple_target = 8160);
create index chunk_lexemes_document on ingest.chunk_lexemes (document_id, index_version);
-- The first of these are a sample, because ids are random. See ingest.term_counts.
create index chunk_lexemes_owner_sample
    on ingest.chunk_lexemes (owner_id, index_version, uuid_hash(chunk_id));
create index chunk_lexemes_sample on ingest.chunk_lexemes (index_version, uuid_hash(chunk_id));
create index chunk_lexemes_stemmer
    on ingest.chunk_lexemes (index_version, stemmer, owner_id);
-- A search reads what is pending one by one.
create index chunk_lexemes_words
    on ingest.chunk_lexemes using gin (lexemes) with (gin_pending_list_limit = 1024);

-- Chunks that are here already get their words from the schedule.
insert into ingest_private.chunk_fills (copy, index_version)
select 'lexemes', id from ingest.index_versions;

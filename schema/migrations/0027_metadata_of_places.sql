-- The metadata of a text belong to its place: the same text may have other links when its file is
-- read again. Rows of former releases have no difference, so the metadata of their chunks hold.

comment on column ingest.chunks.metadata is
    'What was found with the text when the chunk was written. See chunk_positions.locator.';
comment on column ingest.chunk_positions.locator is
    'Where the metadata of this place differ from those of its chunk; null: the place has none.';

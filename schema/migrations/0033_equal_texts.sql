-- Finds texts of one owner that are equal, as chunks_of_text does it.
create index bulk_texts_of_text on ingest_private.bulk_texts
    (hashtextextended(owner_id || encode(content_hash, 'hex'), 0)) where owner_id is not null;

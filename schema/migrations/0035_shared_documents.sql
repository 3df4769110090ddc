-- These functions have one more argument: what is known of the documents of others.

drop function if exists ingest_search.nearest_chunks(integer, extensions.vector, integer, uuid[]);
drop function if exists ingest_search.vector_candidates(
    integer, extensions.vector, uuid[], integer);
drop function if exists ingest_search.text_candidates(integer, text, uuid[], integer);

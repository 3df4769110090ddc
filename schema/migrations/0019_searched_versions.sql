-- The search functions take the index version as well; both forms side by side would be one too many.

drop function if exists ingest.match_chunks(
    extensions.vector, text, integer, text, text, uuid[], jsonb, timestamptz, timestamptz,
    double precision);
drop function if exists ingest.hybrid_search(
    text, extensions.vector, text, integer, text, text, uuid[], jsonb, timestamptz, timestamptz,
    double precision, double precision, integer, integer, integer);
drop function if exists ingest.search_facets(
    text, extensions.vector, text, integer, text, text, uuid[], jsonb, timestamptz, timestamptz,
    double precision, double precision, integer, integer, integer);
drop function if exists ingest.match_documents(extensions.vector, integer, jsonb, text);
drop function if exists ingest_search.version_for(text);
drop function if exists ingest_search.version_for(text, integer);
drop function if exists ingest_search.version_with(integer, text);

-- The words of titles get a weight of their own, so that a search can ask for them alone. Titles
-- that are stored already are written again by the schedule, document by document.

update ingest_private.chunk_fills set filled_to = null, completed_at = null where copy = 'titles';
comment on column ingest.chunk_lexemes.lexemes is
    'Words as written, and stems: C of the title, A of headings, B of content; one of version and owner.';

-- These get other parameters or results.
drop function if exists ingest_private.lexemes_of(integer, text, text, text[]);
drop function if exists ingest_search.phrase_of(text[]);
drop function if exists ingest_search.text_query(text, text[]);
drop function if exists ingest_search.rank_words(
    integer, text, uuid[], tsquery[], real[], tsquery, integer);
drop function if exists ingest_search.rank_own(integer, tsquery[], real[], tsquery, integer);
drop function if exists ingest_search.holding(
    integer, uuid[], double precision[], tsquery, integer);
drop function if exists ingest_search.documents_within(
    text, text, uuid[], jsonb, timestamptz, timestamptz);
drop function if exists ingest_search.fused_candidates(
    integer, text, extensions.vector, uuid[], integer, double precision, double precision);

-- What searches are made of lies apart from what the Data API serves: there, each function is an
-- endpoint.

create schema ingest_search;
comment on schema ingest_search is
    'docmill: what the search functions of ingest are made of. Not for the Data API.';

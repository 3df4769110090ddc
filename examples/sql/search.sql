-- What a user finds: psql -v user=SUB -v model=NAME -v embedding='[...]' -f search.sql
-- One transaction, like the Data API's, so that row-level security decides.
begin read only;
set local role authenticated;
select set_config('request.jwt.claims',
                  json_build_object('sub', :'user', 'role', 'authenticated')::text, true);

select score, coalesce(title, object_name) as document, page_start, headings, content
  from ingest.match_chunks(
           query_embedding => :'embedding', model => :'model', match_count => 5,
           path_prefix => :'user' || '/');
commit;

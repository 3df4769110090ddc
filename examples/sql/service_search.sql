-- For a service that may read everything (service_role, or the database's owner) and wants its own
-- query: psql -v version=ID -v dimensions=N -v owner=SUB -v embedding='[...]' -f service_search.sql
-- Which index version and how many dimensions: select * from ingest.index_versions.
--
-- It compares every chunk of the owner, so it misses none. match_chunks is faster.
begin read only;
set local jit = off;

with nearest as materialized (
    select chunk.id, chunk.document_id, chunk.headings, chunk.content,
           chunk.embedding::extensions.halfvec(:dimensions)
               operator(extensions.<=>) :'embedding'::extensions.halfvec(:dimensions) as distance
      from ingest.chunks as chunk
     where chunk.index_version = :version
       and chunk.owner_id = :'owner'
       -- Deleted, or another's by now: policies do this for users.
       and chunk.document_id not in (select ingest.withdrawn_documents())
     order by distance
     limit 5
)
select 1 - nearest.distance as score, document.object_name, nearest.headings, nearest.content
  from nearest
       join ingest.documents as document on document.id = nearest.document_id
 order by nearest.distance;
commit;

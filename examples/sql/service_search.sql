-- For a service that may read everything (service_role, or the database's owner) and wants its own
-- query: psql -v version=ID -v dimensions=N -v owner=SUB -v embedding='[...]' -f service_search.sql
-- Which index version and how many dimensions: select * from ingest.index_versions.
--
-- The HNSW index is used when index_version and the halfvec's dimensions are literals, and ORDER BY
-- is the distance alone. It finds rows first and filters them afterwards: the iterative scan goes
-- on until enough passed. Its order is only nearly exact, so the rows are sorted once more.
begin read only;
set local hnsw.iterative_scan = 'relaxed_order';
set local hnsw.ef_search = 100;
set local jit = off;

with nearest as materialized (
    select chunk.id, chunk.document_id, chunk.headings, chunk.content,
           chunk.embedding::extensions.halfvec(:dimensions)
               operator(extensions.<=>) :'embedding'::extensions.halfvec(:dimensions) as distance
      from ingest.chunks as chunk
     where chunk.index_version = :version
       and chunk.owner_id = :'owner'
     order by distance
     limit 5
)
select 1 - nearest.distance as score, document.object_name, nearest.headings, nearest.content
  from nearest
       join ingest.documents as document on document.id = nearest.document_id
 order by nearest.distance;
commit;

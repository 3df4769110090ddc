-- Which documents of others the caller may read. Storage's policies decide it anew in each search:
-- docmill keeps no right, because nothing tells it when one ends.

-- is_widely_shared: whether at least half of the objects of Storage, and no fewer than 1000, belong
-- to documents of others that the caller may be allowed to read. Counts these documents, and reads
-- none of the caller's own; how many objects there are, the statistics say, so a wrong answer costs
-- time only.
create or replace function ingest_private.is_widely_shared()
returns boolean
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off set enable_bitmapscan = off set jit = off as $$
declare
    v_objects constant bigint := (select reltuples from pg_class
                                   where oid = 'storage.objects'::regclass);
    v_many constant bigint := greatest(v_objects / 2, 1000);
    v_sub constant text := coalesce(auth.jwt() ->> 'sub', '');
begin
    return v_objects > 0
           and (select count(*)
                  from (select from ingest.documents where access = 'inherit' and owner_id < v_sub
                         union all
                        select from ingest.documents where access = 'inherit' and owner_id > v_sub
                         union all
                        select from ingest.documents where access = 'inherit' and owner_id is null
                         limit v_many) as shared) = v_many;
end
$$;

-- documents_of_objects: those of others among the documents of these objects, and how many chunks
-- they have; only of p_documents, unless they are null. Only shared_documents calls it, with the
-- objects that the caller may read. The plan is made for each call, because there may be two objects
-- or all.
create or replace function ingest_private.documents_of_objects(
    p_objects uuid[], p_documents uuid[], out ids uuid[], out chunk_count bigint)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp set plan_cache_mode = force_custom_plan set jit = off as $$
begin
    select coalesce(array_agg(document.id), '{}'), coalesce(sum(document.chunk_count), 0)
      into ids, chunk_count
      from ingest.documents as document
     where document.object_id = any(p_objects)
       and document.access = 'inherit' and document.searchable
       and (document.owner_id = (select auth.jwt() ->> 'sub')) is not true
       and (p_documents is null or document.id = any(p_documents))
       and document.id not in (select ingest_private.withdrawn_of_caller());
end
$$;

-- shared_documents: the documents of others that the caller may read, and how many chunks they have;
-- only of p_documents, unless they are null. None for roles that may read everything. Where most
-- objects are shared, it asks Storage for all that the caller may read, which takes less than half
-- as long as one question for each document. Its body is parsed when the function is created, like
-- that of nearest_chunks, so it can call functions that clients cannot name.
create or replace function ingest_search.shared_documents(
    p_documents uuid[], out ids uuid[], out chunk_count bigint)
language sql stable security invoker set search_path = pg_catalog, pg_temp set jit = off
begin atomic
    with way as materialized (
        select pg_catalog.row_security_active('ingest.documents') as is_bound,
               coalesce(cardinality(p_documents) > 1000, true)
               and ingest_private.is_widely_shared() as is_wide)
    select found.ids, found.chunk_count
      from ingest_private.documents_of_objects(
               array(select object.id from storage.objects as object), p_documents) as found
     where (select way.is_bound and way.is_wide from way)
    union all
    select coalesce(found.ids, '{}'), coalesce(found.chunk_count, 0)
      from (select array_agg(document.id) as ids, sum(document.chunk_count) as chunk_count
              from ingest.documents as document
             where (select way.is_bound and not way.is_wide from way)
               and document.access = 'inherit' and document.searchable
               and (document.owner_id = (select auth.jwt() ->> 'sub')) is not true
               and (p_documents is null or document.id = any(p_documents))) as found
     where (select not (way.is_bound and way.is_wide) from way);
end;

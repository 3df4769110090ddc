-- sync_objects: bring the documents and jobs of these objects in line with storage.objects.
-- Level-triggered: only what Storage holds now counts, and not what happened. So events may be
-- lost, repeated or out of order. Returns the newest unfinished job of each object.
--   gone or no longer watched -> the document is withdrawn
--   new                       -> document and one job for each index version that is kept filled
--   other version             -> unfinished jobs superseded, new jobs
--   other name or metadata    -> written to the document; chunks stay
--   other owner or access     -> withdrawn, and followed by another document that takes over its
--                                embeddings
-- The cost does not grow with the contents of a document: see withdraw_documents. Locks documents
-- in order of id, then jobs. The caller bounds the waits (lock_timeout). Storage is read once,
-- under the locks. With two reads, a version that commits between them could be written to the
-- document by one statement and not be new for the other, and would never be ingested. For the same
-- reason only documents that were locked before are changed: a document that appeared since then
-- belongs to an upload that this reading of Storage does not know. Plans are kept: every look-up
-- here is by key, and planning again would take half of the time that an upload waits. Sequential
-- scans are off, because plans may have been made on empty tables. JIT is off too: up to PostgreSQL
-- 17, a scan that cannot be avoided then looks so expensive that it would be compiled (on 15, 300
-- objects took 27.8 s with JIT and 0.4 s without).
create or replace function ingest_private.sync_objects(p_object_ids uuid[])
returns table (object_id uuid, job_id uuid)
language plpgsql security definer set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan set enable_seqscan = off set jit = off as $$
#variable_conflict use_column
declare
    v_ids uuid[] := array(select distinct id from unnest(p_object_ids) as id where id is not null);
    v_grown uuid[];
    v_documents uuid[];
    v_changed uuid[];
    v_changed_objects uuid[];
    v_stored ingest_private.stored_object[];
    v_new uuid[];
    v_stale uuid[];
    v_row record;
begin
    v_documents := array(select id from ingest.documents where object_id = any(v_ids)
                          order by id for no key update);
    -- An object may now have a name that another document still has. The object of that document
    -- has moved or gone, and the document must be synced in the same statement. Chains and swaps of
    -- names extend the set step by step: each round locks the documents that it found and looks
    -- again under the lock. These locks are taken out of order, so this does not wait for them: no
    -- two syncs can deadlock.
    loop
        v_stored := array(select stored from ingest_private.stored_objects(v_ids) as stored);
        v_grown := array(
            select unnest(v_ids)
            union
            select holder.object_id
              from unnest(v_stored) as stored
                   join ingest.documents as holder
                     on (holder.bucket_id, holder.object_name)
                      = (stored.bucket_id, stored.object_name));
        exit when cardinality(v_grown) = cardinality(v_ids);
        v_documents := array(select id from ingest.documents where object_id = any(v_grown)
                                for no key update nowait);
        v_ids := v_grown;
    end loop;

    select array_agg(document.id), array_agg(document.object_id)
      into v_changed, v_changed_objects
      from ingest.documents as document
           join unnest(v_stored) as stored using (object_id)
     where document.id = any(v_documents)
       and (document.owner_id, document.access)
           is distinct from (stored.owner_id, stored.access);
    perform ingest_private.withdraw_documents(array(
        select document.id from ingest.documents as document
         where document.id = any(v_documents)
           and (document.id = any(v_changed)
                or not exists (select from unnest(v_stored) as stored
                                where stored.object_id = document.object_id))));

    select array_agg(document.object_id) into v_stale
      from ingest.documents as document
           join unnest(v_stored) as stored using (object_id)
     where document.id = any(v_documents)
       and document.storage_version is distinct from stored.storage_version;

    -- One statement for all documents: unique names are checked at its end, so names may be
    -- swapped.
    update ingest.documents as document
       set bucket_id = stored.bucket_id, object_name = stored.object_name,
           source_id = stored.source_id, size_bytes = stored.size_bytes,
           metadata = stored.metadata, storage_version = stored.storage_version,
           updated_at = clock_timestamp()
      from unnest(v_stored) as stored
     where document.id = any(v_documents) and document.object_id = stored.object_id
       and (document.bucket_id, document.object_name, document.source_id,
            document.size_bytes, document.metadata, document.storage_version)
           is distinct from
           (stored.bucket_id, stored.object_name, stored.source_id,
            stored.size_bytes, stored.metadata, stored.storage_version);

    with inserted as (
        insert into ingest.documents (object_id, bucket_id, object_name, owner_id, source_id,
                                      access, size_bytes, metadata, storage_version)
        select stored.object_id, stored.bucket_id, stored.object_name, stored.owner_id,
               stored.source_id, stored.access, stored.size_bytes, stored.metadata,
               stored.storage_version
          from unnest(v_stored) as stored
         where not exists (select from ingest.documents as document
                            where document.id = any(v_documents)
                              and document.object_id = stored.object_id)
        returning object_id)
    select array_agg(object_id) into v_new from inserted;
    perform ingest_private.take_over(former.id, document.id)
       from unnest(v_changed, v_changed_objects) as former (id, object_id)
            join ingest.documents as document on document.object_id = former.object_id;

    for v_row in
        select document.id as document_id, stored.priority, stored.weight
          from ingest.documents as document
               join unnest(v_stored) as stored using (object_id)
         where document.object_id = any(v_new || v_stale)
         order by document.id
    loop
        perform ingest_private.supersede_jobs(v_row.document_id);
        perform ingest_private.enqueue_job(
                    v_row.document_id, version.id, 'ingest', v_row.priority, v_row.weight)
           from ingest.index_versions as version where version.state = 'active';
        update ingest.documents
           set status = 'pending', error_code = null, error_message = null
         where id = v_row.document_id;
    end loop;

    return query
        select document.object_id, job.id
          from ingest.documents as document
               join ingest.jobs as job on job.id = document.latest_job_id
         where document.object_id = any(v_ids) and job.finished_at is null;
end
$$;

-- sync_hints: sync_object for many hints in one transaction, so events that arrive together cost
-- one commit. Returns, in the order of the hints, the unfinished job of each object, or null. Locks
-- all documents at once, in order, as everywhere. Waits only a short time for a lock, because one
-- document in use must not delay the others. If it fails, the caller tries each hint alone.
create or replace function ingest_private.sync_hints(
    p_object_ids uuid[], p_bucket_ids text[], p_names text[])
returns uuid[]
language plpgsql security definer
set search_path = pg_catalog, pg_temp set lock_timeout = '200ms'
set enable_seqscan = off set jit = off as $$
declare
    v_jobs uuid[];
begin
    with hint as materialized (
        select given.position, given.object_id,
               array(select object.id from storage.objects as object
                      where object.bucket_id = given.bucket_id and object.name = given.name)
                   as named,
               array(select document.object_id from ingest.documents as document
                      where document.bucket_id = given.bucket_id
                        and document.object_name = given.name) as carried
          from unnest(p_object_ids, p_bucket_ids, p_names)
                   with ordinality as given (object_id, bucket_id, name, position)),
    synced as materialized (
        select done.object_id, done.job_id
          from ingest_private.sync_objects(array(
                   select meant from hint
                          cross join unnest(hint.object_id || hint.named || hint.carried)
                                     as meant)) as done)
    select array_agg(
               (select synced.job_id from synced
                 where synced.object_id = any(hint.object_id || hint.named || hint.carried)
                 order by synced.object_id = any(hint.named) desc,
                          synced.object_id is not distinct from hint.object_id desc
                 limit 1)
               order by hint.position)
      into v_jobs from hint;
    return v_jobs;
end
$$;

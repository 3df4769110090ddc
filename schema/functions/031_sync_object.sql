-- sync_object: sync_objects for one hint: for the object with this id, for the object that Storage
-- now has under this name, and for the document with this name. Any part of the hint may be
-- unknown, stale or wrong: nothing of it is trusted. Returns the unfinished job of the object, if
-- any.
create or replace function ingest_private.sync_object(
    p_object_id uuid, p_bucket_id text, p_name text)
returns uuid
language plpgsql security definer
set search_path = pg_catalog, pg_temp set lock_timeout = '5s' as $$
declare
    v_named uuid[];
    v_job_id uuid;
begin
    -- There may be more than one, if Storage keeps old versions of an object as rows.
    v_named := array(select id from storage.objects
                      where bucket_id = p_bucket_id and name = p_name);
    select synced.job_id into v_job_id
      from ingest_private.sync_objects(p_object_id || v_named || array(
               select object_id from ingest.documents
                where bucket_id = p_bucket_id and object_name = p_name)) as synced
     order by synced.object_id = any(v_named) desc,
              synced.object_id is not distinct from p_object_id desc
     limit 1;
    return v_job_id;
end
$$;

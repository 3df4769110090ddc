-- sync_object: sync_objects for one hint: the object that is meant, whatever Storage has at
-- this name now, and whatever document carries the name. Any part may be unknown, stale or
-- wrong: nothing of a hint is trusted. Returns the unfinished job of the object, if any.
create or replace function ingest_private.sync_object(
    p_object_id uuid, p_bucket_id text, p_name text)
returns uuid
language plpgsql security definer set search_path = '' as $$
declare
    v_current uuid;
    v_job_id uuid;
begin
    select id into v_current from storage.objects
     where bucket_id = p_bucket_id and name = p_name limit 1;
    select synced.job_id into v_job_id
      from ingest_private.sync_objects(array(
               select distinct hint.id
                 from (values (p_object_id), (v_current)) as hint (id)
                where hint.id is not null
               union
               select object_id from ingest.documents
                where bucket_id = p_bucket_id and object_name = p_name)) as synced
     order by synced.object_id is not distinct from coalesce(v_current, p_object_id) desc
     limit 1;
    return v_job_id;
end
$$;

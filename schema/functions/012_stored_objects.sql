-- stored_objects: what Storage holds now of these objects, as docmill sees it: only current
-- rows of watched buckets. Read through to_jsonb because the versioning columns and user_metadata
-- do not exist in every release of Storage.
create or replace function ingest_private.stored_objects(p_object_ids uuid[])
returns table (
    object_id uuid, bucket_id text, object_name text, storage_version text, size_bytes bigint,
    metadata jsonb, owner_id text, source_id bigint, access text, priority smallint, weight real)
language sql stable security definer set search_path = '' as $$
    select object.id, object.bucket_id, object.name,
           coalesce(object.version, object.metadata ->> 'eTag', object.updated_at::text),
           (object.metadata ->> 'size')::bigint,
           coalesce(fields -> 'user_metadata', '{}'),
           ingest_private.owner_of(
               source.owner_from, coalesce(fields ->> 'owner_id', fields ->> 'owner'), object.name),
           source.id, source.access, source.priority, source.weight
      from storage.objects as object
           cross join lateral to_jsonb(object) as fields
           cross join lateral ingest_private.source_of(object.bucket_id, object.name) as source
     where object.id = any(p_object_ids)
       and fields ->> 'archived_at' is null
       and not coalesce((fields ->> 'is_delete_marker')::boolean, false)
$$;

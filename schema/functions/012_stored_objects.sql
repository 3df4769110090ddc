-- stored_objects: the current rows of these objects in Storage, if their buckets are watched. Reads
-- through to_jsonb, because the versioning columns and user_metadata do not exist in every release
-- of Storage. A strange value of one object must not stop the sync of others, so a value that
-- cannot be read is null. Nothing here depends on the session; otherwise the version of an object
-- without one would change with the reader's time zone. An empty object whose name ends in / is a
-- folder that an S3 client has made. With content it is a file, but Storage does not deliver a file
-- with such a name; its document says so. Erased files are not seen until they are uploaded again. Under a removed source, only files that were ingested and
-- have not changed since are still seen.
create or replace function ingest_private.stored_objects(p_object_ids uuid[])
returns setof ingest_private.stored_object
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select object.id, object.bucket_id, object.name, present_version,
           case when object.metadata ->> 'size' ~ '^[0-9]{1,18}$'
                then (object.metadata ->> 'size')::bigint end,
           coalesce(nullif(fields -> 'user_metadata', 'null'), '{}'),
           ingest_private.owner_of(
               source.owner_from, coalesce(fields ->> 'owner_id', fields ->> 'owner'), object.name),
           source.id, source.access, source.priority, source.weight
      from storage.objects as object
           cross join lateral to_jsonb(object) as fields
           cross join lateral coalesce(
               object.version, object.metadata ->> 'eTag',
               extract(epoch from object.updated_at)::text, 'none') as present_version
           cross join lateral ingest_private.source_of(object.bucket_id, object.name) as source
     where object.id = any(p_object_ids)
       and (object.name not like '%/' or coalesce(object.metadata ->> 'size', '0') <> '0')
       and fields ->> 'archived_at' is null
       and not coalesce((fields ->> 'is_delete_marker')::boolean, false)
       and not exists (select from ingest_private.erased_objects as erased
                        where erased.object_id = object.id
                          and erased.storage_version = present_version)
       and (source.retired_at is null
            or exists (select from ingest.documents as document
                        where document.object_id = object.id
                          and document.source_id = source.id
                          and document.storage_version = present_version))
$$;

-- CREATE OR REPLACE, never DROP: on hosted projects DROP TRIGGER locks the tables of auth and
-- storage until commit. Must stay short.

create or replace trigger docmill_object_inserted
    after insert on storage.objects for each row
    execute function ingest_private.on_object_written();

create or replace trigger docmill_object_updated
    after update on storage.objects for each row
    -- Any change except in columns that say nothing about who may find the object; not every
    -- release has all columns. Uses only functions that everybody may execute, because they run as
    -- the user who uploads.
    when ((to_jsonb(old) - '{metadata,user_metadata,updated_at,last_accessed_at}'::text[])
          is distinct from
          (to_jsonb(new) - '{metadata,user_metadata,updated_at,last_accessed_at}'::text[]))
    execute function ingest_private.on_object_written();

create or replace trigger docmill_objects_deleted
    after delete on storage.objects
    referencing old table as deleted_objects for each statement
    execute function ingest_private.on_objects_deleted();

create or replace trigger docmill_objects_truncated
    after truncate on storage.objects for each statement
    execute function ingest_private.on_objects_truncated();

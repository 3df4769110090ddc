-- CREATE OR REPLACE, never DROP: on hosted projects DROP TRIGGER locks the tables of auth and
-- storage until commit. Must stay short.

create or replace trigger docmill_object_inserted
    after insert on storage.objects for each row
    execute function ingest_private.on_object_written();

create or replace trigger docmill_object_updated
    after update on storage.objects for each row
    when (old.version is distinct from new.version
          or old.name is distinct from new.name
          or old.bucket_id is distinct from new.bucket_id)
    execute function ingest_private.on_object_written();

create or replace trigger docmill_objects_deleted
    after delete on storage.objects
    referencing old table as deleted_objects for each statement
    execute function ingest_private.on_objects_deleted();

-- source_of: the source that an object of Storage belongs to, or no row when it is not ingested.
-- The longest matching prefix of the bucket wins; a removed source wins only if no other matches.
-- The dashboard makes a folder by uploading `.emptyFolderPlaceholder`; this file belongs to no
-- source.
create or replace function ingest_private.source_of(p_bucket_id text, p_name text)
returns setof ingest_private.sources
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select source.*
      from ingest_private.sources as source
     where source.bucket_id = p_bucket_id
       and starts_with(p_name, source.prefix)
       and p_name not like '%.emptyFolderPlaceholder'
     order by source.retired_at nulls first, length(source.prefix) desc
     limit 1
$$;

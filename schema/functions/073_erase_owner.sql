-- owned_objects: the objects of Storage that are an owner's by the rules of their sources, erased ones
-- too, and those that a document of the owner was made of.
create or replace function ingest_private.owned_objects(p_owner text)
returns setof uuid
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select object.id
      from storage.objects as object
           cross join lateral to_jsonb(object) as fields
           cross join lateral ingest_private.source_of(object.bucket_id, object.name) as source
           cross join lateral coalesce(fields ->> 'owner_id', fields ->> 'owner') as uploader
     -- Most objects name somebody else: their rules need not be looked at.
     where (strpos(object.name, p_owner) > 0 or uploader = p_owner)
       and ingest_private.owner_of(source.owner_from, uploader, object.name) = p_owner
    union
    select document.object_id from ingest.documents as document where document.owner_id = p_owner
$$;

-- erase_owner: the first of two steps that leave nothing of a person. From its commit on nobody finds
-- the documents, no run writes for them, and what Storage holds now is not ingested again. What was
-- made of them is then removed by drain_withdrawn, and the rest by erase_rows. Returns the objects
-- and the documents. Safe to repeat. Waits for whoever has locked a document.
create or replace function ingest_private.erase_owner(
    p_owner text, out object_ids uuid[], out document_ids uuid[])
language plpgsql security definer
set search_path = pg_catalog, pg_temp set lock_timeout = '5s' as $$
declare
    v_document_id uuid;
begin
    document_ids := array(select id from ingest.documents
                           where owner_id = p_owner order by id for no key update);
    object_ids := array(select ingest_private.owned_objects(p_owner));
    -- Not left to the drain: a run that goes on would stage more of their text.
    foreach v_document_id in array document_ids loop
        perform ingest_private.supersede_jobs(v_document_id);
    end loop;
    insert into ingest_private.erased_objects (object_id, storage_version)
    select stored.object_id, stored.storage_version
      from ingest_private.stored_objects(object_ids) as stored
        on conflict do nothing;
    perform ingest_private.withdraw_documents(document_ids);
    document_ids := document_ids || array(
        select document_id from ingest_private.withdrawn
         where owner_id = p_owner and document_id <> all(document_ids));
    delete from ingest_private.pending_events where object_id = any(object_ids);
end
$$;

-- erase_rows: the second step, when nothing is withdrawn any more: rows that name the owner, of
-- every table of docmill that has a column for one. A table that comes later is thus in it. What a
-- file that was uploaded meanwhile has become is left alone. Returns how many rows went, by table.
create or replace function ingest_private.erase_rows(p_owner text)
returns table (relation text, removed bigint)
language plpgsql security definer
set search_path = pg_catalog, pg_temp set lock_timeout = '5s' as $$
begin
    relation := 'ingest.jobs';
    delete from ingest.jobs as job
     where job.owner_id = p_owner and job.finished_at is not null
       and not exists (select from ingest.documents as document
                        where document.id = job.document_id);
    get diagnostics removed = row_count;
    return next;
    relation := 'ingest_private.pauses';
    delete from ingest_private.pauses where scope = 'owner' and key = p_owner;
    get diagnostics removed = row_count;
    return next;
    relation := 'ingest_private.budgets';
    delete from ingest_private.budgets where scope = 'owner' and key = p_owner;
    get diagnostics removed = row_count;
    return next;
    relation := 'ingest_private.bulk_names';
    delete from ingest_private.bulk_names where strpos(object_name, p_owner) > 0;
    get diagnostics removed = row_count;
    return next;
    for relation in
        select format('%I.%I', space.nspname, class.relname)
          from pg_class as class join pg_namespace as space on space.oid = class.relnamespace
               join pg_attribute as owner on owner.attrelid = class.oid
         where space.nspname in ('ingest', 'ingest_private', 'ingest_search')
           and class.relkind in ('r', 'p') and not class.relispartition
           and owner.attname = 'owner_id' and not owner.attisdropped
           -- A live document's, or the drain's.
           and class.relname not in
               ('documents', 'jobs', 'chunks', 'chunk_lexemes', 'sketches', 'withdrawn')
         order by 1
    loop
        execute format('delete from %s where owner_id = $1', relation) using p_owner;
        get diagnostics removed = row_count;
        return next;
    end loop;
end
$$;

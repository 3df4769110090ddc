-- reconcile: one page of the comparison of storage.objects with documents, in order of object id,
-- from p_after on. p_since limits the page to objects written since then (the frequent run); null
-- compares everything, also documents whose object is gone. Returns the differences, one JSON
-- object each, and the object id to continue after; null: the end. `difference` is
--   missing   in Storage, but no document
--   orphaned  a document, but no longer in Storage, or no longer watched
--   stale     the document is of another version
--   renamed   the same version under another name
--   changed   another owner, access, source or metadata
--   stuck     in line, but neither published nor failed, and no job is to bring it there
-- With p_repair it repairs all differences. A difference that cannot be repaired now becomes a
-- pending event, so that it does not stop the sweep. Two sweeps at once do no harm: both take
-- documents in order of id.
create or replace function ingest_private.reconcile(
    p_after uuid, p_since timestamptz, p_limit integer default 500, p_repair boolean default true,
    out differences jsonb, out next_after uuid)
language plpgsql security definer
set search_path = pg_catalog, pg_temp set lock_timeout = '2s' as $$
declare
    v_page uuid[];
    v_different uuid[];
begin
    select array_agg(page.id order by page.id), max(page.id::text)::uuid
      into v_page, next_after
      from (select id from (
                (select object.id from storage.objects as object
                  where (p_after is null or object.id > p_after)
                    and (p_since is null or object.updated_at > p_since)
                  order by object.id limit p_limit)
                union
                (select document.object_id from ingest.documents as document
                  where (p_after is null or document.object_id > p_after) and p_since is null
                  order by document.object_id limit p_limit)) as both_sides
             order by id limit p_limit) as page;
    if coalesce(cardinality(v_page), 0) < p_limit then
        next_after := null;
    end if;

    select coalesce(jsonb_agg(to_jsonb(differing) order by differing.object_id), '[]'),
           array_agg(differing.object_id)
      into differences, v_different
      from ingest_private.differences(v_page) as differing;
    if p_repair and v_different is not null then
        begin
            perform ingest_private.sync_objects(v_different);
            perform ingest_private.requeue_stuck(v_different);
        exception when others then
            perform ingest_private.note_pending(v_different, sqlstate, false);
        end;
    end if;
end
$$;

-- differences: which of these objects differ from their documents, and how.
create or replace function ingest_private.differences(p_object_ids uuid[])
returns table (
    object_id uuid, difference text, bucket_id text, object_name text, size_bytes bigint)
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select *
      from (
        select coalesce(stored.object_id, document.object_id) as object_id,
               case
                   when document.id is null then 'missing'
                   when stored.object_id is null then 'orphaned'
                   when document.storage_version is distinct from stored.storage_version
                       then 'stale'
                   when (document.bucket_id, document.object_name)
                        is distinct from (stored.bucket_id, stored.object_name) then 'renamed'
                   when (document.owner_id, document.access, document.source_id,
                         document.metadata)
                        is distinct from
                        (stored.owner_id, stored.access, stored.source_id, stored.metadata)
                       then 'changed'
                   when ingest_private.is_stuck(document) then 'stuck'
               end as difference,
               coalesce(stored.bucket_id, document.bucket_id) as bucket_id,
               coalesce(stored.object_name, document.object_name) as object_name,
               coalesce(stored.size_bytes, document.size_bytes) as size_bytes
          from ingest_private.stored_objects(p_object_ids) as stored
               full join (select * from ingest.documents as known
                           where known.object_id = any(p_object_ids)) as document
                 on document.object_id = stored.object_id) as compared
     where difference is not null
$$;

-- requeue_stuck: a new job for each document of these objects that is still stuck.
create or replace function ingest_private.requeue_stuck(p_object_ids uuid[])
returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    v_document ingest.documents;
begin
    for v_document in
        select * from ingest.documents as document
         where document.object_id = any(p_object_ids) and ingest_private.is_stuck(document)
         order by document.id for no key update
    loop
        continue when not ingest_private.is_stuck(v_document);
        perform ingest_private.enqueue_job(
                    v_document.id, version.id, 'ingest', coalesce(source.priority, 5::smallint),
                    coalesce(source.weight, 1))
           from ingest.index_versions as version
                left join ingest_private.sources as source on source.id = v_document.source_id
          where version.state = 'active';
        update ingest.documents
           set status = 'pending', error_code = null, error_message = null
         where id = v_document.id;
    end loop;
end
$$;

-- forget_orphaned_chunks: withdraws the remaining contents of documents that somebody deleted by
-- hand: chunks, positions, staged chunks and kept windows. Returns how many rows of chunks,
-- positions and staged chunks there are.
create or replace function ingest_private.forget_orphaned_chunks(p_repair boolean)
returns bigint
language plpgsql security definer
set search_path = pg_catalog, pg_temp set lock_timeout = '2s' as $$
declare
    v_documents uuid[];
    v_rows bigint;
begin
    with piece as (
        select document_id, count(*) as number from ingest.chunk_positions group by document_id
        union all
        select document_id, count(*) from ingest.chunks group by document_id
        union all
        select document_id, count(*) from ingest_private.staged_chunks group by document_id
        union all
        select document_id, 0 from ingest_private.document_windows
        union all
        select document_id, 0 from ingest_private.published_versions
        union all
        select document_id, 0 from ingest_private.version_failures
        union all
        select document_id, 0 from ingest.jobs where document_id is not null)
    select coalesce(array_agg(distinct piece.document_id), '{}'), coalesce(sum(piece.number), 0)
      into v_documents, v_rows
      from piece
     where not exists (select from ingest.documents as document
                        where document.id = piece.document_id)
       and not exists (select from ingest_private.withdrawn as gone
                        where gone.document_id = piece.document_id)
       and not exists (select from ingest_private.former_documents as former
                              join ingest.documents as document
                                on document.id = former.document_id
                        where former.former_id = piece.document_id);
    if p_repair then
        -- Its owner is unknown, so the searches of all users pass over it.
        insert into ingest_private.withdrawn (document_id, access)
        select unnest(v_documents), 'inherit' on conflict do nothing;
    end if;
    return v_rows;
end
$$;

-- full_reconcile_due, note_full_reconcile: workers of the former release compare everything if this
-- was not done for a day.
create or replace function ingest_private.full_reconcile_due(p_every interval default '1 day')
returns boolean
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select not exists (
        select from ingest_private.settings
         where name = 'reconciled_at'
           and (value #>> '{}')::timestamptz > clock_timestamp() - p_every)
$$;

create or replace function ingest_private.note_full_reconcile()
returns void
language sql security definer set search_path = pg_catalog, pg_temp as $$
    insert into ingest_private.settings (name, value)
    values ('reconciled_at', to_jsonb(clock_timestamp()))
        on conflict (name) do update set value = excluded.value
$$;

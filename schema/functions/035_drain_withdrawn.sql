-- drain_withdrawn: removes contents of withdrawn documents, p_limit rows at most, oldest first.
-- Embeddings that another document takes over go back to staging, where its publish finds them.
-- Returns how many rows were removed: call it again until there are none, each time in a
-- transaction of its own. If a call is interrupted, the next one repeats it; two calls at once take
-- different documents. A document that a run still writes for is left to a later call.
-- The embeddings of deleted files are kept for p_keep_embeddings, for their owner: see
-- kept_embeddings.
create or replace function ingest_private.drain_withdrawn(
    p_limit integer default 1000, p_keep_embeddings interval default interval '0')
returns integer
language plpgsql security definer
set search_path = pg_catalog, pg_temp set lock_timeout = '200ms'
set plan_cache_mode = force_generic_plan set enable_seqscan = off set jit = off as $$
declare
    v_document_id uuid;
    v_rows integer;
    v_removed integer := 0;
begin
    for v_document_id in
        select document_id from ingest_private.withdrawn
         order by withdrawn_at, document_id limit p_limit for update skip locked
    loop
        begin
            -- Until then a run may still write a batch here, or read these rows.
            if ingest_private.end_free_jobs(array[v_document_id]) = 0 then
                v_rows := ingest_private.drain_document(
                    v_document_id, p_limit - v_removed, p_keep_embeddings);
                v_removed := v_removed + v_rows;
            end if;
        exception when others then
            raise log 'docmill: % on draining document %', sqlstate, v_document_id;
        end;
        exit when v_removed >= p_limit;
    end loop;
    return v_removed;
end
$$;

-- drain_document: removes p_limit rows of one withdrawn document, and its entry with the last of
-- them. Returns how many rows. The caller has locked the entry; nobody writes for the document.
create or replace function ingest_private.drain_document(
    p_document_id uuid, p_limit integer, p_keep_embeddings interval)
returns integer
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan set enable_seqscan = off set jit = off as $$
declare
    v_is_kept boolean;
    v_removed integer;
begin
    -- A publish that has taken it over and not committed is not disturbed; a later publish waits.
    select exists (select from ingest.documents as document
                    where document.id = former.document_id) into v_is_kept
      from ingest_private.former_documents as former
     where former.former_id = p_document_id for key share skip locked;
    if not found then
        if exists (select from ingest_private.former_documents
                    where former_id = p_document_id) then
            return 0;
        end if;
        v_is_kept := false;
    end if;

    -- Embeddings that it had taken over itself, and that no document takes over from it.
    insert into ingest_private.withdrawn (document_id, owner_id, access)
    select former_id, null, 'owner' from ingest_private.former_documents
     where document_id = p_document_id
        on conflict do nothing;
    delete from ingest_private.former_documents where document_id = p_document_id;

    v_removed := ingest_private.drain_chunks(
        p_document_id, v_is_kept, p_limit, p_keep_embeddings);
    if v_removed < p_limit then
        v_removed := v_removed + ingest_private.drain_rest(
            p_document_id, v_is_kept, p_limit - v_removed);
    end if;
    if v_removed < p_limit then
        delete from ingest_private.published_versions where document_id = p_document_id;
        delete from ingest_private.version_failures where document_id = p_document_id;
        delete from ingest_private.quarantine where document_id = p_document_id;
        delete from ingest_private.withdrawn where document_id = p_document_id;
        v_removed := v_removed + 1;
    end if;
    return v_removed;
end
$$;

-- drain_chunks: removes at most p_limit positions and chunks of a withdrawn document; with p_keep
-- the chunks are staged again. It uses their keys, because a ctid does not name the partition.
-- Embeddings of a file that still exists are not kept: its owner or its source has changed, and the
-- former owner has no right to them any more.
create or replace function ingest_private.drain_chunks(
    p_document_id uuid, p_keep boolean, p_limit integer, p_keep_embeddings interval)
returns integer
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan set enable_seqscan = off set jit = off as $$
declare
    v_version integer;
    v_removed integer := 0;
    v_rows integer;
begin
    for v_version in select id from ingest.index_versions order by id loop
        delete from ingest.chunk_positions as position
         where position.index_version = v_version and position.document_id = p_document_id
           and position.ordinal = any(array(
                   select old.ordinal from ingest.chunk_positions as old
                    where old.index_version = v_version and old.document_id = p_document_id
                    limit p_limit - v_removed));
        get diagnostics v_rows = row_count;
        v_removed := v_removed + v_rows;

        with gone as (
            delete from ingest.chunks as chunk
             where chunk.index_version = v_version and chunk.document_id = p_document_id
               and chunk.content_hash = any(array(
                       select old.content_hash from ingest.chunks as old
                        where old.index_version = v_version and old.document_id = p_document_id
                        limit p_limit - v_removed))
            returning chunk.*),
        kept as (
            insert into ingest_private.staged_chunks (
                       document_id, index_version, content_hash, content, headings, token_count,
                       metadata, embedding)
            select document_id, index_version, content_hash, content, headings, token_count,
                   metadata, embedding
              from gone where p_keep
                on conflict do nothing),
        remembered as (
            insert into ingest_private.kept_embeddings as kept (
                       owner_id, index_version, content_hash, embedding, kept_until)
            select distinct on (owner_id, content_hash)
                   owner_id, index_version, content_hash, embedding,
                   clock_timestamp() + p_keep_embeddings
              from gone
             where not p_keep and p_keep_embeddings > interval '0' and owner_id is not null
               and not exists (select from storage.objects as object
                                where object.id = gone.object_id)
                on conflict (owner_id, index_version, content_hash) do update
                   set kept_until = excluded.kept_until)
        select count(*) into v_rows from gone;
        v_removed := v_removed + v_rows;
    end loop;
    return v_removed;
end
$$;

-- drain_rest: at most p_limit other rows of a withdrawn document. Removes texts that wait for a batch,
-- and the contents of those that are in one; staged chunks and kept
-- windows, unless they are taken over. Its jobs stay and lose their document, like jobs of a file that
-- is gone.
create or replace function ingest_private.drain_rest(
    p_document_id uuid, p_keep boolean, p_limit integer)
returns integer
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan set enable_seqscan = off set jit = off as $$
declare
    v_removed integer := 0;
    v_rows integer;
begin
    -- Before what is staged: a batch that is being answered stages no more once these are gone.
    v_removed := ingest_private.drop_bulk_texts(array[p_document_id], null, p_limit);

    delete from ingest_private.staged_chunks as staged
     where staged.ctid = any(array(
               select old.ctid from ingest_private.staged_chunks as old
                where old.document_id = p_document_id and not p_keep
                limit p_limit - v_removed));
    get diagnostics v_rows = row_count;
    v_removed := v_removed + v_rows;

    delete from ingest_private.document_windows as kept
     where kept.ctid = any(array(
               select old.ctid from ingest_private.document_windows as old
                where old.document_id = p_document_id and not p_keep
                limit p_limit - v_removed));
    get diagnostics v_rows = row_count;
    v_removed := v_removed + v_rows;

    update ingest.jobs as job
       set document_id = null
     where job.id = any(array(
               select old.id from ingest.jobs as old
                where old.document_id = p_document_id limit p_limit - v_removed));
    get diagnostics v_rows = row_count;
    return v_removed + v_rows;
end
$$;

-- prune: deletes finished jobs older than p_keep (the latest job of a document stays as long as the
-- document), staged chunks and windows that no unfinished job will use, embeddings whose time is over,
-- notes of erased files that are gone, batches that ended, and entries of workers that are long gone. Returns how many rows it deleted; call it again while it
-- returns p_limit or more.
-- The time comes from a subquery: clock_timestamp() itself is volatile, so no index could serve it.
create or replace function ingest_private.prune(
    p_keep interval, p_keep_staged interval, p_limit integer default 5000)
returns integer
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    v_rows integer;
    v_pruned integer := 0;
begin
    with old as materialized (
        select job.id from ingest.jobs as job
         where job.finished_at < (select clock_timestamp() - p_keep)
           and not exists (select from ingest.documents as document
                            where document.id = job.document_id
                              and document.latest_job_id = job.id)
         order by job.finished_at limit p_limit for update skip locked)
    delete from ingest.jobs as job using old where job.id = old.id;
    get diagnostics v_rows = row_count;
    v_pruned := v_pruned + v_rows;

    delete from ingest_private.staged_chunks as staged
     where staged.ctid = any(array(
        select old.ctid from ingest_private.staged_chunks as old
         where old.staged_at < (select clock_timestamp() - p_keep_staged)
           and not exists (select from ingest.jobs as job
                            where job.document_id = any(array(
                                      select old.document_id
                                      union all
                                      select former.document_id
                                        from ingest_private.former_documents as former
                                       where former.former_id = old.document_id))
                              and job.index_version = old.index_version
                              and job.state in ('queued', 'running'))
         limit p_limit for update skip locked));
    get diagnostics v_rows = row_count;
    v_pruned := v_pruned + v_rows;

    delete from ingest_private.document_windows as kept
     where kept.ctid = any(array(
        select old.ctid from ingest_private.document_windows as old
         where old.created_at < (select clock_timestamp() - p_keep_staged)
           and not exists (select from ingest.jobs as job
                            where job.document_id = any(array(
                                      select old.document_id
                                      union all
                                      select former.document_id
                                        from ingest_private.former_documents as former
                                       where former.former_id = old.document_id))
                              and job.state in ('queued', 'running'))
         limit p_limit for update skip locked));
    get diagnostics v_rows = row_count;
    v_pruned := v_pruned + v_rows;

    delete from ingest_private.kept_embeddings as kept
     where kept.ctid = any(array(
        select old.ctid from ingest_private.kept_embeddings as old
         where old.kept_until < (select clock_timestamp())
         limit p_limit for update skip locked));
    get diagnostics v_rows = row_count;
    v_pruned := v_pruned + v_rows;

    delete from ingest_private.erased_objects as erased
     where erased.ctid = any(array(
        select old.ctid from ingest_private.erased_objects as old
         where not exists (select from storage.objects as object where object.id = old.object_id)
         limit p_limit for update skip locked));
    get diagnostics v_rows = row_count;
    v_pruned := v_pruned + v_rows;

    delete from ingest_private.bulk_batches where cleared_at < clock_timestamp() - p_keep;
    -- Announced, and never uploaded.
    delete from ingest_private.bulk_names where noted_at < clock_timestamp() - interval '1 day';
    delete from ingest_private.workers
     where last_seen < clock_timestamp() - interval '1 hour';
    return v_pruned;
end
$$;

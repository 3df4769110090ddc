-- end_free_jobs: the unfinished jobs of these documents -> superseded. Does not wait for a job if
-- another transaction has locked it, its lease or its row in the queue. Returns how many jobs are
-- left.
create or replace function ingest_private.end_free_jobs(p_document_ids uuid[])
returns integer
language plpgsql security definer
set search_path = pg_catalog, pg_temp set enable_seqscan = off as $$
declare
    v_all uuid[];
    v_jobs uuid[];
    v_leased uuid[];
    v_placed uuid[];
begin
    v_all := array(select id from ingest.jobs
                    where document_id = any(p_document_ids) and state in ('queued', 'running'));
    if cardinality(v_all) = 0 then
        return 0;
    end if;
    v_jobs := array(select id from ingest.jobs
                     where id = any(v_all) and state in ('queued', 'running')
                     order by id for no key update skip locked);
    v_leased := array(select job_id from ingest_private.leases
                       where job_id = any(v_jobs) order by job_id for update skip locked);
    v_placed := array(select job_id from ingest_private.job_queue
                       where job_id = any(v_jobs) order by job_id for update skip locked);
    v_jobs := array(select job.id from ingest.jobs as job
                     where job.id = any(v_jobs) and job.id = any(v_placed)
                       and (job.state = 'queued' or job.id = any(v_leased)));
    perform ingest_private.end_jobs(v_jobs, 'superseded');
    return cardinality(v_all) - cardinality(v_jobs);
end
$$;

-- withdraw_documents: from the commit on, nobody finds these documents. Their contents stay where
-- they are, so this costs the same for one chunk and for a hundred thousand. Searches pass over
-- them (withdrawn_of_caller), and drain_withdrawn removes them. The caller holds the locks on the
-- documents. Does not wait: the drain ends jobs in use. Until then they publish nothing, because
-- their document is gone.
create or replace function ingest_private.withdraw_documents(p_document_ids uuid[])
returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp set enable_seqscan = off as $$
begin
    if cardinality(p_document_ids) = 0 then
        return;
    end if;
    perform ingest_private.end_free_jobs(p_document_ids);
    with gone as (
        delete from ingest.documents where id = any(p_document_ids)
        returning id, owner_id, access)
    insert into ingest_private.withdrawn (document_id, owner_id, access)
    select id, owner_id, access from gone;
end
$$;

-- take_over: one document follows another that was withdrawn because its owner or access changed.
-- The embeddings of the former document, and of those before it, are now kept for the new one. A
-- document without any is not noted, so a chain of moves stays short.
create or replace function ingest_private.take_over(p_former_id uuid, p_document_id uuid)
returns void
language sql security definer
set search_path = pg_catalog, pg_temp set enable_seqscan = off as $$
    update ingest_private.former_documents
       set document_id = p_document_id where document_id = p_former_id;
    insert into ingest_private.former_documents (former_id, document_id)
    select p_former_id, p_document_id
     where exists (select from ingest.chunks where document_id = p_former_id)
        or exists (select from ingest_private.staged_chunks where document_id = p_former_id)
        or exists (select from ingest_private.document_windows where document_id = p_former_id);
$$;

-- ids_of: the id of a document and of its former documents: its embeddings may be stored under any
-- of these.
create or replace function ingest_private.ids_of(p_document_id uuid)
returns uuid[]
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select p_document_id || array(select former.former_id
                                    from ingest_private.former_documents as former
                                   where former.document_id = p_document_id)
$$;

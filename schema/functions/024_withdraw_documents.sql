-- end_free_jobs: the unfinished jobs of these documents -> superseded, but for those of which
-- somebody has locked the job, its lease or its place in the queue: they are not waited for.
-- Returns how many are left.
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

-- withdraw_documents: nobody finds these documents any more, from the commit on. What was made of
-- them stays where it is, so that this costs the same for one chunk and for a hundred thousand:
-- searches pass over it (withdrawn_of_caller), and drain_withdrawn removes it. The caller holds the
-- locks on the documents. Waits for nobody: jobs in use are ended by the drain, and publish nothing
-- meanwhile, because their document is gone.
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

-- take_over: one document follows another that was withdrawn, because its owner or access has
-- changed. What lies embedded of that one, and of those before it, is now kept for this one. A
-- document of which there is nothing is not noted, so that a chain of moves stays short.
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

-- ids_of: a document, and what it was before: under any of these ids its embeddings may lie.
create or replace function ingest_private.ids_of(p_document_id uuid)
returns uuid[]
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select p_document_id || array(select former.former_id
                                    from ingest_private.former_documents as former
                                   where former.document_id = p_document_id)
$$;

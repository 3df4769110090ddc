-- enqueue_job: a new queued job for one document and index version, placed in the queue. A job of
-- kind reindex never ages; instead some slots are reserved for such jobs (take_ready_jobs), unless its
-- priority is an upload's (filling_priority). This is start-time fair queueing without a stored counter. The rank of a job follows the rank of the
-- owner's last job, but is never lower than the rank of the jobs that run now (v). So an owner who
-- was idle gets no credit for that time, and does not wait for the backlog of others. Each priority
-- has its own ranks: a big urgent job that runs must not put new jobs of a lower priority behind
-- everybody's backlog there. Two jobs may get the same rank, because no lock is held during the
-- transaction of an upload. A job that buys in bulk has the last priority and never ages: whatever is
-- uploaded goes before.
create or replace function ingest_private.enqueue_job(
    p_document_id uuid, p_index_version integer, p_kind text, p_priority smallint, p_weight real)
returns uuid
language plpgsql security definer
set search_path = pg_catalog, pg_temp set enable_seqscan = off as $$
declare
    v_document ingest.documents;
    v_provider text;
    v_fairness_key text;
    v_now_served double precision;
    v_owner_last double precision;
    v_job_id uuid;
    v_is_bulk boolean;
    v_priority smallint := p_priority;
    v_is_reindex boolean;
begin
    select * into strict v_document from ingest.documents where id = p_document_id;
    select provider into strict v_provider from ingest.index_versions where id = p_index_version;
    v_is_bulk := ingest_private.takes_bulk(v_document, p_index_version, p_kind);
    if v_is_bulk then
        v_priority := 9;
    end if;
    v_is_reindex := p_kind = 'reindex' and v_priority = 9;
    v_fairness_key := coalesce(
        'owner:' || v_document.owner_id, 'source:' || v_document.source_id, 'nobody');

    select max(rank) into v_now_served
      from ingest_private.job_queue
     where phase in ('dispatched', 'running') and priority = v_priority and provider = v_provider;
    if v_now_served is null then
        select rank into v_now_served
          from ingest_private.job_queue
         where phase = 'ready' and provider = v_provider and not isolated
           and is_reindex = v_is_reindex and priority = v_priority
         order by rank limit 1;
    end if;
    select max(rank) into v_owner_last
      from ingest_private.job_queue
     where fairness_key = v_fairness_key and priority = v_priority;

    insert into ingest.jobs (document_id, bucket_id, object_name, owner_id, kind, index_version,
                             storage_version, priority, next_attempt_at)
    values (p_document_id, v_document.bucket_id, v_document.object_name, v_document.owner_id,
            p_kind, p_index_version, v_document.storage_version, v_priority, clock_timestamp())
    returning id into v_job_id;

    -- A job costs one, and one more for each MiB, because work grows with size.
    insert into ingest_private.job_queue (job_id, provider, is_reindex, is_bulk, aged_at, priority,
                                          fairness_key, rank)
    values (v_job_id, v_provider, v_is_reindex, v_is_bulk,
            case when p_kind = 'reindex' or v_is_bulk then 'infinity' else clock_timestamp() end,
            v_priority, v_fairness_key,
            greatest(v_now_served, v_owner_last, 0)
            + (1 + coalesce(v_document.size_bytes, 0) / 1048576.0) / p_weight);
    perform ingest_private.hold_job(v_job_id);

    -- Clients see the state of a document in the index version that answers searches. Reindexing
    -- never changes it.
    update ingest.documents set latest_job_id = v_job_id
     where id = p_document_id and p_kind <> 'reindex'
       and p_index_version = (select id from ingest.index_versions where state = 'active');
    return v_job_id;
end
$$;

-- record_spend: tokens and money of one embedded batch, on the job and in the owner's ledger.
-- Called last in the transaction that stages the batch: what is staged is what was paid for. Books
-- nothing on a job that no worker runs, and takes nothing back: begin_stage has locked the lease.
create or replace function ingest_private.record_spend(
    p_job_id uuid, p_model text, p_tokens bigint, p_usd numeric)
returns void
language sql security definer set search_path = pg_catalog, pg_temp as $$
    update ingest.jobs
       set tokens_used = tokens_used + p_tokens, cost_usd = cost_usd + p_usd
     where id = p_job_id and p_tokens >= 0 and p_usd >= 0
       and exists (select from ingest_private.leases as lease where lease.job_id = p_job_id);
    insert into ingest.usage as ledger (owner_id, day, model, tokens, usd)
    select owner_id, (clock_timestamp() at time zone 'utc')::date, p_model, p_tokens, p_usd
      from ingest.jobs
     where id = p_job_id and owner_id is not null and p_tokens >= 0 and p_usd >= 0
       and exists (select from ingest_private.leases as lease where lease.job_id = p_job_id)
        on conflict (owner_id, day, model) do update
           set tokens = ledger.tokens + excluded.tokens, usd = ledger.usd + excluded.usd;
$$;

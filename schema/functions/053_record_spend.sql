-- book_spend: tokens and money in an owner's ledger of today (UTC), and in that of all. Null: of no
-- owner, in the last alone. Each session books on one of sixteen rows of a day: workers would wait
-- for each other's commit.
create or replace function ingest_private.book_spend(
    p_owner_id text, p_model text, p_purpose text, p_tokens bigint, p_usd numeric)
returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    v_day constant date := (clock_timestamp() at time zone 'utc')::date;
begin
    if p_owner_id is not null then
        insert into ingest.usage as ledger (owner_id, day, model, purpose, tokens, usd)
        values (p_owner_id, v_day, p_model, p_purpose, p_tokens, p_usd)
            on conflict (owner_id, day, model, purpose) do update
               set tokens = ledger.tokens + excluded.tokens, usd = ledger.usd + excluded.usd;
    end if;
    insert into ingest_private.spend as all_spent (day, model, purpose, shard, tokens, usd)
    values (v_day, p_model, p_purpose, pg_backend_pid() % 16, p_tokens, p_usd)
        on conflict (day, model, purpose, shard) do update
           set tokens = all_spent.tokens + excluded.tokens, usd = all_spent.usd + excluded.usd;
end
$$;

-- record_spend: tokens and money of one embedded batch, on the job, in the owner's ledger and in that
-- of all. Called last in the transaction that stages the batch: what is staged is what was paid for.
-- Books nothing on a job that no worker runs, and takes nothing back: begin_stage has locked the
-- lease. Returns whether the job may buy more: false when a budget is used up.
create or replace function ingest_private.record_spend(
    p_job_id uuid, p_model text, p_tokens bigint, p_usd numeric)
returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    v_job ingest.jobs;
begin
    update ingest.jobs
       set tokens_used = tokens_used + p_tokens, cost_usd = cost_usd + p_usd
     where id = p_job_id and p_tokens >= 0 and p_usd >= 0
       and exists (select from ingest_private.leases as lease where lease.job_id = p_job_id)
    returning * into v_job;
    if not found then
        return false;
    end if;
    perform ingest_private.book_spend(v_job.owner_id, p_model, v_job.kind, p_tokens, p_usd);
    return ingest_private.over_budget_until(v_job.owner_id, v_job.kind = 'reindex') is null;
end
$$;

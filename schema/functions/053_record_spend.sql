-- book_at_once: adds to an owner's row of ingest.usage what is given and what is unsettled. False: another
-- transaction has the row, and nothing was booked. Waits only for whoever makes the row, once a day.
create or replace function ingest_private.book_at_once(
    p_owner_id text, p_day date, p_model text, p_purpose text, p_tokens bigint, p_usd numeric)
returns boolean
language plpgsql security definer
set search_path = pg_catalog, pg_temp set enable_seqscan = off as $$
declare
    v_tokens bigint;
    v_usd numeric;
begin
    insert into ingest.usage (owner_id, day, model, purpose)
    select p_owner_id, p_day, p_model, p_purpose
     where not exists (select from ingest.usage as ledger
                        where (ledger.owner_id, ledger.day, ledger.model, ledger.purpose)
                              = (p_owner_id, p_day, p_model, p_purpose))
        on conflict do nothing;
    perform from ingest.usage as ledger
      where (ledger.owner_id, ledger.day, ledger.model, ledger.purpose)
            = (p_owner_id, p_day, p_model, p_purpose)
        for no key update skip locked;
    if not found then
        return false;
    end if;
    -- Whoever has the row is the only one that removes these.
    with settled as (
        delete from ingest_private.unsettled_spend as entry
         where (entry.owner_id, entry.day, entry.model, entry.purpose)
               = (p_owner_id, p_day, p_model, p_purpose)
        returning entry.tokens, entry.usd)
    select coalesce(sum(tokens), 0), coalesce(sum(usd), 0) into v_tokens, v_usd from settled;
    if p_tokens + v_tokens <> 0 or p_usd + v_usd <> 0 then
        update ingest.usage as ledger
           set tokens = ledger.tokens + p_tokens + v_tokens, usd = ledger.usd + p_usd + v_usd
         where (ledger.owner_id, ledger.day, ledger.model, ledger.purpose)
               = (p_owner_id, p_day, p_model, p_purpose);
    end if;
    return true;
end
$$;

-- book_spend: tokens and money in an owner's ledger of today (UTC), and in that of all. Null: of no
-- owner, in the last alone. Nobody waits for the commit of another worker: where a transaction has the
-- owner's row, the entry is left unsettled; and each session books on one of sixteen rows of a day.
create or replace function ingest_private.book_spend(
    p_owner_id text, p_model text, p_purpose text, p_tokens bigint, p_usd numeric)
returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    v_day constant date := (clock_timestamp() at time zone 'utc')::date;
begin
    if p_owner_id is not null and not ingest_private.book_at_once(
           p_owner_id, v_day, p_model, p_purpose, p_tokens, p_usd) then
        insert into ingest_private.unsettled_spend (owner_id, day, model, purpose, tokens, usd)
        values (p_owner_id, v_day, p_model, p_purpose, p_tokens, p_usd);
    end if;
    insert into ingest_private.spend as all_spent (day, model, purpose, shard, tokens, usd)
    values (v_day, p_model, p_purpose, pg_backend_pid() % 16, p_tokens, p_usd)
        on conflict (day, model, purpose, shard) do update
           set tokens = all_spent.tokens + excluded.tokens, usd = all_spent.usd + excluded.usd;
end
$$;

-- settle_spend: writes what is unsettled into ingest.usage, but for rows that are in use; these are
-- settled by whoever books on them next, or by a later call.
create or replace function ingest_private.settle_spend()
returns void
language sql security definer
set search_path = pg_catalog, pg_temp set lock_timeout = '2s' as $$
    select ingest_private.book_at_once(
               entry.owner_id, entry.day, entry.model, entry.purpose, 0, 0)
      from (select distinct owner_id, day, model, purpose
              from ingest_private.unsettled_spend) as entry
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

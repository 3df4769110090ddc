-- Budgets: how much may be spent on embeddings in a day or a month (UTC). What is over its budget
-- waits, and nothing fails: it goes on when the budget is raised or the next day or month begins.
-- An owner's budget counts that owner's uploads. The budget of everything counts reindexing as
-- well, which an operator asks for. Queries count for none: users tell what those cost
-- (record_query), and nobody's searches are to stop uploads.

-- budgets_used: the budgets that a job is under, with what is spent of each in its period and when
-- the next period begins. What is in a batch and not answered counts as spent: it will be. An owner's own budget takes the place of that for each owner.
create or replace function ingest_private.budgets_used(p_owner_id text, p_is_reindex boolean)
returns table (scope text, period text, usd numeric, spent numeric, renewed_at timestamptz)
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select budget.scope, budget.period, budget.usd,
           case budget.scope
               when 'everything' then
                   (select coalesce(sum(all_spent.usd), 0) from ingest_private.spend as all_spent
                     where all_spent.day >= span.first_day and all_spent.purpose <> 'query')
                   + (select coalesce(sum(batch.held_usd), 0)
                        from ingest_private.bulk_batches as batch where batch.cleared_at is null)
               else
                   (select coalesce(sum(ledger.usd), 0) from ingest.usage as ledger
                     where ledger.owner_id = p_owner_id and ledger.day >= span.first_day
                       and ledger.purpose = 'ingest')
                   + (select coalesce(sum(entry.usd), 0)
                        from ingest_private.unsettled_spend as entry
                       where entry.owner_id = p_owner_id and entry.day >= span.first_day
                         and entry.purpose = 'ingest')
                   + (select coalesce(sum(held.usd), 0)
                        from ingest_private.bulk_held as held
                             join ingest_private.bulk_batches as batch
                               on batch.id = held.batch_id and batch.purpose <> 'reindex'
                       where held.owner_id = p_owner_id) end,
           span.next_day at time zone 'utc'
      from ingest_private.budgets as budget
           cross join lateral (
               select date_trunc(budget.period, clock_timestamp() at time zone 'utc')) as begun (at)
           cross join lateral (
               select begun.at::date, begun.at + ('1 ' || budget.period)::interval)
                   as span (first_day, next_day)
     where budget.scope = 'everything'
        or not p_is_reindex
           and (budget.scope = 'owner' and budget.key = p_owner_id
                or budget.scope = 'each_owner' and p_owner_id is not null
                   and not exists (select from ingest_private.budgets as own
                                    where own.scope = 'owner' and own.key = p_owner_id
                                      and own.period = budget.period))
$$;

-- over_budget_until: when a job may spend again: the end of the longest period whose budget is used
-- up. Null: now.
create or replace function ingest_private.over_budget_until(p_owner_id text, p_is_reindex boolean)
returns timestamptz
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    -- Most have no budget: this is asked for each job and each batch.
    if not exists (select from ingest_private.budgets) then
        return null;
    end if;
    return (select max(used.renewed_at)
              from ingest_private.budgets_used(p_owner_id, p_is_reindex) as used
             where used.spent >= used.usd);
end
$$;

-- explain_budgets: the budgets of a job that are used up, for its owner to read: how much all others
-- spend is not for them. Null: none is.
create or replace function ingest_private.explain_budgets(p_job ingest.jobs)
returns text
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select string_agg(
               case used.scope
                   when 'everything' then format('That of the project for this %s is.', used.period)
                   else format('That of the owner for this %s is: %s of %s USD.', used.period,
                               round(used.spent, 2), round(used.usd, 2)) end
               || format(' The next %s begins at %s UTC.', used.period,
                         to_char(used.renewed_at at time zone 'utc', 'YYYY-MM-DD HH24:MI')),
               ' ' order by used.renewed_at)
      from ingest_private.budgets_used(p_job.owner_id, p_job.kind = 'reindex') as used
     where used.spent >= used.usd
$$;

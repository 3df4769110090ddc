"""Spending on embeddings and its budgets, over the admin connection."""

from datetime import date
from decimal import Decimal
from typing import Final, LiteralString

from docmill.worker.admin.rows import Row, fetch_rows
from docmill.worker.store.database import Connection

SET_BUDGET: Final[LiteralString] = """
    insert into ingest_private.budgets (scope, key, period, usd)
    values (%(scope)s, %(key)s, %(period)s, %(usd)s)
        on conflict (scope, key, period) do update set usd = excluded.usd
"""
REMOVE_BUDGET: Final[LiteralString] = """
    delete from ingest_private.budgets
     where scope = %(scope)s and key = %(key)s and period = %(period)s
"""
BOOK_QUERIES: Final[LiteralString] = """
    select ingest_private.book_spend(%(owner)s, %(model)s, 'query', %(tokens)s, %(usd)s)
"""
#: A budget for each owner has as many accounts as there are owners; show the fullest.
LIST_BUDGETS: Final[LiteralString] = """
    with ledger as (
        select owner_id, day, model, purpose, tokens, usd from ingest.usage
        union all
        select owner_id, day, model, purpose, tokens, usd from ingest_private.unsettled_spend)
    select budget.scope, budget.key as owner_id, budget.period, budget.usd,
           case budget.scope when 'each_owner' then
               (select max(spent.usd)
                  from (select sum(ledger.usd) as usd from ledger
                         where ledger.day >= date_trunc(
                                   budget.period, clock_timestamp() at time zone 'utc')::date
                           and ledger.purpose = 'ingest'
                           and not exists (select from ingest_private.budgets as own
                                            where own.scope = 'owner'
                                              and own.key = ledger.owner_id
                                              and own.period = budget.period)
                         group by ledger.owner_id) as spent)
           else (select used.spent
                   from ingest_private.budgets_used(budget.key, budget.scope = 'everything') as used
                  where used.scope = budget.scope and used.period = budget.period) end as spent,
           date_trunc(budget.period, clock_timestamp() at time zone 'utc')
               + ('1 ' || budget.period)::interval as renewed_at,
           (select count(*) from ingest.jobs as job
             where job.state = 'queued' and job.hold_reason = 'owner_budget_exceeded'
               and case budget.scope
                       when 'everything' then true
                       when 'owner' then job.owner_id = budget.key
                       else job.owner_id is not null end) as held_jobs
      from ingest_private.budgets as budget
     order by budget.scope = 'everything' desc, budget.scope = 'each_owner' desc, budget.key,
              budget.period
"""
#: Documents without an owner are not in the ledger of owners; their share is the difference.
LIST_USAGE: Final[LiteralString] = """
    with ledger as (
        select owner_id, day, model, purpose, tokens, usd from ingest.usage
        union all
        select owner_id, day, model, purpose, tokens, usd from ingest_private.unsettled_spend),
    entries as (
        select owner_id, day, model, purpose, tokens, usd from ledger
         where day >= %(since)s
        union all
        select null, all_spent.day, all_spent.model, all_spent.purpose,
               sum(all_spent.tokens)
               - coalesce((select sum(ledger.tokens) from ledger
                            where (ledger.day, ledger.model, ledger.purpose)
                                  = (all_spent.day, all_spent.model, all_spent.purpose)), 0),
               sum(all_spent.usd)
               - coalesce((select sum(ledger.usd) from ledger
                            where (ledger.day, ledger.model, ledger.purpose)
                                  = (all_spent.day, all_spent.model, all_spent.purpose)), 0)
          from ingest_private.spend as all_spent
         where all_spent.day >= %(since)s
         group by all_spent.day, all_spent.model, all_spent.purpose)
    select case when 'owner' = any(%(by)s) then owner_id end as owner_id,
           case when 'day' = any(%(by)s) then day end as day,
           case when 'model' = any(%(by)s) then model end as model,
           case when 'purpose' = any(%(by)s) then purpose end as purpose,
           sum(tokens)::bigint as tokens, sum(usd) as usd
      from entries
     where (tokens > 0 or usd > 0) and (%(owner)s::text is null or owner_id = %(owner)s)
     group by 1, 2, 3, 4
     order by 2 desc, 6 desc, 5 desc, 1, 3, 4
"""


def set_budget(connection: Connection, scope: str, key: str, period: str, usd: float) -> None:
    """Set what a scope may spend in a `day` or a `month`; replaces an earlier budget."""
    connection.execute(SET_BUDGET, {"scope": scope, "key": key, "period": period, "usd": usd})


def remove_budget(connection: Connection, scope: str, key: str, period: str) -> bool:
    """Remove a scope's budget. False: there was none."""
    parameters = {"scope": scope, "key": key, "period": period}
    return connection.execute(REMOVE_BUDGET, parameters).rowcount > 0


def book_queries(
    connection: Connection, *, owner: str | None, model: str, tokens: int, usd: Decimal
) -> None:
    """Book what the embeddings of queries cost on an owner; None: on nobody."""
    connection.execute(BOOK_QUERIES, {"owner": owner, "model": model, "tokens": tokens, "usd": usd})


def list_budgets(connection: Connection) -> list[Row]:
    """All budgets, each with what is spent of it and how many jobs wait for it."""
    return fetch_rows(connection, LIST_BUDGETS, {})


def list_usage(
    connection: Connection, *, since: date, by: list[str], owner: str | None
) -> list[Row]:
    """Tokens and dollars since a day (UTC), in groups by any of owner, day, model, purpose."""
    return fetch_rows(connection, LIST_USAGE, {"since": since, "by": by, "owner": owner})

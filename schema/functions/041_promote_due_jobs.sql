-- promote_due_jobs: waiting or dispatched -> ready once due_at has passed (a retry whose time
-- has come, or a hint that was lost). Then lets low priorities age: a job that has been ready for
-- five minutes moves up one priority, so that nothing waits for ever.
-- The time is asked for in a subquery: clock_timestamp() itself is volatile, which no index can
-- look for, and every job that is not due would be read and passed over.
create or replace function ingest_private.promote_due_jobs(p_limit integer default 1000)
returns void
language sql security definer set search_path = pg_catalog, pg_temp as $$
    with due as materialized (
        select job_id from ingest_private.job_queue
         where phase in ('waiting', 'dispatched') and due_at <= (select clock_timestamp())
         order by due_at limit p_limit for update skip locked)
    update ingest_private.job_queue as entry
       set phase = 'ready', due_at = null, aged_at = clock_timestamp()
      from due where entry.job_id = due.job_id;
$$;

create or replace function ingest_private.age_jobs(p_limit integer default 1000)
returns void
language sql security definer set search_path = pg_catalog, pg_temp as $$
    with old as materialized (
        select job_id from ingest_private.job_queue
         where phase = 'ready' and priority > 0
           and aged_at < (select clock_timestamp() - interval '5 minutes')
         order by aged_at limit p_limit for update skip locked)
    update ingest_private.job_queue as entry
       set priority = priority - 1, aged_at = clock_timestamp()
      from old where entry.job_id = old.job_id;
$$;

-- promote_due_jobs: waiting or dispatched -> ready once due_at has passed (a retry whose time has
-- come, or a hint that was lost). The time comes from a subquery: clock_timestamp() itself is
-- volatile, so no index could serve it, and every job that is not due would be read.
create or replace function ingest_private.promote_due_jobs(p_limit integer default 1000)
returns void
language sql security definer set search_path = pg_catalog, pg_temp as $$
    with due as materialized (
        select job_id from ingest_private.job_queue
         where phase in ('waiting', 'dispatched') and due_at <= (select clock_timestamp())
         order by due_at limit p_limit for update skip locked)
    update ingest_private.job_queue as entry
       set phase = 'ready', due_at = null,
           -- Reindexing, and what buys in bulk, never ages.
           aged_at = case when aged_at = 'infinity' then aged_at else clock_timestamp() end
      from due where entry.job_id = due.job_id;
$$;

-- age_jobs: lifts old jobs of low priority, so that no job waits for ever. For each owner, the job
-- that has waited longest moves up one priority after it has been ready for five minutes, and one
-- more priority after another five minutes. No second job of an owner is lifted before this one has
-- ended; otherwise a whole backlog would move up and come before every new job. If any job is that
-- old, owners are found by skipping from one to the next in the index, so a backlog of one owner
-- costs no more than a single job.
create or replace function ingest_private.age_jobs()
returns void
language sql security definer set search_path = pg_catalog, pg_temp as $$
    with recursive owners as (
        (select fairness_key from ingest_private.job_queue
          where phase = 'ready' and priority > 0
            -- This asks for the oldest job, and not whether one exists: the planner could answer
            -- that by reading all.
            and (select aged_at from ingest_private.job_queue
                  where phase = 'ready' and priority > 0 order by aged_at limit 1)
                < (select clock_timestamp() - interval '5 minutes')
          order by fairness_key limit 1)
        union all
        select (select entry.fairness_key from ingest_private.job_queue as entry
                 where entry.phase = 'ready' and entry.priority > 0
                   and entry.fairness_key > owners.fairness_key
                 order by entry.fairness_key limit 1)
          from owners where owners.fairness_key is not null),
    old as materialized (
        select coalesce(
                   (select entry.job_id from ingest_private.job_queue as entry
                     where entry.fairness_key = owners.fairness_key and entry.lifted limit 1),
                   (select entry.job_id from ingest_private.job_queue as entry
                     where entry.fairness_key = owners.fairness_key
                       and entry.phase = 'ready' and entry.priority > 0
                     order by entry.aged_at limit 1)) as job_id
          from owners where owners.fairness_key is not null),
    -- Locked one by one: the planner could answer a join by reading the whole queue.
    aged as materialized (
        select (select entry.job_id from ingest_private.job_queue as entry
                 where entry.job_id = old.job_id
                   and entry.phase = 'ready' and entry.priority > 0
                   and entry.aged_at < (select clock_timestamp() - interval '5 minutes')
                   for update skip locked) as job_id
          from old where old.job_id is not null)
    update ingest_private.job_queue as entry
       set priority = priority - 1, lifted = true, aged_at = clock_timestamp()
     where entry.job_id = any(array(select aged.job_id from aged where aged.job_id is not null));
$$;

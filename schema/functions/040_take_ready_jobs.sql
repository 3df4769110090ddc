-- take_ready_jobs: ready -> dispatched, for as many jobs as live workers have free slots, in the
-- order priority, rank. The caller sends one hint for each; bucket and name are for the eyes of
-- operators. Call it as often as you like: the window is counted anew each time, so Redis never
-- holds more hints than there are free slots and the backlog keeps its fair order in Postgres. One
-- call at a time, or two would count the same window and fill it twice.
-- While a circuit breaker is open or everything is paused it takes nothing; after the breaker's
-- time it takes one job at a time, as a probe.
-- A hint that is not claimed within p_resend_after counts as lost and its job is ready again.
create or replace function ingest_private.take_ready_jobs(p_resend_after interval)
returns table (job_id uuid, isolated boolean, bucket_id text, object_name text)
language plpgsql security definer
set search_path = pg_catalog, pg_temp set lock_timeout = '2s' as $$
#variable_conflict use_column
declare
    v_isolated boolean;
    v_free integer;
    v_open_until timestamptz;
begin
    perform pg_advisory_xact_lock(hashtext('ingest_private.take_ready_jobs'));
    perform ingest_private.promote_due_jobs();
    select max(open_until) into v_open_until from ingest_private.breakers;
    if v_open_until > clock_timestamp()
       or exists (select from ingest_private.pauses where scope = 'everything') then
        return;
    end if;
    foreach v_isolated in array array[false, true] loop
        select coalesce(sum(slots), 0) into v_free
          from ingest_private.workers
         where isolated = v_isolated and not draining
           and expires_at > clock_timestamp();
        v_free := v_free - (
            select count(*) from ingest_private.job_queue
             where phase in ('dispatched', 'running') and isolated = v_isolated);
        if v_open_until is not null then
            v_free := least(v_free, 1 - (select count(*) from ingest_private.job_queue
                                          where phase in ('dispatched', 'running')));
        end if;
        continue when v_free <= 0;
        return query
            -- Materialized: a plan that asked for `next` once for each row would take more of
            -- them than the limit says, because those that it has updated are passed over.
            with next as materialized (
                select job_id from ingest_private.job_queue
                 where phase = 'ready' and isolated = v_isolated
                 order by priority, rank limit v_free for update skip locked)
            update ingest_private.job_queue as entry
               set phase = 'dispatched', due_at = clock_timestamp() + p_resend_after
              from next where entry.job_id = next.job_id
            -- Looked up one by one: a join could be planned as one that reads every job there is.
            returning entry.job_id, entry.isolated,
                      (select job.bucket_id from ingest.jobs as job where job.id = entry.job_id),
                      (select job.object_name from ingest.jobs as job where job.id = entry.job_id);
    end loop;
end
$$;

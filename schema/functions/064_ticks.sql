-- note_tick: a task of the schedule was done, or the receiver is running. The usual gap follows the
-- last gap, but changes at most threefold, so neither an outage nor two ticks at once decide it.
create or replace function ingest_private.note_tick(p_work text)
returns void
language sql security definer set search_path = pg_catalog, pg_temp as $$
    insert into ingest_private.ticks as tick (work) values (p_work)
        on conflict (work) do update
           set ticked_at = clock_timestamp(),
               usual_gap = greatest(least(clock_timestamp() - tick.ticked_at, 3 * tick.usual_gap),
                                    tick.usual_gap / 3)
$$;

-- forget_tick: the task or receiver stops normally, so its silence means nothing.
create or replace function ingest_private.forget_tick(p_work text)
returns void
language sql security definer set search_path = pg_catalog, pg_temp as $$
    delete from ingest_private.ticks where work = p_work
$$;

-- patience_with: how long after a tick the next one counts as late: three usual gaps, and 15
-- seconds for a busy machine. With fewer than two ticks it is three periods of the rarest task: five
-- minutes each, unless an operator wants others.
create or replace function ingest_private.patience_with(p_work text)
returns interval
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select interval '15 seconds' + coalesce(
        (select 3 * usual_gap from ingest_private.ticks where work = p_work),
        interval '15 minutes')
$$;

-- silent_since: the time of the last tick, if the next tick is late. Null: the task goes on, or has
-- never begun.
create or replace function ingest_private.silent_since(p_work text)
returns timestamptz
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select ticked_at from ingest_private.ticks
     where work = p_work
       and ticked_at + ingest_private.patience_with(p_work) < clock_timestamp()
$$;

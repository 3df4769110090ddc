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

-- begin_work: whether a worker that is asked for this work is to begin it now; then notes that it has
-- begun. A work is due again one period after it began last, whichever process asks, and however often
-- that process was started meanwhile. A message may come early by half of the time between two: beat
-- sends one in each period, and at least one in 20 seconds. A time to come is no time at which the work
-- began: the clock was set back. Without a period (beat of the former release) the work is always due.
create or replace function ingest_private.begin_work(p_work text, p_period interval)
returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '2s' as $$
begin
    if p_period is null then
        return true;
    end if;
    -- Noted before the work is due: the next tick is awaited by the new period.
    update ingest_private.works set period = p_period where work = p_work and period <> p_period;
    insert into ingest_private.works as known (work, period) values (p_work, p_period)
        on conflict (work) do update set begun_at = clock_timestamp()
         where known.begun_at not between
               clock_timestamp() - p_period + least(p_period / 2, interval '10 seconds')
               and clock_timestamp();
    return found;
end
$$;

-- patience_with: how long after a tick the next one counts as late: three usual gaps, or three periods
-- if these are longer, and 15 seconds for a busy machine. If nothing is known, it is three periods of
-- the rarest task: five minutes each, unless an operator wants others.
create or replace function ingest_private.patience_with(p_work text)
returns interval
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select interval '15 seconds' + coalesce(
        3 * greatest((select usual_gap from ingest_private.ticks where work = p_work),
                     (select period from ingest_private.works where work = p_work)),
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

-- note_tick: a work of the schedule has been done, or the receiver is there. The usual gap follows
-- the last one, but changes threefold at most: neither an outage nor two ticks at once decide it.
create or replace function ingest_private.note_tick(p_work text)
returns void
language sql security definer set search_path = pg_catalog, pg_temp as $$
    insert into ingest_private.ticks as tick (work) values (p_work)
        on conflict (work) do update
           set ticked_at = clock_timestamp(),
               usual_gap = greatest(least(clock_timestamp() - tick.ticked_at, 3 * tick.usual_gap),
                                    tick.usual_gap / 3)
$$;

-- forget_tick: it ends in order, so its silence means nothing.
create or replace function ingest_private.forget_tick(p_work text)
returns void
language sql security definer set search_path = pg_catalog, pg_temp as $$
    delete from ingest_private.ticks where work = p_work
$$;

-- patience_with: how long after a tick the next one is late: three usual gaps, and a quarter of a
-- minute for a busy machine. What has not ticked twice yet gets a minute.
create or replace function ingest_private.patience_with(p_work text)
returns interval
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select interval '15 seconds' + coalesce(
        (select 3 * usual_gap from ingest_private.ticks where work = p_work),
        interval '45 seconds')
$$;

-- silent_since: when a work was heard of last, if its next tick is late. Null: it goes on, or has
-- never begun.
create or replace function ingest_private.silent_since(p_work text)
returns timestamptz
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select ticked_at from ingest_private.ticks
     where work = p_work
       and ticked_at + ingest_private.patience_with(p_work) < clock_timestamp()
$$;

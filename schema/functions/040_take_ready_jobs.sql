-- take_ready_jobs: ready -> dispatched, for as many jobs as live workers have free slots for, in the
-- order priority, rank. The caller sends one hint for each, to `queue`; bucket and name are for the
-- eyes of operators. Call it as often as you like: the window is counted anew each time, so Redis
-- never holds more hints than there are free slots and the backlog keeps its fair order in
-- Postgres. One call at a time, or two would count the same window and fill it twice.
-- Reindexing has a twentieth of a provider's slots for itself, at least one of four or more, and a
-- sixteenth at most: neither does it starve, nor do uploads wait for it. Of less than four slots it
-- gets one when no upload wants it. More slots make it no faster, and uploads slower: see
-- docs/measurements.md.
-- While everything is paused, or a circuit breaker is open that holds all jobs of a provider, it
-- takes nothing; after the breaker's time it takes one job at a time, as a probe.
-- A hint that is not claimed within p_resend_after counts as lost and its job is ready again.
create or replace function ingest_private.take_ready_jobs(p_resend_after interval)
returns table (job_id uuid, isolated boolean, bucket_id text, object_name text, queue text)
language plpgsql security definer
set search_path = pg_catalog, pg_temp set lock_timeout = '2s' as $$
#variable_conflict use_column
declare
    v_turn text;
    v_lane record;
    v_ids uuid[];
begin
    perform pg_advisory_xact_lock(hashtext('ingest_private.take_ready_jobs'));
    perform ingest_private.promote_due_jobs();
    if exists (select from ingest_private.pauses where scope = 'everything') then
        return;
    end if;
    -- One lane after another, each counted anew: what one takes is not left for the next.
    foreach v_turn in array array['reserved', 'uploads', 'reindexing'] loop
        for v_lane in select lane.provider, lane.isolated from ingest_private.lanes() as lane loop
            v_ids := ingest_private.ready_of(v_lane.provider, v_lane.isolated, v_turn);
            return query
                update ingest_private.job_queue as entry
                   set phase = 'dispatched', due_at = clock_timestamp() + p_resend_after
                 where entry.job_id = any(v_ids)
                -- Looked up one by one: a join could be planned as one that reads every job there is.
                returning entry.job_id, entry.isolated,
                          (select job.bucket_id from ingest.jobs as job where job.id = entry.job_id),
                          (select job.object_name from ingest.jobs as job
                            where job.id = entry.job_id),
                          ingest_private.queue_of(entry.job_id, entry.isolated);
        end loop;
    end loop;
end
$$;

-- room_of: how many jobs a lane takes now, in one of three turns: `reserved`, the slots that
-- reindexing has for itself; `uploads`; `reindexing`, what it may have of those that are left.
create or replace function ingest_private.room_of(
    p_provider text, p_isolated boolean, p_turn text)
returns integer
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
    v_lane record;
    v_free integer;
begin
    select * into v_lane from ingest_private.lanes() as lane
     where lane.provider = p_provider and lane.isolated = p_isolated;
    v_free := case
        when v_lane.open_until is null then v_lane.free
        when v_lane.open_until > clock_timestamp() then 0
        else least(v_lane.free, 1 - (
            select count(*) from ingest_private.job_queue as entry
             where entry.phase in ('dispatched', 'running') and entry.provider = p_provider))
        end;
    return greatest(0, case p_turn
        when 'reserved' then least(v_free, case when v_lane.slots >= 4
            then ceil(v_lane.slots / 20.0) - v_lane.reindexing else 0 end)
        when 'uploads' then v_free
        else least(v_free, ceil(v_lane.slots / 16.0) - v_lane.reindexing) end);
end
$$;

-- ready_of: lock and return the first ready jobs of a lane, as many as it takes in this turn.
create or replace function ingest_private.ready_of(
    p_provider text, p_isolated boolean, p_turn text)
returns uuid[]
language plpgsql security definer
set search_path = pg_catalog, pg_temp set enable_seqscan = off as $$
declare
    v_limit constant integer := ingest_private.room_of(p_provider, p_isolated, p_turn);
begin
    if v_limit = 0 then
        return '{}';
    end if;
    return array(
        select entry.job_id from ingest_private.job_queue as entry
         where entry.phase = 'ready' and entry.provider = p_provider
           and entry.isolated = p_isolated and entry.is_reindex = (p_turn <> 'uploads')
         order by entry.priority, entry.rank limit v_limit for update skip locked);
end
$$;

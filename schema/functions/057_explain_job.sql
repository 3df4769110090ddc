-- obstacle_of: what keeps a queued job from beginning although it is its turn, as one sentence; null:
-- nothing. live_workers: how many could run it now. is_unserved: workers run, and none has the key of
-- its provider.
create or replace function ingest_private.obstacle_of(
    p_job ingest.jobs, p_entry ingest_private.job_queue,
    out sentence text, out live_workers integer, out is_unserved boolean)
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
    v_alive integer;
    v_serving integer;
    v_silent_since constant timestamptz := ingest_private.silent_since('dispatch');
    v_is_lost constant boolean := coalesce(p_entry.due_at < clock_timestamp(), false);
begin
    select count(*), count(*) filter (where serves), count(*) filter (where serves and not draining)
      into v_alive, v_serving, live_workers
      from (select worker.draining, ingest_private.serves(worker.providers, target) as serves
              from ingest_private.workers as worker
                   join ingest.index_versions as target on target.id = p_job.index_version
             where worker.isolated = p_entry.isolated
               and worker.expires_at > clock_timestamp()) as alive;
    is_unserved := v_alive > 0 and v_serving = 0;
    sentence := case
        when is_unserved and p_entry.isolated then
            format('Its worker died, so it runs alone, and no worker for such jobs has the key of its '
                   'embedding provider, %s.', p_entry.provider)
        when is_unserved then
            format('No worker has the key of its embedding provider, %s.', p_entry.provider)
        when v_alive = 0 and p_entry.isolated then
            'Its worker died, so it runs alone, and no worker for such jobs is running.'
        when v_alive = 0 then 'No worker is running.'
        when live_workers = 0 then 'Each worker that could run it is stopping.'
        -- A hint that is not lost may still be taken.
        when v_silent_since is not null and (p_entry.phase <> 'dispatched' or v_is_lost) then
            format('The schedule that starts jobs has not been heard of since %s UTC.',
                   to_char(v_silent_since at time zone 'utc', 'YYYY-MM-DD HH24:MI:SS'))
        when p_entry.phase = 'ready'
             and p_entry.aged_at + ingest_private.patience_with('dispatch') < clock_timestamp()
             and (select jobs > 0 from ingest_private.standing_still()) then
            'Workers have room, and nothing starts it: an operator sees why with docmill doctor.'
        end;
end
$$;

-- explain_job: the state of a job and its reasons, in columns for programs and one sentence for
-- people. No row: no such job. `situation` is one of
--   waiting    for its turn: jobs_before it, and how many live workers take such jobs
--   held       by hold_reason, until next_attempt_at, or until an operator resumes it
--   retrying   after error_code, at next_attempt_at
--   working    in a stage, with progress from 0 to 1, a rate and, once it is known how much there
--              is to do, an estimate of the seconds left
--   interrupted  its worker has not been heard of for as long as a lease lasts
--   failed     with error_code; remedy says what to do
--   done, cancelled, superseded
-- Progress counts reading as half of the work, embedding as most of the other half, and the publish
-- as the last twentieth, because the publish itself reports no progress. The estimate assumes that
-- the job goes on as fast as so far. Jobs before it are counted up to a thousand, so that asking
-- stays cheap.
create or replace function ingest_private.explain_job(p_job_id uuid)
returns table (
    job_id uuid, object_name text, state text, situation text, explanation text,
    jobs_before integer, live_workers integer, hold_reason text, next_attempt_at timestamptz,
    stage text, progress real, per_second real, seconds_left real,
    attempt smallint, max_attempts smallint, error_code text, error_message text, remedy text)
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
    c_many constant integer := 1000;
    v_job ingest.jobs;
    v_entry ingest_private.job_queue;
    v_started_at timestamptz;
    v_seconds double precision;
    v_hold record;
    v_obstacle record;
begin
    select * into v_job from ingest.jobs where id = p_job_id;
    if not found then
        return;
    end if;
    select * into v_entry from ingest_private.job_queue as entry where entry.job_id = p_job_id;
    select * into v_hold from ingest_private.hold_of_run(p_job_id);
    if v_job.state = 'queued' then
        select * into v_obstacle from ingest_private.obstacle_of(v_job, v_entry);
    end if;
    job_id := v_job.id;
    object_name := v_job.object_name;
    state := v_job.state;
    stage := v_job.stage;
    attempt := v_job.attempt;
    max_attempts := v_job.max_attempts;
    error_code := v_job.error_code;
    select code.message, code.remedy into error_message, remedy
      from ingest_private.error_codes as code where code.code = v_job.error_code;

    if v_job.state = 'running'
       and exists (select from ingest_private.leases as lease
                    where lease.job_id = p_job_id and lease.expires_at < clock_timestamp()) then
        situation := 'interrupted';
        explanation := 'Its worker has not been heard of lately. It begins anew, alone, from what '
            'is embedded already, '
            || case when exists (select from ingest_private.troubles()
                                  where trouble in ('no_worker', 'no_isolated_worker',
                                                    'schedule_silent', 'leases_not_ended'))
                    then 'as soon as the schedule and a worker for it run: an operator sees what is '
                         'missing with docmill doctor.'
                    else 'within a minute.' end;

    elsif v_job.state = 'running' then
        select started_at into v_started_at from ingest_private.attempts as run
         where run.job_id = p_job_id and run.finished_at is null;
        v_seconds := greatest(extract(epoch from clock_timestamp() - v_started_at), 0.001);
        progress := case
            when v_job.chunks_total is not null then
                0.5 + 0.45 * least(1.0, (v_job.chunks_embedded + v_job.chunks_reused)
                                         / greatest(v_job.chunks_total, 1)::real)
            when v_job.pages_total > 0 then v_job.pages_done / (2.0 * v_job.pages_total)
            else 0 end;
        if v_job.chunks_total is not null then
            per_second := (v_job.chunks_embedded + v_job.chunks_reused) / v_seconds;
            seconds_left := nullif(greatest(
                v_job.chunks_total - v_job.chunks_embedded - v_job.chunks_reused, 0), 0)
                            / nullif(per_second, 0);
        elsif v_job.pages_done > 0 then
            per_second := v_job.pages_done / v_seconds;
        end if;
        situation := 'working';
        explanation := format('It is %s, %s %% done%s.', v_job.stage, round(progress * 100),
            case when seconds_left is not null
                 then format(', about %s s are left', ceil(seconds_left)) else '' end)
            || case when v_job.cancel_requested then ' It has been asked to stop.' else '' end;

    elsif v_job.state = 'queued' and coalesce(v_hold.reason, v_job.hold_reason)
              in ('paused', 'owner_budget_exceeded') then
        situation := 'held';
        hold_reason := coalesce(v_hold.reason, v_job.hold_reason);
        next_attempt_at := nullif(v_hold.until, 'infinity');
        select concat_ws(' ', code.message, ingest_private.explain_budgets(v_job), code.remedy),
               code.remedy
          into explanation, remedy
          from ingest_private.error_codes as code where code.code = hold_reason;

    elsif v_job.state = 'queued' and v_job.hold_reason = 'in_batch' then
        situation := 'held';
        hold_reason := v_job.hold_reason;
        explanation := ingest_private.explain_bulk(p_job_id);

    elsif v_job.state = 'queued' and v_job.hold_reason is not null
          and v_entry.phase = 'waiting' then
        situation := 'held';
        hold_reason := v_job.hold_reason;
        next_attempt_at := v_job.next_attempt_at;
        explanation := format('It is held (%s) until %s UTC.%s',
            v_job.hold_reason,
            to_char(v_job.next_attempt_at at time zone 'utc', 'YYYY-MM-DD HH24:MI:SS'),
            coalesce(' ' || remedy, ''));

    elsif v_job.state = 'queued' and v_entry.phase = 'waiting' and v_job.error_code is null
          and ingest_private.is_read_again(v_job) then
        situation := 'waiting';
        next_attempt_at := v_entry.due_at;
        explanation := 'It waits for a worker that reads the file as well as it was read'
            || coalesce((select format(', with %s', array_to_string(published.extras, ', '))
                           from ingest_private.published_versions as published
                          where published.document_id = v_job.document_id
                            and published.index_version = v_job.index_version
                            and published.extras <> '{}'), '') || '.';

    elsif v_job.state = 'queued' and v_entry.phase = 'waiting' then
        situation := 'retrying';
        next_attempt_at := v_entry.due_at;
        explanation := format('%s It is tried again at %s UTC, attempt %s of %s.',
            coalesce(error_message, 'It was interrupted.'),
            to_char(v_entry.due_at at time zone 'utc', 'YYYY-MM-DD HH24:MI:SS'),
            v_entry.failures + 1, v_job.max_attempts);

    elsif v_job.state = 'queued' and v_entry.phase = 'ready'
          and exists (select from ingest_private.breakers
                       where provider in ('', v_entry.provider)) then
        situation := 'held';
        hold_reason := 'breaker_open';
        select breaker.error_code, breaker.open_until, code.message, code.remedy
          into error_code, next_attempt_at, error_message, remedy
          from ingest_private.breakers as breaker
               left join ingest_private.error_codes as code on code.code = breaker.error_code
         where breaker.provider in ('', v_entry.provider)
         order by breaker.open_until desc limit 1;
        explanation := format(
            'All jobs that need this would fail at present: %s One is tried at %s UTC, the others '
            'after it. %s',
            error_message,
            to_char(next_attempt_at at time zone 'utc', 'YYYY-MM-DD HH24:MI:SS'), remedy);

    elsif v_job.state = 'queued' then
        situation := 'waiting';
        live_workers := v_obstacle.live_workers;
        select count(*) into jobs_before
          from (select from ingest_private.job_queue as earlier
                 where earlier.phase = 'ready' and earlier.provider = v_entry.provider
                   and earlier.isolated = v_entry.isolated
                   and earlier.is_reindex = v_entry.is_reindex
                   and (earlier.priority, earlier.rank) < (v_entry.priority, v_entry.rank)
                 limit c_many) as counted;
        if v_obstacle.is_unserved then
            situation := 'held';
            hold_reason := 'no_worker';
        end if;
        explanation := case
            when v_obstacle.sentence is not null then v_obstacle.sentence
            when v_entry.phase = 'dispatched' then 'It is about to begin.'
            when jobs_before >= c_many then format('%s jobs or more are before it.', c_many)
            else format('%s job(s) are before it.', jobs_before) end;

    else
        situation := case v_job.state when 'succeeded' then 'done' else v_job.state end;
        explanation := case v_job.state
            when 'failed' then concat_ws(' ', error_message, remedy)
            when 'succeeded' then
                (select case
                        when document.id is null then
                            'It was searchable; since then the file was deleted or moved away.'
                        when document.storage_version <> v_job.storage_version
                             or not document.searchable
                             or document.id in (select ingest.withdrawn_documents()) then
                            'It was searchable; since then the file or its owner has changed, and '
                            'that has a job of its own.'
                        when exists (select from ingest_private.pending_events as event
                                      where event.object_id = document.object_id) then
                            'It was searchable; since then something happened to the file, which '
                            'is noted and looked at within a minute.'
                        else 'The document is searchable.'
                             || case when document.quarantined_chunks > 0
                                     then format(' %s passage(s) that the provider refused are '
                                                 'missing.', document.quarantined_chunks)
                                     else '' end end
                   from (select) as always
                        left join ingest.documents as document
                               on document.id = v_job.document_id)
            when 'cancelled' then 'It was cancelled; it can be retried.'
            else 'The file was changed, moved or deleted; its newest version has a job of its own.'
            end;
    end if;
    -- A time that has passed is promised no more.
    if v_job.state = 'queued'
       and coalesce(hold_reason, '') not in ('paused', 'owner_budget_exceeded', 'in_batch')
       and next_attempt_at + ingest_private.patience_with('dispatch') < clock_timestamp() then
        explanation := coalesce(v_obstacle.sentence, explanation);
    end if;
    return next;
end
$$;

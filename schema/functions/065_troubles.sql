-- in_words: a length of time in words.
create or replace function ingest_private.in_words(p_time interval)
returns text
language sql immutable set search_path = pg_catalog, pg_temp as $$
    select case when s < 120 then format('%s s', round(s))
                when s < 7200 then format('%s min', round(s / 60))
                else format('%s h', round(s / 3600)) end
      from (select extract(epoch from p_time)) as seconds (s)
$$;

-- standing_still: how many ready jobs wait although workers have free slots, and since when. Looks
-- only at the first jobs of the queue, which a dispatch would take.
create or replace function ingest_private.standing_still(out jobs integer, out since timestamptz)
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select count(*)::integer, min(late.aged_at)
      from ingest_private.lanes() as lane
           cross join lateral (
               select entry.aged_at
                 from ingest_private.job_queue as entry
                where entry.phase = 'ready' and entry.provider = lane.provider
                  and entry.isolated = lane.isolated and not entry.is_reindex
                order by entry.priority, entry.rank
                limit least(greatest(lane.free, 0), 1000)) as late
     where late.aged_at + ingest_private.patience_with('dispatch') < clock_timestamp()
       and lane.open_until is null
       and not exists (select from ingest_private.pauses where scope = 'everything')
$$;

-- has_tables_left: whether a version is dropped and tables of its own are still there.
create or replace function ingest_private.has_tables_left(p_version ingest.index_versions)
returns boolean
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select p_version.state = 'dropped'
       and (to_regclass('ingest_private.chunks_' || p_version.id) is not null
            or to_regclass('ingest_private.chunk_positions_' || p_version.id) is not null
            or to_regclass('ingest_private.sketches_' || p_version.id) is not null)
$$;

-- troubles: reasons why documents are not ingested, or why the next ones would not be. status,
-- doctor and explain_job use the same list. No row: the database sees no trouble. `is_failure`:
-- something must be started or repaired; otherwise ingestion is only slow, or somebody wants it so.
--   no_worker           no ordinary worker is alive
--   no_isolated_worker  none for jobs that lost a worker
--   schedule_silent     a work of the schedule has stopped
--   jobs_stand_still    jobs are ready, workers have room, and nothing starts them
--   leases_not_ended    workers died, and nobody takes their jobs back
--   provider_not_served no worker has the key that an index version needs
--   breaker_open        every job would fail
--   events_unsettled    changes of Storage that nobody acts on
--   receiver_silent     the receiver of webhooks has stopped
--   batches_stand_still  the provider's batches get no further
--   budget_used_up      so much was spent that everything waits
--   tables_left         a version was given up, and only an operator can remove its tables
--   recall_low          the last sample of searches missed near passages
--   room_wasted         a table or an index takes much more room than it needs
--   paused              an operator wants it so
create or replace function ingest_private.troubles()
returns table (trouble text, is_failure boolean, since timestamptz, seen text, remedy text)
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select 'no_worker', true, null::timestamptz, 'no worker is running', 'start docmill worker'
     where not exists (select from ingest_private.workers
                        where not isolated and expires_at > clock_timestamp())
    union all
    select 'no_isolated_worker', true, null, 'no worker for jobs that lost theirs is running',
           'start docmill worker --isolated'
     where not exists (select from ingest_private.workers
                        where isolated and expires_at > clock_timestamp())
    union all
    -- Without a worker there are no ticks, whether beat runs or not.
    select 'schedule_silent', true, min(tick.ticked_at),
           format('the schedule has stopped: no %s for %s',
                  string_agg(tick.work, ', ' order by tick.work),
                  ingest_private.in_words(clock_timestamp() - min(tick.ticked_at))),
           'start docmill beat; if it runs, see what the workers log'
      from ingest_private.ticks as tick
     -- prune: the former release had it as a work of its own.
     where tick.work not in ('receiver', 'prune') and ingest_private.silent_since(tick.work) is not null
       and exists (select from ingest_private.workers
                    where not isolated and expires_at > clock_timestamp())
    having count(*) > 0
    union all
    select 'jobs_stand_still', true, still.since,
           format('%s job(s) ready for %s, and workers have room', still.jobs,
                  ingest_private.in_words(clock_timestamp() - still.since)),
           'start docmill beat; if it runs, see that it and the workers use the same Redis'
      from ingest_private.standing_still() as still
     where still.jobs > 0
    union all
    select 'leases_not_ended', true, min(expires_at),
           format('%s job(s) of workers that died are not taken back', count(*)),
           'start docmill beat and docmill worker'
      from ingest_private.leases
     where expires_at + ingest_private.patience_with('rescue') < clock_timestamp()
    having count(*) > 0
    union all
    select 'provider_not_served', true, null,
           format('no worker%s has the key of %s, which %s index version %s needs',
                  case when kind.isolated then ' for jobs that lost theirs' else '' end, target.provider,
                  case target.state when 'active' then 'the active' else 'a building' end,
                  target.id),
           case target.provider
                when 'local' then 'install docmill[local] where a worker runs'
                when 'e5' then 'install docmill[e5] where a worker runs'
                when 'openai' then 'set OPENAI_API_KEY where a worker runs, and start it anew'
                else format('set what docs/providers.md names for %s, or %s in DOCMILL_PROVIDERS, where '
                            'a worker runs, and start it anew', target.provider, target.provider)
           end
      from ingest.index_versions as target
           cross join (values (false), (true)) as kind (isolated)
     where target.state in ('building', 'active') and not target.is_paused
       and exists (select from ingest_private.workers
                    where isolated = kind.isolated and expires_at > clock_timestamp())
       and not exists (select from ingest_private.workers as worker
                        where worker.isolated = kind.isolated
                          and worker.expires_at > clock_timestamp()
                          and ingest_private.serves(worker.providers, target))
       and (not kind.isolated
            or exists (select from ingest_private.job_queue as entry
                        where entry.isolated and entry.provider = target.provider))
    union all
    select 'breaker_open', true, breaker.opened_at,
           case breaker.provider when '' then format('every job is held: %s', code.message)
                else format('every job of %s is held: %s', breaker.provider, code.message) end,
           code.remedy
      from ingest_private.breakers as breaker
           left join ingest_private.error_codes as code on code.code = breaker.error_code
    union all
    select 'events_unsettled', false, min(event.created_at),
           format('%s change(s) of Storage not acted on for %s', count(*),
                  ingest_private.in_words(clock_timestamp() - min(event.created_at))),
           'start docmill beat and docmill worker; if they run, see what the workers log'
      from ingest_private.pending_events as event
     where event.created_at + ingest_private.patience_with('dispatch') < clock_timestamp()
    having count(*) > 0
    union all
    select 'receiver_silent', false, silent,
           format('the receiver of webhooks was heard of %s ago',
                  ingest_private.in_words(clock_timestamp() - silent)),
           'start docmill webhook: until then the schedule finds uploads, which takes longer'
      from ingest_private.silent_since('receiver') as silent
     where silent is not null
    union all
    select 'batches_stand_still', false, min(batch.created_at),
           format('%s batch(es) of %s get no further%s', count(*), batch.provider,
                  coalesce(': ' || max(batch.error_code), '')),
           'see what docmill worker logs, and docs/bulk.md'
      from ingest_private.bulk_batches as batch
     where batch.state <> 'ended'
       and batch.created_at < clock_timestamp() - case when batch.error_code is null
                                                       then interval '30 hours'
                                                       else interval '1 hour' end
     group by batch.provider
    union all
    select 'budget_used_up', false, null,
           format('the budget of everything for this %s is used up: %s of %s USD', used.period,
                  round(used.spent, 2), round(used.usd, 2)),
           'it goes on with the next period, or raise it: docmill budget set'
      from ingest_private.budgets_used(null, true) as used
     where used.spent >= used.usd
    union all
    select 'tables_left', false, version.retired_at,
           format('index version %s was given up, and its tables are still there', version.id),
           format('docmill reindex drop %s', version.id)
      from ingest.index_versions as version where ingest_private.has_tables_left(version)
    union all
    select case sample.schedule when 'sample_recall' then 'recall_low' else 'room_wasted' end,
           false, sample.sampled_at, sample.seen, sample.remedy
      from ingest_private.bad_samples() as sample
    union all
    select 'paused', false, pause.created_at,
           case pause.scope when 'everything' then 'everything is paused'
                else format('%s %s is paused', pause.scope, pause.key) end,
           'docmill resume, with the options of the pause'
      from ingest_private.pauses as pause
$$;

-- renew_leases: the heartbeat of one worker process: one statement for all its runs, each named by
-- job and token, on a connection of its own. If a lease is locked, its run is using it and will
-- renew it later. It is skipped, so one long publish does not delay the renewal of all others.
-- p_providers: the providers whose keys the worker has; p_reader_rules, p_chunk_rules, p_extras:
-- how it reads; null: the worker is of a former release. Returns the leases that were renewed and,
-- marked as not renewed, other leases of this worker that belong to none of these runs. The answer
-- to their claim was lost, or the end of their run could not be written. No run works on them, so
-- the worker gives them back; this does not count as a crash.
create or replace function ingest_private.renew_leases(
    p_worker_id text, p_slots integer, p_isolated boolean, p_draining boolean, p_version text,
    p_lease_for interval, p_job_ids uuid[], p_tokens bigint[], p_providers text[] default null,
    p_reader_rules integer default null, p_chunk_rules integer default null,
    p_extras text[] default null)
returns table (job_id uuid, token bigint, renewed boolean)
language sql security definer set search_path = pg_catalog, pg_temp as $$
    -- A new worker may have the key that was missing.
    select ingest_private.probe_breakers()
     where not exists (select from ingest_private.workers where id = p_worker_id);
    insert into ingest_private.workers as worker
                (id, slots, isolated, draining, version, expires_at, providers,
                 reader_rules, chunk_rules, extras)
    values (p_worker_id, p_slots, p_isolated, p_draining, p_version,
            clock_timestamp() + p_lease_for, p_providers, p_reader_rules, p_chunk_rules, p_extras)
        on conflict (id) do update
           set slots = excluded.slots, isolated = excluded.isolated,
               draining = excluded.draining, version = excluded.version,
               last_seen = clock_timestamp(), expires_at = excluded.expires_at,
               providers = excluded.providers, reader_rules = excluded.reader_rules,
               chunk_rules = excluded.chunk_rules, extras = excluded.extras;
    with runs as materialized (
        select run.job_id, run.token from unnest(p_job_ids, p_tokens) as run (job_id, token)),
    held as materialized (
        select lease.job_id
          from ingest_private.leases as lease
               join runs on runs.job_id = lease.job_id and runs.token = lease.token
         where lease.worker_id = p_worker_id
         order by lease.job_id for update of lease skip locked),
    renewed as (
        update ingest_private.leases as lease
           set expires_at = clock_timestamp() + p_lease_for
          from held where lease.job_id = held.job_id
        returning lease.job_id, lease.token)
    select job_id, token, true from renewed
    union all
    select lease.job_id, lease.token, false
      from ingest_private.leases as lease
     where lease.worker_id = p_worker_id
       and not exists (select from runs
                        where runs.job_id = lease.job_id and runs.token = lease.token);
$$;

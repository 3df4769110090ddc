-- renew_leases: the heartbeat of one worker process: one statement for all its runs, each named by
-- job and token, on a connection of its own. A locked lease is in use by its owner, who will be
-- back: skipped, so that one long publish does not stall the renewal of all others.
-- p_providers: whose keys it has; p_reader_rules, p_chunk_rules, p_extras: how it reads; null: of a
-- former release.
-- Returns the leases that were renewed, and, as not renewed, those of this worker that are none of
-- those runs. Their claim was committed but its
-- answer was lost, or the end of their run could not be written; nobody works on them, so the
-- worker is to give them back, which is no crash of theirs.
create or replace function ingest_private.renew_leases(
    p_worker_id text, p_slots integer, p_isolated boolean, p_draining boolean, p_version text,
    p_lease_for interval, p_job_ids uuid[], p_tokens bigint[], p_providers text[] default null,
    p_reader_rules integer default null, p_chunk_rules integer default null,
    p_extras text[] default null)
returns table (job_id uuid, token bigint, renewed boolean)
language sql security definer set search_path = pg_catalog, pg_temp as $$
    -- A worker that is new may have come with the key that was missing.
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

-- renew_leases: the heartbeat of one worker process: one statement for all its jobs, on a
-- connection of its own. A locked lease is in use by its owner, who will be back: skipped, so
-- that one long publish does not stall the renewal of all others.
create or replace function ingest_private.renew_leases(
    p_worker_id text, p_slots integer, p_isolated boolean, p_draining boolean, p_version text,
    p_lease_for interval)
returns void
language sql security definer set search_path = pg_catalog, pg_temp as $$
    insert into ingest_private.workers as worker
                (id, slots, isolated, draining, version, expires_at)
    values (p_worker_id, p_slots, p_isolated, p_draining, p_version,
            clock_timestamp() + p_lease_for)
        on conflict (id) do update
           set slots = excluded.slots, isolated = excluded.isolated,
               draining = excluded.draining, version = excluded.version,
               last_seen = clock_timestamp(), expires_at = excluded.expires_at;
    with held as materialized (
        select job_id from ingest_private.leases
         where worker_id = p_worker_id order by job_id for update skip locked)
    update ingest_private.leases as lease
       set expires_at = clock_timestamp() + p_lease_for
      from held where lease.job_id = held.job_id;
$$;

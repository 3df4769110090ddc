-- Circuit breakers. Every job of a provider would meet an error of its configuration (a revoked
-- key, a missing model), and every job would meet such an error of Storage. The first such error
-- opens the breaker of this provider and code. Until its time has passed, no job that needs the
-- provider is dispatched; then one job at a time, as a probe. If the probe meets the error, the
-- breaker opens again. If it is published, the breakers of Storage close; if it was embedded, also
-- those of its provider.

-- open_breaker: no job that needs it is tried before p_until.
create or replace function ingest_private.open_breaker(
    p_provider text, p_error_code text, p_until timestamptz)
returns void
language sql security definer set search_path = pg_catalog, pg_temp as $$
    insert into ingest_private.breakers as breaker (provider, error_code, open_until)
    values (case when p_error_code = 'storage_auth' then '' else p_provider end, p_error_code,
            p_until)
        on conflict (provider, error_code) do update
           set open_until = greatest(breaker.open_until, excluded.open_until);
$$;

-- probe_breakers: tries the next job now, even one that met the error, because a change may have
-- ended the error.
create or replace function ingest_private.probe_breakers()
returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    if not exists (select from ingest_private.breakers) then
        return;
    end if;
    update ingest_private.breakers set open_until = clock_timestamp();
    update ingest_private.job_queue as entry
       set due_at = clock_timestamp()
      from (select held.job_id
              from ingest_private.job_queue as held
                   join ingest.jobs as job on job.id = held.job_id
             where held.phase = 'waiting' and job.hold_reason = 'breaker_open'
             order by held.job_id for update of held skip locked) as held
     where entry.job_id = held.job_id;
end
$$;

-- close_breakers: a document was read from Storage and, if p_embedded, embedded by this provider.
create or replace function ingest_private.close_breakers(p_provider text, p_embedded boolean)
returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    if exists (select from ingest_private.breakers
                where provider = '' or (p_embedded and provider = p_provider)) then
        perform ingest_private.probe_breakers();
        delete from ingest_private.breakers
         where provider = '' or (p_embedded and provider = p_provider);
    end if;
end
$$;

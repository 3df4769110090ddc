-- hints_wait: whether there is a job, isolated or not, whose hint was sent and that no worker has
-- claimed yet.
create or replace function ingest_private.hints_wait(p_isolated boolean)
returns boolean
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select exists (select from ingest_private.job_queue
                    where phase = 'dispatched' and isolated = p_isolated)
$$;

-- fail_job: a counted failure: running -> queued, due after p_retry_in, or -> failed when
-- p_retry_in is null or the attempts are used up. False: the lease is lost, nothing was changed.
create or replace function ingest_private.fail_job(
    p_job_id uuid, p_token bigint, p_error_code text, p_retry_in interval)
returns boolean
language plpgsql security definer
set search_path = pg_catalog, pg_temp set lock_timeout = '10s' as $$
declare
    v_failures smallint;
    v_max_attempts smallint;
begin
    if not ingest_private.lock_run(p_job_id, p_token) then
        return false;
    end if;
    update ingest_private.job_queue set failures = failures + 1
     where job_id = p_job_id returning failures into v_failures;
    select max_attempts into v_max_attempts from ingest.jobs where id = p_job_id;
    if p_retry_in is null or v_failures >= v_max_attempts then
        perform ingest_private.end_failed(p_job_id, p_error_code);
    else
        perform ingest_private.requeue_job(p_job_id, 'retried', p_error_code, null, p_retry_in);
    end if;
    return true;
end
$$;

-- release_job: running -> queued without a failure counted: a rate limit, an outage, a hold, a
-- worker that drains. p_error_code is the error, p_hold_reason says why the job now waits. running
-- -> failed if the document itself causes the passing error: see is_hopeless.
create or replace function ingest_private.release_job(
    p_job_id uuid, p_token bigint, p_error_code text, p_hold_reason text, p_retry_in interval)
returns boolean
language plpgsql security definer
set search_path = pg_catalog, pg_temp set lock_timeout = '10s' as $$
begin
    if not ingest_private.lock_run(p_job_id, p_token) then
        return false;
    end if;
    if p_hold_reason = 'breaker_open' then
        perform ingest_private.open_breaker(
                    entry.provider, p_error_code, clock_timestamp() + p_retry_in)
           from ingest_private.job_queue as entry where entry.job_id = p_job_id;
    end if;
    if ingest_private.is_hopeless(p_job_id, p_error_code) then
        perform ingest_private.end_failed(p_job_id, p_error_code);
    else
        perform ingest_private.requeue_job(
            p_job_id, 'released', p_error_code, p_hold_reason, p_retry_in);
    end if;
    return true;
end
$$;

-- cancel_run: running -> cancelled, by the worker that holds the lease.
create or replace function ingest_private.cancel_run(p_job_id uuid, p_token bigint)
returns boolean
language plpgsql security definer
set search_path = pg_catalog, pg_temp set lock_timeout = '10s' as $$
begin
    if not ingest_private.lock_run(p_job_id, p_token) then
        return false;
    end if;
    perform ingest_private.end_cancelled(p_job_id);
    return true;
end
$$;

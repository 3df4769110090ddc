-- is_due: whether a due time has come that no run has taken, or a run has failed; and no run is
-- under way.
create or replace function ingest_private.is_due(p_schedule ingest_private.schedules)
returns boolean
language sql volatile security definer set search_path = pg_catalog, pg_temp as $$
    select p_schedule.expression is not null
           and case when p_schedule.token is null then p_schedule.next_due_at <= clock_timestamp()
                    else p_schedule.leased_until < clock_timestamp() end
$$;

-- put_schedules: writes the schedules of the settings, each with the next time of its expression; a
-- null expression turns a schedule off. Only a new or changed schedule gets this time, and is not
-- due before it. Returns the names of the schedules that are due.
create or replace function ingest_private.put_schedules(
    p_names text[], p_expressions text[], p_next_due_at timestamptz[], p_time_zone text)
returns setof text
language plpgsql security definer
set search_path = pg_catalog, pg_temp set lock_timeout = '2s' as $$
begin
    insert into ingest_private.schedules as schedule (name, expression, next_due_at, time_zone)
    select wanted.name, wanted.expression, wanted.next_due_at, wanted.time_zone
      from (select name, expression, next_due_at,
                   case when expression is not null then p_time_zone end as time_zone
              from unnest(p_names, p_expressions, p_next_due_at)
                   as given (name, expression, next_due_at)) as wanted
     -- This looks first, because an insert that finds the row would lock it, and a run holds that
     -- lock for long.
     where not exists (select from ingest_private.schedules as known
                        where known.name = wanted.name
                          and (known.expression, known.time_zone)
                              is not distinct from (wanted.expression, wanted.time_zone))
        on conflict (name) do update
           set expression = excluded.expression, next_due_at = excluded.next_due_at,
               time_zone = excluded.time_zone
         where (schedule.expression, schedule.time_zone)
               is distinct from (excluded.expression, excluded.time_zone);
    return query
        select schedule.name from ingest_private.schedules as schedule
         where schedule.name = any(p_names) and ingest_private.is_due(schedule)
         order by schedule.next_due_at, schedule.name;
end
$$;

-- claim_schedule: begins the run of a schedule that is due. There is one run, however many due
-- times were missed. The schedule is due again at p_next_due_at, or when the lease ends without
-- finish_schedule. Returns the token; null if it is not due, or another run is under way.
create or replace function ingest_private.claim_schedule(
    p_name text, p_next_due_at timestamptz, p_lease interval)
returns bigint
language sql security definer
set search_path = pg_catalog, pg_temp set lock_timeout = '2s' as $$
    update ingest_private.schedules
       set token = nextval('ingest_private.lease_token'),
           leased_until = clock_timestamp() + p_lease,
           next_due_at = p_next_due_at,
           last_started_at = clock_timestamp()
     where name = (select schedule.name from ingest_private.schedules as schedule
                    where schedule.name = p_name and ingest_private.is_due(schedule)
                      for update skip locked)
    returning token
$$;

-- renew_schedule: extends the lease of the run, and locks the schedule until the transaction ends.
-- False: another run has it; write nothing more.
create or replace function ingest_private.renew_schedule(
    p_name text, p_token bigint, p_lease interval)
returns boolean
language plpgsql security definer
set search_path = pg_catalog, pg_temp set lock_timeout = '2s' as $$
begin
    update ingest_private.schedules set leased_until = clock_timestamp() + p_lease
     where name = p_name and token = p_token;
    return found;
end
$$;

-- finish_schedule: writes what the run did, or the code of its error. After an error the run is
-- tried again when its lease is over. False: another run has it, and nothing is written.
create or replace function ingest_private.finish_schedule(
    p_name text, p_token bigint, p_error text, p_documents integer, p_job_ids uuid[])
returns boolean
language plpgsql security definer
set search_path = pg_catalog, pg_temp set lock_timeout = '2s' as $$
begin
    update ingest_private.schedules
       set last_finished_at = clock_timestamp(),
           last_outcome = case when p_error is null then 'done' else 'failed' end,
           last_error = p_error, documents = p_documents, job_ids = p_job_ids,
           token = case when p_error is not null then token end,
           leased_until = case when p_error is not null then leased_until end
     where name = p_name and token = p_token;
    return found;
end
$$;

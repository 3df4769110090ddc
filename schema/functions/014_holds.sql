-- is_paused: whether an operator has paused everything, this owner or this source.
create or replace function ingest_private.is_paused(p_owner_id text, p_source_id bigint)
returns boolean
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select exists (
        select from ingest_private.pauses
         where (scope, key) in (('everything', ''), ('owner', p_owner_id),
                                ('source', p_source_id::text)))
$$;

-- hold_of: why a queued job must wait, and until when: paused, until it is resumed; over its budget,
-- until the next day or month. Null: it may run. A job that has bought all that it wants in bulk is not
-- over a budget: it has nothing left to buy.
create or replace function ingest_private.hold_of(
    p_job_id uuid, out reason text, out until timestamptz)
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
    v_job ingest.jobs;
begin
    select * into v_job from ingest.jobs where id = p_job_id;
    if ingest_private.is_paused(
           v_job.owner_id, (select source_id from ingest.documents where id = v_job.document_id)) then
        reason := 'paused';
        until := 'infinity';
        return;
    end if;
    until := ingest_private.over_budget_until(v_job.owner_id, v_job.kind = 'reindex');
    if until is not null and ingest_private.has_bought(p_job_id) then
        until := null;
    end if;
    reason := case when until is not null then 'owner_budget_exceeded' end;
end
$$;

-- hold_of_run: why a job must not begin a run now, and until when: as hold_of says, or activating, until
-- another index version is active, or is not for now. Uploads do not ask it: they would wait for a lock
-- on what it reads, and a job that never ran has nothing to publish.
create or replace function ingest_private.hold_of_run(
    p_job_id uuid, out reason text, out until timestamptz)
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    select * into reason, until from ingest_private.hold_of(p_job_id);
    if reason is null then
        select ingest_private.activating_until(job.index_version) into until
          from ingest.jobs as job where job.id = p_job_id and job.kind = 'ingest';
        reason := case when until is not null then 'activating' end;
    end if;
end
$$;

-- set_aside: takes a queued job out of those that may run, for this reason, until then. False: there is
-- no reason, and nothing was changed. The caller holds the lock on the job. What it has bought in bulk
-- by then stays bought: its batches may be answered while it is held.
create or replace function ingest_private.set_aside(
    p_job_id uuid, p_reason text, p_until timestamptz)
returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    if p_reason is null then
        return false;
    end if;
    update ingest_private.job_queue
       set phase = 'waiting', due_at = p_until,
           is_bought = is_bought or ingest_private.has_bought(p_job_id)
     where job_id = p_job_id;
    update ingest.jobs
       set hold_reason = p_reason,
           next_attempt_at = case when p_until < 'infinity' then p_until end,
           updated_at = clock_timestamp()
     where id = p_job_id;
    return true;
end
$$;

-- hold_job: sets a queued job aside if hold_of says so. False: it may run.
create or replace function ingest_private.hold_job(p_job_id uuid)
returns boolean
language sql security definer set search_path = pg_catalog, pg_temp as $$
    select ingest_private.set_aside(p_job_id, hold.reason, hold.until)
      from ingest_private.hold_of(p_job_id) as hold
$$;

-- hold_run: sets a queued job aside if hold_of_run says so. False: it may run.
create or replace function ingest_private.hold_run(p_job_id uuid)
returns boolean
language sql security definer set search_path = pg_catalog, pg_temp as $$
    select ingest_private.set_aside(p_job_id, hold.reason, hold.until)
      from ingest_private.hold_of_run(p_job_id) as hold
$$;

-- apply_pauses: brings one page of the queue, in order of job id, in line with what is paused and over
-- its budget now: holds jobs, or lets them go on. Both work without it, because nothing that is held can
-- be claimed; this is what makes it visible, and what ends it. Returns how many jobs changed and the
-- job id to continue after; null: the end. A job that is locked is left to the next sweep.
create or replace function ingest_private.apply_pauses(
    p_after uuid, p_limit integer default 2000, out changed integer, out next_after uuid)
language plpgsql security definer
set search_path = pg_catalog, pg_temp set lock_timeout = '2s' as $$
declare
    v_page uuid[];
    v_row record;
begin
    changed := 0;
    if not exists (select from ingest_private.pauses)
       and not exists (select from ingest_private.budgets)
       and not exists (select from ingest_private.job_queue as entry
                        where entry.phase = 'waiting'
                          and (select job.hold_reason from ingest.jobs as job
                                where job.id = entry.job_id)
                              in ('paused', 'owner_budget_exceeded')) then
        return;
    end if;
    v_page := array(select job_id from ingest_private.job_queue
                     where p_after is null or job_id > p_after order by job_id limit p_limit);
    if cardinality(v_page) = p_limit then
        next_after := v_page[p_limit];
    end if;
    for v_row in
        select job.id, hold.reason
          from ingest.jobs as job
               cross join lateral ingest_private.hold_of(job.id) as hold
         where job.id = any(v_page) and job.state = 'queued'
           and hold.reason is distinct from
               case when job.hold_reason in ('paused', 'owner_budget_exceeded')
                    then job.hold_reason end
         order by job.id for no key update of job skip locked
    loop
        if not ingest_private.hold_job(v_row.id) then
            update ingest_private.job_queue
               set phase = 'ready', due_at = null,
                   aged_at = case when aged_at = 'infinity' then aged_at else clock_timestamp() end
             where job_id = v_row.id;
            update ingest.jobs
               set hold_reason = null, next_attempt_at = clock_timestamp(),
                   updated_at = clock_timestamp()
             where id = v_row.id;
        end if;
        changed := changed + 1;
    end loop;
end
$$;

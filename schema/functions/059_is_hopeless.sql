-- is_hopeless: whether a passing error, which a job met once more, is caused by its own document.
-- Passing errors count no attempt, so that an outage fails no job. But an error that one document
-- causes would come back for ever: a file whose row exists and whose bytes are gone, a text that
-- crashes the provider, a publish longer than its timeout. A job is hopeless if all of this is
-- true:
--   five runs met it in a row, the first of them at least half an hour ago,
--   nothing was staged for the document since then,
--   at least ten other runs, or probes, used the same service in the last half hour, and at least
--   nine tenths of them succeeded.
-- While a service is down for all, the last condition is false, however long that takes.
create or replace function ingest_private.is_hopeless(p_job_id uuid, p_error_code text)
returns boolean
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
    c_runs constant integer := 5;
    c_patience constant interval := interval '30 minutes';
    c_tries constant integer := 10;
    c_served constant double precision := 0.9;
    v_dependency text := ingest_private.dependency_of(p_error_code);
    v_document_id uuid := (select document_id from ingest.jobs where id = p_job_id);
    v_since timestamptz;
    v_tries integer;
    v_served integer;
begin
    if v_dependency is null then
        return false;
    end if;
    -- The newest runs, this one first. Runs before one with another outcome do not count, and
    -- neither do runs that a stopping worker gave back.
    with newest as materialized (
        select attempt.started_at, attempt.id,
               attempt.finished_at is null
               or attempt.outcome = 'released'
                  and ingest_private.dependency_of(attempt.error_code) is not distinct from
                      v_dependency as met_it
          from ingest_private.attempts as attempt
         where attempt.job_id = p_job_id
           and not (attempt.outcome is not distinct from 'released' and attempt.error_code is null)
         order by attempt.id desc limit 1000)
    select min(newest.started_at) into v_since
      from newest
     where newest.id > coalesce((select max(id) from newest where not met_it), 0)
    having count(*) >= c_runs;
    if v_since is null or v_since > clock_timestamp() - c_patience then
        return false;
    end if;
    if exists (select from ingest_private.staged_chunks as staged
                where staged.document_id = v_document_id and staged.staged_at > v_since) then
        return false;
    end if;
    with tries as (
        (select attempt.outcome = 'succeeded' as served
           from ingest_private.attempts as attempt
          where attempt.finished_at > (select clock_timestamp() - c_patience)
            and attempt.job_id <> p_job_id
            and (attempt.outcome = 'succeeded'
                 or ingest_private.dependency_of(attempt.error_code) = v_dependency)
          order by attempt.finished_at desc limit 1000)
        union all
        select probe.served from ingest_private.probes as probe
         where probe.dependency = v_dependency
           and probe.tried_at > clock_timestamp() - c_patience)
    select count(*), count(*) filter (where tries.served) into v_tries, v_served from tries;
    return v_tries >= c_tries and v_served >= c_served * v_tries;
end
$$;

-- probes_wanted: services with which a job has failed for some time, and that no probe has tried in
-- the last minutes. A worker tries them, so that even the only job of an installation comes to an
-- end: the provider with one word, Storage with an object that was read before.
create or replace function ingest_private.probes_wanted()
returns table (dependency text, bucket_id text, object_name text)
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    with met as materialized (
        select distinct ingest_private.dependency_of(job.error_code) as dependency
          from ingest_private.job_queue as entry
               join ingest.jobs as job on job.id = entry.job_id
         where entry.phase = 'waiting' and job.error_code is not null
           and (select count(*) from ingest_private.attempts as attempt
                 where attempt.job_id = entry.job_id) >= 3),
    known as materialized (
        select document.bucket_id, document.object_name
          from ingest.jobs as job
               join ingest.documents as document on document.latest_job_id = job.id
         where job.finished_at is not null and job.state = 'succeeded'
           and exists (select from met where met.dependency = 'storage')
         order by job.finished_at desc limit 1)
    select met.dependency, known.bucket_id, known.object_name
      from met left join known on met.dependency = 'storage'
     where (met.dependency = 'provider' or known.object_name is not null)
       and not exists (select from ingest_private.probes as probe
                        where probe.dependency = met.dependency
                          and probe.tried_at > (select clock_timestamp() - interval '2 minutes'));
$$;

-- note_probe: stores the result of a worker's own try of a service. Results are kept for a day.
create or replace function ingest_private.note_probe(p_dependency text, p_served boolean)
returns void
language sql security definer set search_path = pg_catalog, pg_temp as $$
    delete from ingest_private.probes where tried_at < clock_timestamp() - interval '1 day';
    insert into ingest_private.probes (dependency, served) values (p_dependency, p_served);
$$;

-- serves: whether a worker may run jobs of an index version: it has the provider's key, or it is of
-- the former release and the version is one that it knows.
create or replace function ingest_private.serves(
    p_providers text[], p_version ingest.index_versions)
returns boolean
language sql immutable set search_path = pg_catalog, pg_temp as $$
    select case when p_providers is null then p_version.is_former
                else p_version.provider = any(p_providers) end
$$;

-- lanes: for each provider with an index version, and for workers of both kinds, how many slots the
-- live workers have for its jobs, how many of those are taken, and how many of these by reindexing.
-- A worker has one set of slots for all its providers: `free` is what is left of them. The active
-- version's provider comes first. open_until: that of the breaker that holds its jobs, if any.
create or replace function ingest_private.lanes()
returns table (provider text, isolated boolean, slots integer, free integer, reindexing integer,
               open_until timestamptz)
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    with taken as materialized (
        select entry.provider, entry.isolated, count(*) as number,
               count(*) filter (where entry.is_reindex) as reindexing
          from ingest_private.job_queue as entry
         where entry.phase in ('dispatched', 'running')
         group by entry.provider, entry.isolated),
    alive as materialized (
        select worker.isolated, worker.slots, worker.providers
          from ingest_private.workers as worker
         where not worker.draining and worker.expires_at > clock_timestamp()),
    served as (
        select version.provider, bool_or(version.state = 'active') as is_active,
               kind.isolated,
               (select coalesce(sum(alive.slots), 0) from alive
                 where alive.isolated = kind.isolated
                   and (version.provider = any(alive.providers)
                        or alive.providers is null and bool_or(version.is_former))) as slots,
               (select coalesce(sum(alive.slots), 0) from alive
                 where alive.isolated = kind.isolated)
               - (select coalesce(sum(taken.number), 0) from taken
                   where taken.isolated = kind.isolated) as free
          from ingest.index_versions as version
               cross join (values (false), (true)) as kind (isolated)
         where version.state <> 'dropped'
         group by version.provider, kind.isolated)
    select served.provider, served.isolated, served.slots::integer,
           least(served.free, served.slots - coalesce(taken.number, 0))::integer,
           coalesce(taken.reindexing, 0)::integer,
           (select max(breaker.open_until) from ingest_private.breakers as breaker
             where breaker.provider in ('', served.provider))
      from served
           left join taken on taken.provider = served.provider
                          and taken.isolated = served.isolated
     order by served.isolated, served.is_active desc, served.provider
$$;

-- queue_of: the Celery queue that the hint of a job goes to. The one that every worker listens to,
-- as long as all that live could run the job; else that of its provider.
create or replace function ingest_private.queue_of(p_job_id uuid, p_isolated boolean)
returns text
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select case when p_isolated then 'isolated' else 'ingest' end
           || case when exists (select from ingest_private.workers as worker
                                 where worker.isolated = p_isolated and not worker.draining
                                   and worker.expires_at > clock_timestamp()
                                   and not ingest_private.serves(worker.providers, target))
                   then '.' || target.provider else '' end
      from ingest.jobs as job
           join ingest.index_versions as target on target.id = job.index_version
     where job.id = p_job_id
$$;

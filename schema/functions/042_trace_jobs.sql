-- trace_jobs: gives unfinished jobs the traces that their runs continue, each unless it has one, and
-- returns in order the ones that they have then. With null for a trace it only asks. Null: the job
-- has none, or is not in the queue any more. A text of another form is refused by the table. Waits a
-- short time for claims, and then fails as a whole: the runs make traces of their own.
create or replace function ingest_private.trace_jobs(p_job_ids uuid[], p_traceparents text[])
returns text[]
language plpgsql security definer
set search_path = pg_catalog, pg_temp set lock_timeout = '200ms' set enable_seqscan = off as $$
begin
    perform from ingest_private.job_queue as entry
      where entry.job_id = any(p_job_ids) and entry.traceparent is null
        and exists (select from unnest(p_traceparents) as given where given is not null)
      order by entry.job_id for no key update;
    update ingest_private.job_queue as entry
       set traceparent = first.traceparent
      from (select distinct on (given.job_id) given.job_id, given.traceparent
              from unnest(p_job_ids, p_traceparents) with ordinality
                       as given (job_id, traceparent, position)
             where given.traceparent is not null
             order by given.job_id, given.position) as first
     where entry.job_id = first.job_id and entry.traceparent is null;
    return array(select (select entry.traceparent from ingest_private.job_queue as entry
                          where entry.job_id = given.job_id)
                   from unnest(p_job_ids) with ordinality as given (job_id, position)
                  order by given.position);
end
$$;

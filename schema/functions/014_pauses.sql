-- is_paused: whether an operator has paused everything, this owner or this source.
create or replace function ingest_private.is_paused(p_owner_id text, p_source_id bigint)
returns boolean
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select exists (
        select from ingest_private.pauses
         where (scope, key) in (('everything', ''), ('owner', p_owner_id),
                                ('source', p_source_id::text)))
$$;

-- hold_paused: a queued job waits until it is resumed, out of the way of those that may run. The
-- caller holds the lock on the job.
create or replace function ingest_private.hold_paused(p_job_id uuid)
returns void
language sql security definer set search_path = pg_catalog, pg_temp as $$
    update ingest_private.job_queue
       set phase = 'waiting', due_at = 'infinity' where job_id = p_job_id;
    update ingest.jobs
       set hold_reason = 'paused', next_attempt_at = null, updated_at = clock_timestamp()
     where id = p_job_id;
$$;

-- apply_pauses: brings one page of the queue, in order of job id, in line with what is paused now:
-- holds jobs, or lets them go on. Pausing works without it, because nothing that is paused can be
-- claimed; this is what makes it visible, and what ends it. Returns how many jobs changed and the
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
       and not exists (select from ingest_private.job_queue
                        where phase = 'waiting' and due_at = 'infinity') then
        return;
    end if;
    v_page := array(select job_id from ingest_private.job_queue
                     where p_after is null or job_id > p_after order by job_id limit p_limit);
    if cardinality(v_page) = p_limit then
        next_after := v_page[p_limit];
    end if;
    for v_row in
        select job.id, ingest_private.is_paused(job.owner_id, document.source_id) as paused
          from ingest.jobs as job
               join ingest_private.job_queue as entry on entry.job_id = job.id
               left join ingest.documents as document on document.id = job.document_id
         where job.id = any(v_page) and job.state = 'queued'
           and ingest_private.is_paused(job.owner_id, document.source_id)
               <> (entry.due_at is not distinct from 'infinity')
         order by job.id for no key update of job skip locked
    loop
        if v_row.paused then
            perform ingest_private.hold_paused(v_row.id);
        else
            update ingest_private.job_queue
               set phase = 'ready', due_at = null, aged_at = clock_timestamp()
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

-- While an operator makes a filled version active, publishes in the active one are held, for 30 s at
-- most. Otherwise there would always be a document that was just uploaded and that the other version
-- lacks. The hold is a time in the database: if the command dies, it ends by itself.

-- activating_until: how long publishes in this index version are held; null: they are not.
create or replace function ingest_private.activating_until(p_index_version integer)
returns timestamptz
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select (value ->> 'until')::timestamptz from ingest_private.settings
     where name = 'activating' and (value ->> 'version')::integer = p_index_version
       and (value ->> 'until')::timestamptz > clock_timestamp()
$$;

-- begin_activating: holds publishes in the active version from now on, for p_longest. For the
-- schema's owner, like end_activating.
create or replace function ingest_private.begin_activating(p_longest interval)
returns void
language sql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '10s' as $$
    insert into ingest_private.settings as setting (name, value)
    select 'activating', jsonb_build_object(
               'version', active.id, 'until', clock_timestamp() + least(p_longest, interval '30 s'))
      from ingest.index_versions as active where active.state = 'active'
        on conflict (name) do update set value = excluded.value
$$;

-- end_activating: lets the jobs that were held for this go on. Skips locked jobs: their time ends.
create or replace function ingest_private.end_activating()
returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp set lock_timeout = '10s' set enable_seqscan = off as $$
declare
    v_jobs uuid[];
begin
    delete from ingest_private.settings where name = 'activating';
    v_jobs := array(
        select job.id from ingest.jobs as job
         where job.state = 'queued' and job.hold_reason = 'activating'
         order by job.id for no key update skip locked);
    update ingest_private.job_queue as entry
       set phase = 'ready', due_at = null,
           aged_at = case when entry.aged_at = 'infinity' then entry.aged_at
                          else clock_timestamp() end
     where entry.job_id = any(v_jobs) and entry.phase = 'waiting';
    update ingest.jobs as job
       set hold_reason = null, next_attempt_at = clock_timestamp(), updated_at = clock_timestamp()
     where job.id = any(v_jobs);
end
$$;

-- hold_publish: a run that may not publish now -> queued, as hold_of_run says. The same steps as
-- release_job; no attempt is counted, and what is staged stays.
create or replace function ingest_private.hold_publish(p_job_id uuid, p_token bigint)
returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    if ingest_private.lock_run(p_job_id, p_token) then
        perform ingest_private.requeue_job(p_job_id, 'released', null, null, interval '0');
    end if;
end
$$;

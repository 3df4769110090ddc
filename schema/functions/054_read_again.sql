-- chosen_to_read: p_limit documents to be read again in the active index version, in order of id,
-- after an id. A document must fit everything that p_choice names:
--   outdated      a live worker reads it better than it was read, or its name stands for another type
--                 by now; and none that reads as well has tried that already
--   failed        it failed with this code; without this key, only what is searchable is chosen
--   unread_pages  some of its pages could not be read
--   older_than    published longer ago than this interval
--   bucket, prefix, owner
-- A document that already has a job is not chosen.
create or replace function ingest_private.chosen_to_read(
    p_choice jsonb, p_after uuid, p_limit integer)
returns table (document_id uuid, storage_version text, status text, chunk_count integer,
               token_count bigint, size_bytes bigint, unread_pages integer)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp set enable_seqscan = off set jit = off as $$
#variable_conflict use_column
declare
    v_active constant integer := (select id from ingest.index_versions where state = 'active');
    v_offers constant ingest_private.reading[] := array(
        select offer from ingest_private.offers(v_active, false) as offer);
    v_failed constant text := p_choice ->> 'failed';
    v_is_outdated constant boolean := coalesce((p_choice ->> 'outdated')::boolean, false);
    v_is_unread constant boolean := coalesce((p_choice ->> 'unread_pages')::boolean, false);
    v_before constant timestamptz :=
        clock_timestamp() - (p_choice ->> 'older_than')::interval;
    v_unknown text;
begin
    select min(name) into v_unknown from jsonb_object_keys(p_choice) as name
     where name not in ('outdated', 'failed', 'unread_pages', 'older_than', 'bucket', 'prefix',
                        'owner');
    if v_unknown is not null or p_choice = '{}' or v_failed is not null and v_is_outdated then
        raise exception 'documents cannot be chosen by %', coalesce(v_unknown, p_choice::text)
            using errcode = 'invalid_parameter_value';
    end if;
    return query
        select document.id, document.storage_version, document.status, document.chunk_count,
               document.token_count, document.size_bytes, document.unread_pages
          from ingest.documents as document
               left join ingest_private.published_versions as published
                      on published.document_id = document.id
                     and published.index_version = v_active
                     and published.storage_version = document.storage_version
         where document.id > coalesce(p_after, '00000000-0000-0000-0000-000000000000')
           and case when v_failed is null
                    then document.status = 'ready' and published.document_id is not null
                    else document.status = 'failed' and document.error_code = v_failed end
           and (not v_is_unread or document.unread_pages > 0)
           and (v_before is null
                or coalesce(published.published_at, document.updated_at) < v_before)
           and (p_choice ->> 'bucket' is null or document.bucket_id = p_choice ->> 'bucket')
           and (p_choice ->> 'prefix' is null
                or starts_with(document.object_name, p_choice ->> 'prefix'))
           and (p_choice ->> 'owner' is null or document.owner_id = p_choice ->> 'owner')
           and not exists (select from ingest.jobs as job
                            where job.document_id = document.id
                              and job.index_version = v_active
                              and job.state in ('queued', 'running'))
           -- The comparison of as_good is repeated here, because a call for each row took many
           -- times longer. This form takes 2 s for 100,000 documents.
           and (not v_is_outdated or exists (
                select from unnest(v_offers) as offer
                 where offer.reader_rules >= published.reader_rules
                   and offer.chunk_rules >= published.chunk_rules
                   and offer.extras @> published.extras
                   and (offer.reader_rules > published.reader_rules
                        or offer.chunk_rules > published.chunk_rules
                        or not published.extras @> offer.extras
                        or published.named_type
                           <> ingest_private.named_type(document.object_name))
                   and (published.tried_at is null
                        or published.tried_named_type
                           <> ingest_private.named_type(document.object_name)
                        or not ingest_private.as_good(published.tried, offer))))
         order by document.id limit p_limit;
end
$$;

-- read_again: makes a job for each document that chosen_to_read names. Looks at p_limit documents,
-- and skips a document if it has more tokens than are left of p_max_tokens (null: no bound), or if
-- it is locked. Returns the jobs, the tokens that these documents have now, and the id to continue
-- after; null: no more are chosen. A document with a job is not chosen again, so calling it again
-- repeats nothing. A searchable document gets a job of kind reindex, which never changes its
-- status, error or latest_job_id; its chunks stay until others are published. A failed document
-- gets a job of kind ingest, as after a retry. Unless the choice is `outdated`, the file is read in
-- full even with the same rules.
create or replace function ingest_private.read_again(
    p_choice jsonb, p_limit integer, p_after uuid default null, p_max_tokens bigint default null,
    out job_ids uuid[], out tokens bigint, out next_after uuid)
language plpgsql security definer
set search_path = pg_catalog, pg_temp set lock_timeout = '2s'
set enable_seqscan = off set jit = off as $$
declare
    v_chosen record;
    v_looked_at integer := 0;
begin
    job_ids := '{}';
    tokens := 0;
    for v_chosen in select * from ingest_private.chosen_to_read(p_choice, p_after, p_limit) loop
        v_looked_at := v_looked_at + 1;
        next_after := v_chosen.document_id;
        continue when tokens + v_chosen.token_count > p_max_tokens;
        perform from ingest.documents as document
          where document.id = v_chosen.document_id and document.status = v_chosen.status
            and document.storage_version = v_chosen.storage_version
            for no key update skip locked;
        continue when not found or exists (
            select from ingest.jobs as job
             where job.document_id = v_chosen.document_id
               and job.index_version = (select id from ingest.index_versions
                                         where state = 'active')
               and job.state in ('queued', 'running'));
        job_ids := job_ids || ingest_private.enqueue_again(
            v_chosen.document_id, v_chosen.status, not p_choice ? 'outdated');
        tokens := tokens + v_chosen.token_count;
    end loop;
    if v_looked_at < p_limit then
        next_after := null;
    end if;
end
$$;

-- enqueue_again: makes a job that reads a document again in the active index version; returns its
-- id. The caller has locked the document.
create or replace function ingest_private.enqueue_again(
    p_document_id uuid, p_status text, p_in_full boolean)
returns uuid
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    v_job_id uuid;
begin
    select ingest_private.enqueue_job(
               p_document_id, version.id, case p_status when 'failed' then 'ingest' else 'reindex' end,
               9::smallint, 1)
      into strict v_job_id from ingest.index_versions as version where version.state = 'active';
    update ingest_private.job_queue set in_full = p_in_full where job_id = v_job_id;
    update ingest.documents
       set status = 'pending', error_code = null, error_message = null,
           updated_at = clock_timestamp()
     where id = p_document_id and status = 'failed';
    return v_job_id;
end
$$;

-- The bulk lane. A run of a job in it puts the texts that must be bought into bulk_texts and gives the
-- job back, held as `in_batch`: from then on the job has no slot, no lease and no child. Texts of many
-- jobs become a batch, the batch becomes a file at the provider, and its answer is staged like any
-- other embedding. Then the job is ready again, and its next run finds everything staged and
-- publishes. What a batch does not bring is sent again in another one, three times at most; then, and
-- if the provider refuses it, the run asks for it directly and deals with it as with any other text.

-- bulk_state: whether a job buys in bulk, and whether any of its texts has not been answered.
create or replace function ingest_private.bulk_state(p_job_id uuid)
returns table (is_bulk boolean, in_batch boolean)
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select entry.is_bulk,
           entry.is_bulk and exists (
               select from ingest_private.bulk_texts as bought
                where bought.job_id = p_job_id and bought.state in ('waiting', 'sent'))
      from ingest_private.job_queue as entry where entry.job_id = p_job_id
$$;

-- has_bought: whether all that a job wants in bulk is in a batch or was answered. Then a budget has
-- nothing to hold it for.
create or replace function ingest_private.has_bought(p_job_id uuid)
returns boolean
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select coalesce((
        select entry.is_bulk and (
                   entry.is_bought
                   or not exists (select from ingest_private.bulk_texts as bought
                                   where bought.job_id = p_job_id and bought.state = 'waiting')
                      -- Of one that is in a batch all may be answered, and nobody has woken it yet.
                      and (exists (select from ingest_private.bulk_texts as bought
                                    where bought.job_id = p_job_id and bought.state = 'sent')
                           or exists (select from ingest.jobs as job
                                       where job.id = p_job_id and job.hold_reason = 'in_batch')))
          from ingest_private.job_queue as entry where entry.job_id = p_job_id), false)
$$;

-- explain_bulk: what the texts of a job wait for, in words.
create or replace function ingest_private.explain_bulk(p_job_id uuid)
returns text
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select concat_ws(' ',
        format('It is embedded in bulk: %s of its texts wait for a batch, %s are in one.',
               count(*) filter (where bought.state = 'waiting'),
               count(*) filter (where bought.state = 'sent')),
        case when min(batch.submitted_at) is not null
             then format('The provider has had the first since %s UTC, and answers within a day '
                         'as a rule.',
                         to_char(min(batch.submitted_at) at time zone 'utc', 'YYYY-MM-DD HH24:MI'))
             end)
      from ingest_private.bulk_texts as bought
           left join ingest_private.bulk_batches as batch on batch.id = bought.batch_id
     where bought.job_id = p_job_id
$$;

-- put_bulk_texts: texts that a run wants in bulk. A text that the document has here already is not
-- put twice. False: the lease is lost, and nothing was put.
create or replace function ingest_private.put_bulk_texts(
    p_job_id uuid, p_token bigint, p_hashes bytea[], p_contents text[], p_headings jsonb[],
    p_token_counts integer[], p_metadatas jsonb[], p_usd numeric[])
returns boolean
language plpgsql security definer
set search_path = pg_catalog, pg_temp set lock_timeout = '5s' as $$
declare
    v_job ingest.jobs;
begin
    -- The job is locked before its lease, as in begin_stage.
    select * into v_job from ingest.jobs
     where id = p_job_id and state = 'running' for no key update;
    perform from ingest_private.leases
      where job_id = p_job_id and token = p_token for key share;
    if not found or v_job.document_id is null then
        return false;
    end if;
    -- In order of id, as whoever deals with the answer of a batch: an upsert would lock them in
    -- another one, and each would wait for the other.
    perform from ingest_private.bulk_texts as bought
      where bought.document_id = v_job.document_id and bought.index_version = v_job.index_version
        and bought.content_hash = any(p_hashes)
      order by bought.id for no key update;
    insert into ingest_private.bulk_texts as bought (
               job_id, document_id, index_version, owner_id, content_hash, content, headings,
               token_count, metadata, usd)
    select p_job_id, v_job.document_id, v_job.index_version, v_job.owner_id, wanted.content_hash,
           wanted.content, array(select jsonb_array_elements_text(wanted.headings)),
           wanted.token_count, wanted.metadata, wanted.usd
      from unnest(p_hashes, p_contents, p_headings, p_token_counts, p_metadatas, p_usd)
               as wanted (content_hash, content, headings, token_count, metadata, usd)
     order by wanted.content_hash
        on conflict (document_id, index_version, content_hash) do update
           set job_id = excluded.job_id;
    update ingest_private.job_queue set is_bought = false where job_id = p_job_id;
    return true;
end
$$;

-- direct_hashes: texts of a job that batches did not bring.
create or replace function ingest_private.direct_hashes(p_job_id uuid)
returns table (content_hash bytea)
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select bought.content_hash
      from ingest.jobs as job
           join ingest_private.bulk_texts as bought
             on bought.document_id = job.document_id
            and bought.index_version = job.index_version and bought.state = 'direct'
     where job.id = p_job_id
$$;

-- drop_bulk_texts: nobody wants these texts of a document any more, in one index version or in all.
-- Of one that is in a batch a row without content stays: its answer is paid for, and dropped. Returns
-- how many rows it changed, p_limit at most.
create or replace function ingest_private.drop_bulk_texts(
    p_document_ids uuid[], p_index_version integer default null, p_limit integer default null)
returns integer
language sql security definer
set search_path = pg_catalog, pg_temp set enable_seqscan = off as $$
    with unwanted as materialized (
        select bought.id from ingest_private.bulk_texts as bought
         where bought.document_id = any(p_document_ids)
           and (p_index_version is null or bought.index_version = p_index_version)
         order by bought.id limit p_limit for update),
    gone as (
        delete from ingest_private.bulk_texts as bought
         using unwanted where bought.id = unwanted.id and bought.state <> 'sent'
        returning bought.id),
    emptied as (
        update ingest_private.bulk_texts as bought
           set document_id = null, content = '', headings = '{}', metadata = '{}',
               content_hash = sha256('')
          from unwanted where bought.id = unwanted.id and bought.state = 'sent'
        returning bought.id)
    select ((select count(*) from gone) + (select count(*) from emptied))::integer
$$;

-- forget_unwanted_texts: texts that wait for a batch and whose job has ended are not bought.
create or replace function ingest_private.forget_unwanted_texts()
returns void
language sql security definer set search_path = pg_catalog, pg_temp as $$
    -- Materialized: each job is looked up once, and not for each of its texts.
    with jobs as materialized (
        select distinct waiting.job_id from ingest_private.bulk_texts as waiting
         where waiting.state <> 'sent'),
    unwanted as materialized (
        select waiting.id from ingest_private.bulk_texts as waiting
         where waiting.state <> 'sent'
           and waiting.job_id = any(array(
                   select jobs.job_id from jobs
                    where not exists (select from ingest.jobs as job
                                       where job.id = jobs.job_id and job.finished_at is null)))
         order by waiting.id for update skip locked)
    delete from ingest_private.bulk_texts as bought
     using unwanted where bought.id = unwanted.id
$$;

-- budget_left: what may still be bought under the budgets of everything, or under those of an owner.
-- Null: as much as anybody wants.
create or replace function ingest_private.budget_left(
    p_owner_id text, p_is_reindex boolean, p_of_all boolean)
returns numeric
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select min(used.usd - used.spent)
      from ingest_private.budgets_used(p_owner_id, p_is_reindex) as used
     where (used.scope = 'everything') = p_of_all
$$;

-- may_be_sent: of texts that wait, in order, those that the budgets let be bought now, and that fit
-- into one file of p_bytes. A budget is held for each before it is sent.
create or replace function ingest_private.may_be_sent(
    p_ids bigint[], p_is_reindex boolean, p_bytes bigint)
returns bigint[]
language sql stable security definer set search_path = pg_catalog, pg_temp set jit = off as $$
    with wanted as materialized (
        select bought.id, bought.owner_id, bought.usd,
               -- JSON escapes some characters, and each line has more than the text.
               2 * octet_length(bought.content) + 1000 as bytes
          from ingest_private.bulk_texts as bought where bought.id = any(p_ids)),
    owners as materialized (
        select wanted.owner_id,
               ingest_private.budget_left(wanted.owner_id, p_is_reindex, false) as budget
          from wanted group by wanted.owner_id),
    allowed as materialized (
        select wanted.id, wanted.usd, wanted.bytes, owner.budget,
               sum(wanted.usd) over (partition by wanted.owner_id order by wanted.id)
               - wanted.usd as before
          from wanted
               -- Equal, or both null; in these words it can be hashed.
               join owners as owner
                 on (owner.owner_id is null) = (wanted.owner_id is null)
                and coalesce(owner.owner_id, '') = coalesce(wanted.owner_id, '')),
    affordable as materialized (
        select allowed.id,
               sum(allowed.usd) over (order by allowed.id) - allowed.usd as before,
               sum(allowed.bytes) over (order by allowed.id) as bytes
          from allowed where allowed.budget is null or allowed.before < allowed.budget)
    select coalesce(array_agg(affordable.id order by affordable.id), '{}')
      from affordable
           cross join lateral (
               select ingest_private.budget_left(null, p_is_reindex, true) as budget) as everything
     where (everything.budget is null or affordable.before < everything.budget)
       and affordable.bytes <= p_bytes
$$;

-- owners_held: owners with texts that wait for a batch who are paused or over their budgets.
create or replace function ingest_private.owners_held(p_is_reindex boolean)
returns text[]
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    -- Materialized: asked once for each owner, and not for each text.
    with waiting as materialized (
        select distinct bought.owner_id from ingest_private.bulk_texts as bought
         where bought.state = 'waiting' and bought.owner_id is not null)
    select array(
        select waiting.owner_id from waiting
         where ingest_private.is_paused(waiting.owner_id, null)
            or ingest_private.budget_left(waiting.owner_id, p_is_reindex, false) <= 0)
$$;

-- make_bulk_batch: chooses the texts of the next batch for one of these providers. A batch is made
-- when the text that has waited longest has waited for p_wait, or when there are p_texts of them. After
-- a batch of a model came to nothing, none is made for it before p_pause. Returns the batch; null:
-- there is nothing to send now. One call at a time.
create or replace function ingest_private.make_bulk_batch(
    p_providers text[], p_wait interval, p_pause interval, p_texts integer, p_bytes bigint)
returns uuid
language plpgsql security definer
set search_path = pg_catalog, pg_temp set lock_timeout = '2s' as $$
declare
    v_kind record;
    v_held text[];
    v_ids bigint[];
    v_batch_id uuid;
begin
    perform pg_advisory_xact_lock(hashtext('ingest_private.make_bulk_batch'));
    perform ingest_private.forget_unwanted_texts();
    if exists (select from ingest_private.pauses where scope = 'everything') then
        return null;
    end if;
    for v_kind in
        select version.provider, version.model, version.dimensions, version.sends_dimensions,
               job.kind as purpose
          from ingest_private.bulk_texts as bought
               join ingest.index_versions as version on version.id = bought.index_version
               join ingest.jobs as job on job.id = bought.job_id
         where bought.state = 'waiting' and version.provider = any(p_providers)
         group by 1, 2, 3, 4, 5
        having min(bought.added_at) <= clock_timestamp() - p_wait or count(*) >= p_texts
         order by job.kind, min(bought.added_at)
    loop
        continue when exists (
            select from ingest_private.bulk_batches as failed
             where (failed.provider, failed.model) = (v_kind.provider, v_kind.model)
               and failed.error_code is not null
               and failed.ended_at > clock_timestamp() - p_pause);
        v_held := ingest_private.owners_held(v_kind.purpose = 'reindex');
        v_ids := array(
            select bought.id
              from ingest_private.bulk_texts as bought
                   join ingest.index_versions as version on version.id = bought.index_version
                   join ingest.jobs as job on job.id = bought.job_id
             where bought.state = 'waiting' and job.kind = v_kind.purpose
               and (bought.owner_id is null
                    -- Hashed, in a plan that is kept as well; an array would be gone through.
                    or bought.owner_id not in (select unnest(v_held)))
               and not exists (
                       select from ingest.documents as document
                              join ingest_private.pauses as pause
                                on pause.scope = 'source'
                               and pause.key = document.source_id::text
                        where document.id = bought.document_id)
               and (version.provider, version.model, version.dimensions, version.sends_dimensions)
                   = (v_kind.provider, v_kind.model, v_kind.dimensions, v_kind.sends_dimensions)
               -- One text of an owner is bought once: an equal one waits for its answer.
               and not exists (
                       select from ingest_private.bulk_texts as equal
                        where hashtextextended(
                                  equal.owner_id || encode(equal.content_hash, 'hex'), 0)
                              = hashtextextended(
                                  bought.owner_id || encode(bought.content_hash, 'hex'), 0)
                          and equal.owner_id = bought.owner_id
                          and equal.content_hash = bought.content_hash
                          and equal.index_version = bought.index_version
                          and equal.state = 'sent')
             order by bought.id limit p_texts for update of bought skip locked);
        v_ids := array(
            select min(bought.id) from ingest_private.bulk_texts as bought
             where bought.id = any(v_ids)
             group by bought.owner_id, bought.index_version, bought.content_hash,
                      case when bought.owner_id is null then bought.id end
             order by 1);
        v_ids := ingest_private.may_be_sent(v_ids, v_kind.purpose = 'reindex', p_bytes);
        continue when cardinality(v_ids) = 0;
        insert into ingest_private.bulk_batches (provider, model, dimensions, sends_dimensions,
                                                 purpose, texts, held_usd)
        select v_kind.provider, v_kind.model, v_kind.dimensions, v_kind.sends_dimensions,
               v_kind.purpose, cardinality(v_ids), sum(bought.usd)
          from ingest_private.bulk_texts as bought where bought.id = any(v_ids)
        returning id into v_batch_id;
        update ingest_private.bulk_texts as bought
           set state = 'sent', batch_id = v_batch_id where bought.id = any(v_ids);
        insert into ingest_private.bulk_held (owner_id, batch_id, usd)
        select bought.owner_id, v_batch_id, sum(bought.usd)
          from ingest_private.bulk_texts as bought
         where bought.id = any(v_ids) and bought.owner_id is not null
         group by bought.owner_id;
        return v_batch_id;
    end loop;
    return null;
end
$$;

-- claim_bulk_batch: the oldest batch with something left to do, but for those of p_except, for one
-- worker; others leave it alone as long as that worker lives. `is_wanted`: some document still waits
-- for a text of it. No row: there is none.
create or replace function ingest_private.claim_bulk_batch(
    p_worker_id text, p_providers text[], p_except uuid[])
returns table (
    id uuid, provider text, model text, dimensions integer, sends_dimensions boolean, state text,
    input_file_id text, submitting_at timestamptz, remote_id text, remote_status text,
    output_file_id text, error_file_id text, read_lines integer, created_at timestamptz,
    cleared_at timestamptz, is_wanted boolean)
language plpgsql security definer
set search_path = pg_catalog, pg_temp set lock_timeout = '2s' as $$
#variable_conflict use_column
declare
    v_id uuid;
begin
    select batch.id into v_id
      from ingest_private.bulk_batches as batch
     where batch.cleared_at is null and batch.provider = any(p_providers)
       and batch.id <> all(p_except)
       and not exists (select from ingest_private.workers as other
                        where other.id = batch.worker_id and other.id <> p_worker_id
                          and other.expires_at > clock_timestamp())
     order by batch.created_at, batch.id limit 1 for update skip locked;
    if not found then
        return;
    end if;
    update ingest_private.bulk_batches as batch set worker_id = p_worker_id where batch.id = v_id;
    return query
        select batch.id, batch.provider, batch.model, batch.dimensions, batch.sends_dimensions,
               batch.state, batch.input_file_id, batch.submitting_at, batch.remote_id,
               batch.remote_status, batch.output_file_id, batch.error_file_id, batch.read_lines,
               batch.created_at, batch.cleared_at,
               exists (select from ingest_private.bulk_texts as bought
                              join ingest.jobs as job on job.id = bought.job_id
                        where bought.batch_id = v_id and bought.document_id is not null
                          and job.finished_at is null)
          from ingest_private.bulk_batches as batch where batch.id = v_id;
end
$$;

-- bulk_batch_texts: p_limit texts of a batch in order of id, from p_after on. Those that were dropped
-- meanwhile are not among them.
create or replace function ingest_private.bulk_batch_texts(
    p_batch_id uuid, p_after bigint, p_limit integer)
returns table (id bigint, document_prefix text, headings text[], content text)
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select bought.id, version.document_prefix, bought.headings, bought.content
      from ingest_private.bulk_texts as bought
           join ingest.index_versions as version on version.id = bought.index_version
     where bought.batch_id = p_batch_id and bought.document_id is not null
       and bought.id > p_after
     order by bought.id limit p_limit
$$;

-- note_bulk_batch: writes what the worker that is at a batch has found out: columns by their names.
-- False: another worker is at it by now, and nothing was written.
create or replace function ingest_private.note_bulk_batch(
    p_batch_id uuid, p_worker_id text, p_facts jsonb)
returns boolean
language plpgsql security definer
set search_path = pg_catalog, pg_temp set lock_timeout = '5s' as $$
declare
    v_batch ingest_private.bulk_batches;
begin
    select * into v_batch from ingest_private.bulk_batches
     where id = p_batch_id and worker_id = p_worker_id for update;
    if not found then
        return false;
    end if;
    v_batch := jsonb_populate_record(v_batch, p_facts);
    update ingest_private.bulk_batches
       set state = v_batch.state, input_file_id = v_batch.input_file_id,
           submitting_at = v_batch.submitting_at, remote_id = v_batch.remote_id,
           remote_status = v_batch.remote_status, output_file_id = v_batch.output_file_id,
           error_file_id = v_batch.error_file_id, error_code = v_batch.error_code,
           submitted_at = case when v_batch.state <> 'made' and remote_id is null
                               then clock_timestamp() else submitted_at end,
           cleared_at = v_batch.cleared_at
     where id = p_batch_id;
    return true;
end
$$;

-- leave_bulk_batch: the worker is done with a batch for now. p_error_code: why it got no further.
create or replace function ingest_private.leave_bulk_batch(
    p_batch_id uuid, p_worker_id text, p_error_code text)
returns void
language sql security definer
set search_path = pg_catalog, pg_temp set lock_timeout = '5s' as $$
    update ingest_private.bulk_batches
       set worker_id = null,
           error_code = case when state = 'ended' then error_code else p_error_code end
     where id = p_batch_id and worker_id = p_worker_id
$$;

-- begin_bulk_page: call this first in a transaction that deals with lines p_from to p_to of a batch's
-- answer. False: they were dealt with already, or another worker is at the batch: write nothing.
create or replace function ingest_private.begin_bulk_page(
    p_batch_id uuid, p_worker_id text, p_from integer, p_to integer)
returns boolean
language plpgsql security definer
set search_path = pg_catalog, pg_temp set lock_timeout = '5s' as $$
begin
    update ingest_private.bulk_batches
       set read_lines = p_to
     where id = p_batch_id and worker_id = p_worker_id
       and state = 'collecting' and read_lines = p_from;
    return found;
end
$$;

-- equal_bulk_texts: texts that wait for a batch and equal an answered one: of the same owner, in the
-- same index version. Never of another owner, and none for a document without one.
create or replace function ingest_private.equal_bulk_texts(p_answered bigint[])
returns table (id bigint, answered_id bigint)
language sql stable security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off as $$
    select equal.id, answered.id
      from unnest(p_answered) as wanted (id)
           join ingest_private.bulk_texts as answered
             on answered.id = wanted.id and answered.document_id is not null
           join ingest_private.bulk_texts as equal
             on hashtextextended(equal.owner_id || encode(equal.content_hash, 'hex'), 0)
                = hashtextextended(answered.owner_id || encode(answered.content_hash, 'hex'), 0)
            and equal.owner_id = answered.owner_id
            and equal.content_hash = answered.content_hash
            and equal.index_version = answered.index_version
            and equal.state = 'waiting'
$$;

-- collect_bulk_page: what a page of a batch's answer says. For each text: `embedded`, with the
-- tokens that were billed; `refused` by the provider; or `again`. Books what was paid, and returns the
-- texts whose embeddings the caller now stages, in this transaction. Embeddings for documents that are
-- gone are paid for and dropped; those of an owner who was erased are booked under no name. Equal texts
-- of an owner that wait take the same embedding: their rows have the id of the answered one. A document
-- that is being drained waits for this transaction, or this finds its texts dropped. Call it after
-- begin_bulk_page, which has locked the batch.
create or replace function ingest_private.collect_bulk_page(
    p_batch_id uuid, p_ids bigint[], p_outcomes text[], p_tokens bigint[], p_usd_a_token numeric)
returns table (id bigint, document_id uuid, index_version integer, content_hash bytea,
               content text, headings text[], token_count integer, metadata jsonb)
language plpgsql security definer
set search_path = pg_catalog, pg_temp set lock_timeout = '5s' set jit = off as $$
#variable_conflict use_column
declare
    v_batch ingest_private.bulk_batches;
    v_equal bigint[];
    v_answered bigint[];
begin
    select * into v_batch from ingest_private.bulk_batches as batch
     where batch.id = p_batch_id and batch.state = 'collecting';
    if not found then
        return;
    end if;
    select array_agg(equal.id), array_agg(equal.answered_id) into v_equal, v_answered
      from ingest_private.equal_bulk_texts(array(
               select answer.id from unnest(p_ids, p_outcomes) as answer (id, outcome)
                where answer.outcome = 'embedded')) as equal;
    -- Jobs before their texts, as in put_bulk_texts.
    perform from ingest.jobs as job
      where job.id = any(array(select bought.job_id from ingest_private.bulk_texts as bought
                                where bought.id = any(p_ids) and bought.batch_id = p_batch_id
                                   or bought.id = any(v_equal)))
      order by job.id for no key update;
    -- All of these leave the batch here. Before their rows are locked, as erase_rows does it.
    update ingest_private.bulk_held as held
       set usd = held.usd - answered.usd
      from (select bought.owner_id, sum(bought.usd) as usd
              from ingest_private.bulk_texts as bought
             where bought.id = any(p_ids) and bought.batch_id = p_batch_id
             group by bought.owner_id) as answered
     where held.batch_id = p_batch_id and held.owner_id = answered.owner_id;
    perform from ingest_private.bulk_texts as bought
      where bought.id = any(p_ids) and bought.batch_id = p_batch_id or bought.id = any(v_equal)
      order by bought.id for update;
    perform ingest_private.record_bulk_spend(v_batch, p_ids, p_outcomes, p_tokens, p_usd_a_token);

    update ingest_private.bulk_texts as bought
       set state = 'direct', batch_id = null
      from unnest(p_ids, p_outcomes) as answer (id, outcome)
     where bought.id = answer.id and bought.batch_id = p_batch_id
       and bought.document_id is not null and answer.outcome = 'refused';
    perform ingest_private.send_again(array(
        select bought.id
          from ingest_private.bulk_texts as bought
               join unnest(p_ids, p_outcomes) as answer (id, outcome) on answer.id = bought.id
         where bought.batch_id = p_batch_id and answer.outcome = 'again'), true);
    return query
        with taken as (
            delete from ingest_private.bulk_texts as bought
             where bought.id = any(p_ids) and bought.batch_id = p_batch_id
            returning bought.*),
        too as (
            delete from ingest_private.bulk_texts as bought
             using unnest(v_equal, v_answered) as equal (id, answered_id)
             where bought.id = equal.id and bought.state = 'waiting'
               and equal.answered_id in (select taken.id from taken)
            returning equal.answered_id, bought.*),
        wanted as (
            select taken.id as answered_id, taken.* from taken
            union all
            select too.* from too)
        select taken.answered_id, taken.document_id, taken.index_version, taken.content_hash,
               taken.content, taken.headings, taken.token_count, taken.metadata
          from wanted as taken
               join ingest.documents as document on document.id = taken.document_id
               join unnest(p_ids, p_outcomes) as answer (id, outcome)
                 on answer.id = taken.answered_id
         where answer.outcome = 'embedded'
           and not exists (select from ingest_private.staged_chunks as staged
                            where staged.document_id = taken.document_id
                              and staged.index_version = taken.index_version
                              and staged.content_hash = taken.content_hash)
         order by taken.document_id, taken.index_version, taken.content_hash;
    update ingest_private.bulk_batches as batch
       set held_usd = (select coalesce(sum(bought.usd), 0)
                         from ingest_private.bulk_texts as bought
                        where bought.batch_id = p_batch_id)
     where batch.id = p_batch_id;
end
$$;

-- record_bulk_spend: what the answered texts cost: on their jobs, in the ledgers of their owners, and
-- in that of all. A text whose row is gone was of an owner who was erased: it is in the last alone.
create or replace function ingest_private.record_bulk_spend(
    p_batch ingest_private.bulk_batches, p_ids bigint[], p_outcomes text[], p_tokens bigint[],
    p_usd_a_token numeric)
returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    update ingest.jobs as job
       set tokens_used = job.tokens_used + paid.tokens,
           cost_usd = job.cost_usd + paid.tokens * p_usd_a_token
      from (select bought.job_id, sum(answer.tokens) as tokens
              from unnest(p_ids, p_outcomes, p_tokens) as answer (id, outcome, tokens)
                   join ingest_private.bulk_texts as bought on bought.id = answer.id
             where answer.outcome = 'embedded' and bought.batch_id = p_batch.id
             group by bought.job_id) as paid
     where job.id = paid.job_id;
    perform ingest_private.book_spend(paid.owner_id, p_batch.model, p_batch.purpose, paid.tokens,
                                      paid.tokens * p_usd_a_token)
       from (select bought.owner_id, sum(answer.tokens)::bigint as tokens
               from unnest(p_ids, p_outcomes, p_tokens) as answer (id, outcome, tokens)
                    left join ingest_private.bulk_texts as bought
                      on bought.id = answer.id and bought.batch_id = p_batch.id
              where answer.outcome = 'embedded'
              group by bought.owner_id order by bought.owner_id) as paid;
end
$$;

-- send_again: texts of a batch that it did not answer wait for another one; after the third, or if
-- nothing can be gained by that, the next run asks for them directly. Those that were dropped go.
create or replace function ingest_private.send_again(p_ids bigint[], p_is_counted boolean)
returns void
language sql security definer set search_path = pg_catalog, pg_temp as $$
    delete from ingest_private.bulk_texts where id = any(p_ids) and document_id is null;
    update ingest_private.bulk_texts
       set tries = tries + p_is_counted::integer, batch_id = null,
           state = case when tries + p_is_counted::integer >= 3 then 'direct' else 'waiting' end
     where id = any(p_ids) and document_id is not null;
$$;

-- end_bulk_batch: nothing more is expected of a batch. Its texts without an answer are sent again;
-- p_is_counted: that counts for them. p_error_code: it came to nothing. False: another worker is at
-- it, and nothing was changed.
create or replace function ingest_private.end_bulk_batch(
    p_batch_id uuid, p_worker_id text, p_error_code text, p_is_counted boolean)
returns boolean
language plpgsql security definer
set search_path = pg_catalog, pg_temp set lock_timeout = '5s' as $$
begin
    update ingest_private.bulk_batches
       set state = 'ended', ended_at = clock_timestamp(), held_usd = 0, error_code = p_error_code
     where id = p_batch_id and worker_id = p_worker_id and state <> 'ended';
    if not found then
        return false;
    end if;
    delete from ingest_private.bulk_held where batch_id = p_batch_id;
    perform ingest_private.send_again(array(
        select id from ingest_private.bulk_texts
         where batch_id = p_batch_id order by id for update), p_is_counted);
    return true;
end
$$;

-- wake_bulk_jobs: jobs whose texts were all answered are ready again. Returns how many. Level-triggered:
-- whatever was interrupted, the next call finds them. A job that is locked is left to the next one.
create or replace function ingest_private.wake_bulk_jobs(p_limit integer default 1000)
returns integer
language plpgsql security definer
set search_path = pg_catalog, pg_temp set lock_timeout = '2s' set enable_seqscan = off as $$
declare
    v_job_id uuid;
    v_woken integer := 0;
begin
    for v_job_id in
        select job.id from ingest.jobs as job
         where job.hold_reason = 'in_batch' and job.state = 'queued'
           and not exists (select from ingest_private.bulk_texts as bought
                            where bought.job_id = job.id and bought.state in ('waiting', 'sent'))
         order by job.id limit p_limit for no key update of job skip locked
    loop
        update ingest_private.job_queue
           set phase = 'ready', due_at = null, is_bought = true where job_id = v_job_id;
        update ingest.jobs
           set hold_reason = null, next_attempt_at = clock_timestamp(),
               updated_at = clock_timestamp()
         where id = v_job_id;
        perform ingest_private.hold_job(v_job_id);
        v_woken := v_woken + 1;
    end loop;
    return v_woken;
end
$$;

-- note_bulk_names: the files that are about to be uploaded under these names buy in bulk.
create or replace function ingest_private.note_bulk_names(p_bucket_id text, p_names text[])
returns void
language sql security definer set search_path = pg_catalog, pg_temp as $$
    insert into ingest_private.bulk_names (bucket_id, object_name)
    select p_bucket_id, name from unnest(p_names) as name order by name
        on conflict (bucket_id, object_name) do update set noted_at = clock_timestamp();
$$;

-- takes_bulk: whether a job that is being made buys in bulk: one that fills an index version that is
-- filled so, one of a backfill that was asked for so, or one of a file that was announced so, which it
-- forgets.
create or replace function ingest_private.takes_bulk(
    p_document ingest.documents, p_index_version integer, p_kind text)
returns boolean
language plpgsql security definer
set search_path = pg_catalog, pg_temp set enable_seqscan = off as $$
begin
    if p_kind = 'reindex' then
        -- Nobody waits for what an operator has read again, and what is in a batch is paid for.
        return (select is_bulk from ingest.index_versions where id = p_index_version)
            or exists (select from ingest_private.bulk_texts
                        where document_id = p_document.id and index_version = p_index_version
                          and state = 'sent');
    end if;
    -- backfill_source says it for all that it syncs.
    if coalesce(current_setting('ingest_private.is_bulk', true), '') = 'true' then
        return true;
    end if;
    -- Nearly always there are none.
    if not exists (select from ingest_private.bulk_names) then
        return false;
    end if;
    delete from ingest_private.bulk_names
     where (bucket_id, object_name) = (p_document.bucket_id, p_document.object_name);
    return found;
end
$$;

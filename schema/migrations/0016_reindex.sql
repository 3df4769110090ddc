-- Several index versions are filled at once, each by the provider that its row names.

alter table ingest.index_versions
    -- Whose keys a worker needs: `local`, `openai`, or a name of DOCMILL_PROVIDERS.
    add column provider text,
    -- Whether the provider is told how many dimensions are wanted; many refuse the parameter.
    add column sends_dimensions boolean,
    -- What is put before a text, and before a query, where a model wants that (E5, Nomic, BGE).
    add column document_prefix text not null default '',
    add column query_prefix text not null default '',
    -- Whether the schedule makes jobs for it, and how far it has looked for documents: see
    -- fill_index_versions.
    add column is_paused boolean not null default false,
    add column filled_to uuid,
    add column retired_at timestamptz,
    -- Workers of the former release know these alone.
    add column is_former boolean not null default false;
update ingest.index_versions
   set provider = case when model = 'wordllama-l2-supercat-256' then 'local' else 'openai' end,
       sends_dimensions = model like 'text-embedding-3%',
       is_former = true;
alter table ingest.index_versions
    alter column provider set not null,
    alter column sends_dimensions set not null,
    drop constraint index_versions_state_check,
    add constraint index_versions_state_check
        check (state in ('building', 'active', 'retired', 'dropped'));
comment on table ingest.index_versions is
    'A model, its provider and a chunking: chunks of different index versions are never mixed.';

-- What a document has in each version; that of the active one stands in documents as well.
alter table ingest_private.published_versions
    add column chunk_count integer,
    add column token_count bigint,
    add column quarantined_chunks integer;

alter table ingest_private.workers add column providers text[];
comment on column ingest_private.workers.providers is
    'Whose keys it has; null: of the former release, which knows no names.';

alter table ingest_private.job_queue
    add column provider text,
    add column is_reindex boolean not null default false;
update ingest_private.job_queue as entry
   set provider = version.provider
  from ingest.jobs as job join ingest.index_versions as version on version.id = job.index_version
 where job.id = entry.job_id;
alter table ingest_private.job_queue alter column provider set not null;
-- In place of job_queue_ready: each provider has its own jobs to begin, and reindexing slots of its own.
drop index ingest_private.job_queue_ready;
create index job_queue_lane
    on ingest_private.job_queue (provider, isolated, is_reindex, priority, rank)
    where phase = 'ready';

-- A key that is refused stops its own provider.
alter table ingest_private.breakers
    drop constraint breakers_pkey,
    -- Empty: of Storage, which every job needs.
    add column provider text not null default '',
    add primary key (provider, error_code);
update ingest_private.breakers
   set provider = (select provider from ingest.index_versions where state = 'active')
 where error_code <> 'storage_auth' and exists (select from ingest.index_versions where state = 'active');

-- They take or return more now; both forms side by side would be one too many.
drop function if exists ingest_private.take_ready_jobs(interval);
drop function if exists ingest_private.create_index_version(text, integer, jsonb);
drop function if exists ingest_private.renew_leases(
    text, integer, boolean, boolean, text, interval, uuid[], bigint[]);
drop function if exists ingest_private.open_breaker(text, timestamptz);
drop function if exists ingest_private.close_breakers(boolean);

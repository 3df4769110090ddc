-- What was spent for what, what may be spent, and embeddings that need not be paid for twice.

alter table ingest.usage
    -- As jobs.kind: ingest is for uploads, reindex for what an operator has asked for.
    add column purpose text not null default 'ingest' check (purpose in ('ingest', 'reindex')),
    drop constraint usage_pkey,
    add primary key (owner_id, day, model, purpose);
comment on table ingest.usage is
    'Tokens and money spent per owner, day (UTC), model and purpose.';

-- All that was spent, that for documents without an owner too. In shards, so that workers that book
-- at the same time do not wait for each other: see record_spend.
create table ingest_private.spend (
    day date not null,
    model text not null,
    purpose text not null check (purpose in ('ingest', 'reindex')),
    shard smallint not null,
    tokens bigint not null,
    usd numeric(14, 6) not null,
    primary key (day, model, purpose, shard)
);
comment on table ingest_private.spend is 'Tokens and money spent per day (UTC), by all owners.';
insert into ingest_private.spend (day, model, purpose, shard, tokens, usd)
select day, model, purpose, 0, sum(tokens), sum(usd) from ingest.usage group by day, model, purpose;

create table ingest_private.budgets (
    -- everything: all that is spent; each_owner: every owner without a budget of its own; owner:
    -- this one.
    scope text not null check (scope in ('everything', 'each_owner', 'owner')),
    -- Sub of the owner.
    key text not null default '',
    period text not null check (period in ('day', 'month')),
    usd numeric(14, 6) not null check (usd >= 0 and usd <> 'NaN'),
    created_at timestamptz not null default clock_timestamp(),
    primary key (scope, key, period),
    constraint budgets_key check ((scope = 'owner') = (length(key) > 0))
);
comment on table ingest_private.budgets is
    'How much may be spent in a day or a month (UTC): over it jobs wait.';

-- Words lie in chunk_lexemes. What an older release wrote of them into chunks is read until that is
-- filled; nothing more is written there.
alter table ingest.chunks alter column fts set default '';
comment on column ingest.chunks.fts is
    'Empty, but for chunks of the first release until their words are in chunk_lexemes.';
do $$
declare
    v_version integer;
    v_old regprocedure;
begin
    for v_version in select fill.index_version from ingest_private.chunk_fills as fill
                      where fill.copy = 'lexemes' and fill.completed_at is not null loop
        execute format('drop index if exists ingest_private.%I', 'chunks_' || v_version || '_fts');
    end loop;
    -- It took a text search configuration.
    for v_old in select oid from pg_proc where pronamespace = 'ingest_private'::regnamespace
                    and proname = 'publish_document' loop
        execute format('drop function %s', v_old);
    end loop;
end
$$;

-- Finds chunks of one owner by their text. A hash of both, because the names of owners are long;
-- and never the text alone, because the time of a look-up would tell what others have.
create index chunks_of_text on ingest.chunks
    (hashtextextended(owner_id || encode(content_hash, 'hex'), 0)) where owner_id is not null;

create table ingest_private.kept_embeddings (
    owner_id text not null,
    index_version integer not null,
    content_hash bytea not null,
    embedding extensions.halfvec not null,
    kept_until timestamptz not null,
    primary key (owner_id, index_version, content_hash)
);
alter table ingest_private.kept_embeddings alter column embedding set storage main;
comment on table ingest_private.kept_embeddings is
    'Embeddings of deleted files, for their owner to upload the same text again. No client reads them.';
create index kept_embeddings_until on ingest_private.kept_embeddings (kept_until);
create index kept_embeddings_version on ingest_private.kept_embeddings (index_version);

-- They take more now; both forms side by side would be one too many.
drop function if exists ingest_private.drain_withdrawn(integer);
drop function if exists ingest_private.drain_document(uuid, integer);
drop function if exists ingest_private.drain_chunks(uuid, boolean, integer);
drop function if exists ingest_private.count_source(bigint);
-- In place of it: hold_job.
drop function if exists ingest_private.hold_paused(uuid);
-- It says now whether there is a budget left.
drop function if exists ingest_private.record_spend(uuid, text, bigint, numeric);

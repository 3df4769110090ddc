-- What an owner spends while another transaction has the owner's row of ingest.usage. Two documents of
-- an owner that are embedded at once would wait for each other's commit: see book_spend.
create table ingest_private.unsettled_spend (
    id bigint generated always as identity primary key,
    owner_id text not null,
    day date not null,
    model text not null,
    purpose text not null check (purpose in ('ingest', 'reindex', 'query')),
    tokens bigint not null,
    usd numeric(14, 6) not null
);
comment on table ingest_private.unsettled_spend is
    'Tokens and money of owners that are not in ingest.usage yet; budgets count them.';
create index unsettled_spend_owner on ingest_private.unsettled_spend (owner_id, day);

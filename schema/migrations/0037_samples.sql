-- What the schedules sample_recall and sample_bloat found when they ran last.

create table ingest_private.samples (
    schedule text not null check (schedule in ('sample_recall', 'sample_bloat')),
    -- A table or an index, with its schema; '' for the whole.
    relation text not null,
    is_bad boolean not null,
    seen text not null,
    -- What an operator does about it.
    remedy text,
    -- Of the relation at that time: whether it was mended since.
    bytes bigint,
    sampled_at timestamptz not null default clock_timestamp(),
    primary key (schedule, relation),
    constraint samples_remedy check (is_bad = (remedy is not null))
);
comment on table ingest_private.samples is
    'What samples of searches and of the size of indexes found, and what mends it.';

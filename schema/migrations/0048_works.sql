-- How often the schedule asks for each work, and when a worker began it last: a process that is started
-- again and again asks again and again, and cannot know by itself what is due.

create table ingest_private.works (
    work text primary key,
    period interval not null check (period > interval '0'),
    begun_at timestamptz not null default clock_timestamp()
);
comment on table ingest_private.works is
    'How often each work of the schedule is wanted, and when a worker began it last.';

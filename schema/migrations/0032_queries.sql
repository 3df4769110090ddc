-- What queries cost.

alter table ingest.usage
    drop constraint usage_purpose_check,
    add constraint usage_purpose_check check (purpose in ('ingest', 'reindex', 'query'));
alter table ingest_private.spend
    drop constraint spend_purpose_check,
    add constraint spend_purpose_check check (purpose in ('ingest', 'reindex', 'query'));

-- Embedded queries are counted like questions, apart from them.
alter table ingest_private.question_counts
    add column kind text not null default 'question' check (kind in ('question', 'query')),
    drop constraint question_counts_pkey,
    add primary key (owner_id, kind, period);
comment on table ingest_private.question_counts is
    'How many questions, and how many queries, each user had in the minute and the day that last '
    'began with one.';

-- In place of it: count_asked.
drop function if exists ingest_private.count_question(text);

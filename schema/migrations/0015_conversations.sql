-- Conversations: what users asked about their documents, and what they were answered.

create table ingest.conversations (
    id uuid primary key default gen_random_uuid(),
    owner_id text not null,
    title text not null check (char_length(title) <= 200),
    -- Questions so far.
    turns smallint not null default 0 check (turns between 0 and 100),
    created_at timestamptz not null default clock_timestamp(),
    updated_at timestamptz not null default clock_timestamp()
);
comment on table ingest.conversations is 'What a user asked, one question after another.';
create index conversations_of_owner on ingest.conversations (owner_id, updated_at desc);

create table ingest.messages (
    id uuid primary key default gen_random_uuid(),
    conversation_id uuid not null references ingest.conversations (id) on delete cascade,
    owner_id text not null,
    -- A question and its answer have the same.
    turn smallint not null check (turn >= 1),
    role text not null check (role in ('assistant', 'user')),
    content text not null check (char_length(content) between 1 and 40000),
    -- Of an answer: whether the documents had one.
    outcome text check (outcome in ('not_found', 'answered')),
    -- Of an answer: what was sent as sources 1, 2, ..., and the numbers that the answer cites. Ids
    -- alone: what they say is read anew, under the rights that the reader has by then.
    source_chunks uuid[] not null default '{}',
    source_documents uuid[] not null default '{}',
    cited smallint[] not null default '{}',
    created_at timestamptz not null default clock_timestamp(),
    constraint messages_turns unique (conversation_id, turn, role),
    constraint messages_question_length check (role <> 'user' or char_length(content) <= 4000),
    constraint messages_answers check ((role <> 'user') = (outcome is not null)),
    constraint messages_sources check (
        cardinality(source_chunks) = cardinality(source_documents)
        and cardinality(source_chunks) <= 20 and cardinality(cited) <= cardinality(source_chunks))
);
comment on table ingest.messages is 'Questions and answers. No text of a source is kept.';
create index messages_of_owner on ingest.messages (owner_id);

create table ingest_private.question_counts (
    owner_id text not null,
    period text not null check (period in ('day', 'minute')),
    began_at timestamptz not null,
    questions integer not null check (questions >= 1),
    primary key (owner_id, period)
);
comment on table ingest_private.question_counts is
    'How much each user asked in the minute and the day that last began with a question.';

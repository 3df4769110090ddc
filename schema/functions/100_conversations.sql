-- Asking. The Edge Function `ask` writes questions and answers with these functions, as the user
-- who asks. They take the subject from the token; no argument names a user.

-- subject_of_caller: the subject of the token. Raises PT401 (the Data API answers 401) without a
-- subject.
create or replace function ingest_private.subject_of_caller()
returns text
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
    v_sub constant text := auth.jwt() ->> 'sub';
begin
    if coalesce(v_sub, '') = '' then
        raise exception 'nobody is signed in'
            using errcode = 'PT401', hint = 'Sign in: only users ask questions.';
    end if;
    return v_sub;
end
$$;

-- count_asked: counts one more question or query (`p_kind`) of this user. Raises PT429 if a period
-- allows no more; `detail` is the number of seconds until the next period. The row is locked until
-- the transaction ends, so the limit also holds for many at once. Limits: ingest_private.settings,
-- names `asking` for questions and `searching` for queries: {"per_minute": 10, "per_day": 300}.
create or replace function ingest_private.count_asked(p_owner_id text, p_kind text)
returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '5s' as $$
declare
    v_now constant timestamptz := clock_timestamp();
    v_usual constant jsonb := case p_kind when 'question' then '{"per_minute": 10, "per_day": 300}'
                                          else '{"per_minute": 120, "per_day": 5000}' end;
    v_settings constant jsonb := v_usual || coalesce(
        (select value from ingest_private.settings
          where name = case p_kind when 'question' then 'asking' else 'searching' end), '{}');
    v_period record;
    v_count ingest_private.question_counts;
begin
    for v_period in
        select * from (values
            ('day', interval '1 day', (v_settings ->> 'per_day')::integer),
            ('minute', interval '1 minute', (v_settings ->> 'per_minute')::integer))
            as period (name, lasts, most)
    loop
        insert into ingest_private.question_counts as counted
            (owner_id, kind, period, began_at, questions)
        values (p_owner_id, p_kind, v_period.name, v_now, 1)
        on conflict (owner_id, kind, period) do update
           set began_at = case when counted.began_at + v_period.lasts <= v_now
                               then v_now else counted.began_at end,
               questions = case when counted.began_at + v_period.lasts <= v_now
                                then 1 else counted.questions + 1 end
        returning * into v_count;
        if v_count.questions > v_period.most then
            raise exception 'no more than % % a % are allowed', v_period.most,
                    case p_kind when 'question' then 'questions' else 'queries' end, v_period.name
                using errcode = 'PT429',
                      detail = ceil(extract(epoch from
                                            v_count.began_at + v_period.lasts - v_now))::text,
                      hint = 'Wait for the seconds that detail tells.';
        end if;
    end loop;
end
$$;

-- ask_question: stores a question of the caller, in one of their conversations or, without an id,
-- in a new one. Returns both ids, and the last three answered questions before it with their
-- answers, oldest first. Raises PT401 without a subject, PT404 if the conversation does not belong
-- to the caller, PT409 if it has 100 questions, PT429 if the user asks too much.
create or replace function ingest.ask_question(question text, conversation_id uuid default null)
returns table (conversation uuid, message_id uuid, history jsonb)
language plpgsql security definer rows 1
set search_path = pg_catalog, pg_temp set lock_timeout = '5s' as $$
declare
    v_sub constant text := ingest_private.subject_of_caller();
    v_turn smallint;
begin
    perform ingest_private.count_asked(v_sub, 'question');
    if conversation_id is null then
        insert into ingest.conversations as made (owner_id, title, turns)
        values (v_sub, left(btrim(regexp_replace(question, '\s+', ' ', 'g')), 80), 1)
        returning made.id, made.turns into conversation, v_turn;
    else
        select known.id, known.turns + 1 into conversation, v_turn
          from ingest.conversations as known
         where known.id = ask_question.conversation_id and known.owner_id = v_sub
           for no key update;
        if not found then
            raise exception 'there is no such conversation'
                using errcode = 'PT404', hint = 'Read ingest.conversations for those that are yours.';
        end if;
        if v_turn > 100 then
            raise exception 'the conversation is full' using errcode = 'PT409', hint = 'Begin another.';
        end if;
        update ingest.conversations as known set turns = v_turn, updated_at = clock_timestamp()
         where known.id = conversation;
    end if;
    history := ingest_private.history_of(conversation);
    insert into ingest.messages as made (conversation_id, owner_id, turn, role, content)
    values (conversation, v_sub, v_turn, 'user', question)
    returning made.id into message_id;
    return next;
end
$$;

-- history_of: the last three questions of a conversation that were answered, and their answers.
create or replace function ingest_private.history_of(p_conversation_id uuid)
returns jsonb
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select coalesce(jsonb_agg(jsonb_build_object('role', said.role, 'content', said.content)
                              order by said.turn, said.role desc), '[]')
      from ingest.messages as said
     where said.conversation_id = p_conversation_id
       and said.turn in (select answer.turn from ingest.messages as answer
                          where answer.conversation_id = p_conversation_id
                            and answer.role = 'assistant'
                          order by answer.turn desc limit 3);
$$;

-- record_answer: stores the answer to a question of the caller; without a citation it is
-- `not_found`. Returns its id. Raises PT401 without a subject, PT404 if the question does not
-- belong to the caller, PT409 if it already has an answer.
create or replace function ingest.record_answer(
    message_id uuid, answer text, source_chunks uuid[], source_documents uuid[], cited smallint[])
returns uuid
language plpgsql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '5s' as $$
declare
    v_sub constant text := ingest_private.subject_of_caller();
    v_question ingest.messages;
    v_id uuid;
begin
    select * into v_question from ingest.messages as asked
     where asked.id = record_answer.message_id and asked.owner_id = v_sub and asked.role = 'user';
    if not found then
        raise exception 'there is no such question'
            using errcode = 'PT404', hint = 'Read ingest.messages for those that are yours.';
    end if;
    insert into ingest.messages as made
        (conversation_id, owner_id, turn, role, content, outcome, source_chunks, source_documents,
         cited)
    values (v_question.conversation_id, v_sub, v_question.turn, 'assistant', answer,
            case when cardinality(cited) > 0 then 'answered' else 'not_found' end,
            coalesce(source_chunks, '{}'), coalesce(source_documents, '{}'), coalesce(cited, '{}'))
    on conflict on constraint messages_turns do nothing
    returning made.id into v_id;
    if v_id is null then
        raise exception 'the question has an answer' using errcode = 'PT409';
    end if;
    return v_id;
end
$$;

-- delete_conversation: removes a conversation of the caller and its messages; its questions still
-- count. False: there is no such conversation.
create or replace function ingest.delete_conversation(conversation_id uuid)
returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '5s' as $$
declare
    v_sub constant text := ingest_private.subject_of_caller();
begin
    delete from ingest.conversations as known
     where known.id = delete_conversation.conversation_id and known.owner_id = v_sub;
    return found;
end
$$;

-- message_sources: the sources of an answer by their numbers, as the caller may read them now.
-- `state`: available; changed: the document has no such passage any more; gone: the caller does not
-- find the document. No rows: no such message of the caller's.
create or replace function ingest.message_sources(message_id uuid)
returns table (
    number integer, is_cited boolean, state text, chunk_id uuid, document_id uuid, bucket_id text,
    object_name text, title text, headings text[], page_start integer, page_end integer,
    content text)
language plpgsql stable security invoker rows 10
set search_path = pg_catalog, pg_temp
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off
set enable_mergejoin = off set jit = off as $$
#variable_conflict use_column
declare
    v_message ingest.messages;
    v_withdrawn uuid[] := '{}';
begin
    select * into v_message from ingest.messages as said where said.id = message_sources.message_id;
    if not row_security_active('ingest.documents') then
        v_withdrawn := array(select ingest.withdrawn_documents());
    end if;
    return query
        with chunk as materialized (
            -- If several index versions have a passage, the newest counts.
            select distinct on (found.chunk_id) found.*
              from ingest.index_versions as version
                   cross join lateral ingest_search.cited_chunks(
                       version.id, v_message.source_chunks) as found
             order by found.chunk_id, version.id desc)
        select source.number::integer, source.number = any(v_message.cited),
               case when document.id is null then 'gone' when chunk.chunk_id is null then 'changed'
                    else 'available' end,
               source.chunk_id, source.document_id, document.bucket_id, document.object_name,
               document.title, chunk.headings, chunk.page_start, chunk.page_end, chunk.content
          from unnest(v_message.source_chunks, v_message.source_documents) with ordinality
                   as source (chunk_id, document_id, number)
               left join lateral (
                   select found.id, found.bucket_id, found.object_name, found.title
                     from ingest.documents as found
                    where found.id = source.document_id and found.id <> all(v_withdrawn)
                   offset 0) as document on true
               left join chunk
                 on chunk.chunk_id = source.chunk_id and chunk.document_id = document.id
         order by source.number;
end
$$;

-- erase_conversations: removes all questions and answers of a user, and their counts. For operators
-- who erase a user. Returns how many conversations there were.
create or replace function ingest_private.erase_conversations(p_owner_id text)
returns bigint
language plpgsql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '5s' as $$
declare
    v_erased bigint;
begin
    delete from ingest_private.question_counts where owner_id = p_owner_id;
    delete from ingest.conversations where owner_id = p_owner_id;
    get diagnostics v_erased = row_count;
    return v_erased;
end
$$;

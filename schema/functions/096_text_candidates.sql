-- Finds the chunks that hold the terms of a query. `@@` is not leakproof: under row-level security
-- Postgres evaluates it after the policy, for every row, and cannot use the GIN index. So three
-- definer functions find the caller's own chunks (own_stemmers, own_term_counts, rank_own). Clients
-- can call them directly. This is safe: no argument names an owner or a document, and no result
-- tells anything about rows of others. Chunks that others share are looked for in documents that
-- are already known to be readable. Counts of a term include only chunks that the caller may read.
-- So uploads of others change neither the order nor the score of a hit. No plan here depends on
-- statistics: exactly one index can serve each statement, because no index serves `index_version +
-- 0`, and sorting and sequential scans are off.

-- words_withheld: the condition that leaves out rows of withdrawn documents, where no policy does
-- this.
create or replace function ingest_search.words_withheld(p_owner_id text)
returns text
language plpgsql stable security invoker set search_path = pg_catalog, pg_temp as $$
begin
    return case when row_security_active('ingest.chunk_lexemes') then 'false'
                when p_owner_id is null then
                    'found.document_id in (select ingest.withdrawn_documents())'
                else 'found.document_id in (select ingest_private.withdrawn_of_caller())' end;
end
$$;

-- stemmers_in: the languages of this owner's chunks; null: of everybody's chunks. Each language is
-- looked up between two bounds: beyond them may be thousands of rows that another transaction has
-- not committed, and each of them would be looked at. The order names the only index that has it.
create or replace function ingest_search.stemmers_in(p_index_version integer, p_owner_id text)
returns text[]
language plpgsql stable security invoker
set search_path = pg_catalog, pg_temp
set enable_seqscan = off set enable_sort = off set enable_bitmapscan = off as $$
begin
    return array(
        select language.name
          from unnest(array['english', 'german', 'french', 'spanish', 'italian', 'portuguese',
                            'dutch', 'swedish', 'danish', 'finnish', 'russian', 'turkish'])
                   as language (name)
         where case when p_owner_id is null then (
                   select true from ingest.chunk_lexemes as held
                    where (held.index_version, held.stemmer) >= (p_index_version, language.name)
                      and (held.index_version, held.stemmer) <= (p_index_version, language.name)
                    order by held.index_version, held.stemmer, held.owner_id limit 1)
               else (
                   select true from ingest.chunk_lexemes as held
                    where (held.index_version, held.stemmer, held.owner_id)
                          >= (p_index_version, language.name, p_owner_id)
                      and (held.index_version, held.stemmer, held.owner_id)
                          <= (p_index_version, language.name, p_owner_id)
                    order by held.index_version, held.stemmer, held.owner_id limit 1) end);
end
$$;

-- term_counts: how many chunks this owner has, and how many of them hold each term; null: of
-- everybody. Estimated from 300 chunks, which are the same each time. A term that almost none of
-- these holds is counted exactly, up to 5000. The number of chunks is estimated from the value of
-- the 300th random number.
create or replace function ingest_search.term_counts(
    p_index_version integer, p_owner_id text, p_terms tsquery[],
    out row_count double precision, out counts double precision[])
language plpgsql stable security invoker
set search_path = pg_catalog, pg_temp
set enable_seqscan = off set enable_sort = off set jit = off as $$
declare
    v_sample constant integer := 300;
    v_span constant double precision := 4294967296;
    v_columns constant text := coalesce(
        (select string_agg(format('count(*) filter (where lexemes @@ $1[%s])', n), ', ' order by n)
           from generate_series(1, cardinality(p_terms)) as n), '');
    v_scope constant text :=
        case when p_owner_id is null then 'true' else 'found.owner_id = $3' end;
    v_taken bigint;
    v_last bigint;
    v_term tsquery;
    v_count bigint;
begin
    if cardinality(p_terms) > 64 then
        raise exception 'a query has at most 64 terms' using errcode = 'program_limit_exceeded';
    end if;
    execute format(
        'select count(*), max(place), array[%1$s]::double precision[]
           from (select lexemes, uuid_hash(chunk_id) as place from ingest.chunk_lexemes as found
                  where %2$s and index_version = $2 and not %4$s
                  order by uuid_hash(chunk_id) limit %3$s) as sample',
        v_columns, v_scope, v_sample, ingest_search.words_withheld(p_owner_id))
       into v_taken, v_last, counts using p_terms, p_index_version, p_owner_id;
    row_count := v_taken;
    if v_taken < v_sample then
        return;
    end if;
    row_count := greatest(
        (v_sample - 1) * v_span / (v_last + v_span / 2), v_sample);
    for i in 1 .. cardinality(p_terms) loop
        if counts[i] > 2 then
            counts[i] := counts[i] * row_count / v_sample;
        else
            v_term := p_terms[i];
            if p_owner_id is not null then
                v_term := v_term && format(
                    '''%s''', ingest_search.scope_of(p_index_version, p_owner_id))::tsquery;
            end if;
            execute format(
                'select count(*) from (
                     select from ingest.chunk_lexemes as found
                      where lexemes @@ $1 and index_version + 0 = $2 and %s
                        and not %s limit 5000) as holding',
                v_scope, ingest_search.words_withheld(p_owner_id))
               into v_count using v_term, p_index_version, p_owner_id;
            counts[i] := v_count;
        end if;
    end loop;
end
$$;

-- titled: the documents whose titles match a query: of this owner, or of everybody.
create or replace function ingest_search.titled(
    p_index_version integer, p_owner_id text, p_query tsquery)
returns uuid[]
language plpgsql stable security invoker
set search_path = pg_catalog, pg_temp set enable_seqscan = off set jit = off as $$
declare
    v_asked tsquery := ingest_search.in_title(p_query);
    v_documents uuid[];
begin
    if p_owner_id is not null then
        v_asked := v_asked && format(
            '''%s''', ingest_search.scope_of(p_index_version, p_owner_id))::tsquery;
    end if;
    execute format(
        'select array_agg(document_id) from ingest.chunk_lexemes as found
          where lexemes @@ $1 and index_version + 0 = $2 and %s',
        case when p_owner_id is null then 'true' else 'found.owner_id = $3' end)
       into v_documents using v_asked, p_index_version, p_owner_id;
    return coalesce(v_documents, '{}');
end
$$;

-- requirement: the condition on rows `found` with these words that they, or the titles of their
-- documents, satisfy the phrases that are required, and that neither matches what is left out. Null
-- p_in: the documents are those of this owner, or of everybody, and their titles are looked for in
-- the index. Otherwise the title of each candidate is read.
create or replace function ingest_search.requirement(
    p_index_version integer, p_owner_id text, p_in uuid[], p_required tsquery[],
    p_left_out tsquery)
returns text
language plpgsql stable security invoker set search_path = pg_catalog, pg_temp as $$
declare
    v_asked constant tsquery[] := p_required || p_left_out;
    v_conditions text[] := '{}';
    v_one tsquery;
    v_titled text;
begin
    foreach v_one in array array_remove(v_asked, null) loop
        if p_in is null then
            v_titled := format('found.document_id = any(%L::uuid[])',
                               ingest_search.titled(p_index_version, p_owner_id, v_one));
        else
            -- In the plan of the search itself: a function would be called for each candidate.
            v_titled := format(
                'coalesce((
                     select held.lexemes @@ %2$L::tsquery
                       from (select position.chunk_id from ingest.chunk_positions as position
                              where position.document_id = found.document_id
                                and position.index_version = %1$s and position.ordinal = 0
                             offset 0) as first
                            cross join lateral (
                                select words.lexemes from ingest.chunk_lexemes as words
                                 where words.chunk_id = first.chunk_id
                                   and words.index_version = %1$s offset 0) as held), false)',
                p_index_version, ingest_search.in_title(v_one));
        end if;
        v_conditions := v_conditions || format('(found.lexemes @@ %L::tsquery or %s)', v_one, v_titled);
    end loop;
    if p_left_out is not null then
        v_conditions[cardinality(v_conditions)] := 'not ' || v_conditions[cardinality(v_conditions)];
    end if;
    return coalesce(nullif(array_to_string(v_conditions, ' and '), ''), 'true');
end
$$;

-- rank_words: the p_limit chunks that match the query and in which the weighted terms rank highest:
-- of this owner, or in these documents, or of everybody; see text_query for p_required and
-- p_left_out. Looks at 20,000 matching chunks at most; the query is chosen so that fewer match.
create or replace function ingest_search.rank_words(
    p_index_version integer, p_owner_id text, p_documents uuid[], p_terms tsquery[],
    p_weights real[], p_asked tsquery, p_limit integer, p_required tsquery[] default '{}',
    p_left_out tsquery default null)
returns table (chunk_id uuid, document_id uuid, score double precision)
language plpgsql stable security invoker rows 50
set search_path = pg_catalog, pg_temp
set enable_seqscan = off set jit = off as $$
declare
    v_score constant text := (
        select string_agg(
                   format('$2[%1$s] * ts_rank(''{0.5, 1, 0.5, 1}'', lexemes, $1[%1$s], 1)', n),
                   ' + ' order by n)
          from generate_series(1, cardinality(p_terms)) as n);
    v_scope constant text := case
        when p_documents is not null then 'true'
        when p_owner_id is not null then 'found.owner_id = $6' else 'true' end;
    v_old_chunks constant text :=
        'ingest.chunks as found where found.fts @@ $3 and found.index_version = $4 and %1$s
            and %4$s and (select true from ingest.chunk_lexemes as held
                  where held.chunk_id = found.id and held.index_version = found.index_version
                 offset 0) is null';
    v_required constant text := ingest_search.requirement(
        p_index_version, p_owner_id, p_documents, p_required, p_left_out);
    v_asked tsquery := p_asked;
    v_from text;
begin
    if cardinality(p_terms) > 64 then
        raise exception 'a query has at most 64 terms' using errcode = 'program_limit_exceeded';
    end if;
    if p_documents is null and p_owner_id is not null then
        v_asked := p_asked && format(
            '''%s''', ingest_search.scope_of(p_index_version, p_owner_id))::tsquery;
    end if;
    v_from := case when p_documents is null then
        'ingest.chunk_lexemes as found
          where lexemes @@ $7 and index_version + 0 = $4 and %1$s'
    else
        'unnest($8) as wanted (id) cross join lateral (
             select * from ingest.chunk_lexemes as held
              where held.document_id = wanted.id and held.index_version + 0 = $4
                and held.lexemes @@ $7 offset 0) as found where %1$s' end;
    v_from := 'select found.chunk_id, found.document_id, found.lexemes from ' || v_from
           || ' and not %2$s and %3$s';
    if not ingest_search.is_filled('lexemes', p_index_version) then
        v_from := v_from || ' union all select found.id, found.document_id, found.fts from '
               || v_old_chunks || case when p_documents is null then ''
                                       else ' and found.document_id = any($8)' end
               || ' and not %2$s';
    end if;
    return query execute format(
        'select chunk_id, document_id, (' || v_score || ')::double precision as score
           from (' || v_from || ' limit 20000) as candidate
          order by score desc, chunk_id limit $5',
        v_scope, ingest_search.words_withheld(case when p_documents is null then p_owner_id end),
        v_required, replace(v_required, 'found.lexemes', 'found.fts'))
        using p_terms, p_weights, p_asked, p_index_version, p_limit, p_owner_id, v_asked,
              p_documents;
end
$$;

-- own_stemmers: stemmers_in for the caller.
create or replace function ingest_search.own_stemmers(p_index_version integer)
returns text[]
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
    v_sub constant text := auth.jwt() ->> 'sub';
begin
    return case when v_sub is not null then ingest_search.stemmers_in(p_index_version, v_sub) end;
end
$$;

-- own_term_counts: term_counts for the caller.
create or replace function ingest_search.own_term_counts(
    p_index_version integer, p_terms tsquery[],
    out row_count double precision, out counts double precision[])
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
    v_sub constant text := auth.jwt() ->> 'sub';
begin
    if v_sub is not null then
        select made.row_count, made.counts into row_count, counts
          from ingest_search.term_counts(p_index_version, v_sub, p_terms) as made;
    end if;
end
$$;

-- rank_own: rank_words for the caller.
create or replace function ingest_search.rank_own(
    p_index_version integer, p_terms tsquery[], p_weights real[], p_asked tsquery,
    p_limit integer, p_required tsquery[] default '{}', p_left_out tsquery default null)
returns table (chunk_id uuid, document_id uuid, score double precision)
language plpgsql stable security definer rows 50 set search_path = pg_catalog, pg_temp as $$
declare
    v_sub constant text := auth.jwt() ->> 'sub';
begin
    if v_sub is not null then
        return query
            select found.chunk_id, found.document_id, found.score
              from ingest_search.rank_words(
                  p_index_version, v_sub, null, p_terms, p_weights, p_asked, p_limit,
                  p_required, p_left_out) as found;
    end if;
end
$$;

-- shared_term_counts: term_counts for documents that others share with the caller, from 300 chunks
-- of the first of them.
create or replace function ingest_search.shared_term_counts(
    p_index_version integer, p_documents uuid[], p_terms tsquery[],
    out taken bigint, out counts double precision[], out stemmers text[])
language plpgsql stable security invoker
set search_path = pg_catalog, pg_temp set enable_seqscan = off set jit = off as $$
begin
    execute format(
        'select count(*), array[%s]::double precision[],
                coalesce(array_agg(distinct stemmer) filter (where stemmer <> ''''), ''{}'')
           from (select found.lexemes, found.stemmer
                   from unnest($3) as wanted (id) cross join lateral (
                       select held.lexemes, held.stemmer from ingest.chunk_lexemes as held
                        where held.document_id = wanted.id and held.index_version + 0 = $2
                        limit 30) as found
                  limit 300) as sample',
        (select string_agg(format('count(*) filter (where lexemes @@ $1[%s])', n), ', ' order by n)
           from generate_series(1, cardinality(p_terms)) as n))
       into taken, counts, stemmers using p_terms, p_index_version, p_documents;
end
$$;

-- rarity: the weight of a term by the number of rows that hold it, as in BM25.
create or replace function ingest_search.rarity(p_row_count double precision, p_count double precision)
returns real
language plpgsql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
begin
    return ln(1 + (p_row_count - least(p_count, p_row_count) + 0.5) / (p_count + 0.5));
end
$$;

-- rare_terms: the rarest terms, joined by OR, so that about a tenth of the rows match, 5000 at
-- most. At least 500 rows may always match, and the rarest term that occurs is always included.
-- Terms that were not seen in any row cost nothing. With an infinite number of rows: all terms.
create or replace function ingest_search.rare_terms(
    p_row_count double precision, p_terms tsquery[], p_counts double precision[])
returns tsquery
language plpgsql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
begin
    return (
        select string_agg(format('(%s)', one.term), ' | ' order by one.place)::tsquery
          from (select term, place, count,
                       sum(count) over rarest as total,
                       count(*) filter (where count > 0) over rarest as held
                  from unnest(p_terms, p_counts) with ordinality as each (term, count, place)
                window rarest as (order by count, place)) as one
         where one.held <= 1
            or one.total <= case when p_row_count = 'infinity' then p_row_count
                                 else greatest(least(p_row_count / 10, 5000), 500) end);
end
$$;

-- text_candidates: the p_limit best chunks for the words of a query, among those that the caller
-- may read; only of these documents, unless they are null. p_shared and p_shared_chunks: what
-- shared_documents said, if it was asked already. Runs with the caller's rights.
create or replace function ingest_search.text_candidates(
    p_index_version integer, p_query text, p_documents uuid[], p_limit integer,
    p_shared uuid[] default null, p_shared_chunks bigint default null)
returns table (chunk_id uuid, score double precision)
language plpgsql stable security invoker rows 50 set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
    v_sees_all constant boolean := not row_security_active('ingest.chunk_lexemes');
    v_few_documents constant integer := 1000;
    v_shared uuid[] := coalesce(p_shared, '{}');
    v_shared_chunks double precision := coalesce(p_shared_chunks, 0);
    v_query record;
    v_own record;
    v_others record;
    v_counts double precision[];
    v_row_count double precision;
    v_weights real[];
    v_asked tsquery;
    v_is_narrow boolean;
begin
    if p_shared is null then
        select shared.ids, shared.chunk_count into v_shared, v_shared_chunks
          from ingest_search.shared_documents(p_documents) as shared;
    end if;

    v_query := ingest_search.text_query(
        p_query,
        array(select unnest(case when v_sees_all then ingest_search.stemmers_in(p_index_version, null)
                                 else ingest_search.own_stemmers(p_index_version) end)
              union
              select unnest((ingest_search.shared_term_counts(
                         p_index_version, v_shared, array['''=''']::tsquery[])).stemmers)
              order by 1));
    if cardinality(v_query.terms) = 0 then
        return;
    end if;

    if v_sees_all then
        v_own := ingest_search.term_counts(p_index_version, null, v_query.terms);
    else
        v_own := ingest_search.own_term_counts(p_index_version, v_query.terms);
    end if;
    v_others := ingest_search.shared_term_counts(p_index_version, v_shared, v_query.terms);
    v_row_count := coalesce(v_own.row_count, 0) + v_shared_chunks;
    select array_agg(coalesce(one.own, 0)
                     + one.others * v_shared_chunks / greatest(v_others.taken, 1) order by place)
      into v_counts
      from unnest(v_own.counts, v_others.counts) with ordinality as one (own, others, place);
    select array_agg(one.weight * ingest_search.rarity(v_row_count, one.count) order by place)
      into v_weights
      from unnest(v_query.weights, v_counts) with ordinality as one (weight, count, place);

    -- In few documents every term is looked for, because the rare terms may be in other documents.
    -- The same holds while the words of older chunks are not yet counted.
    v_is_narrow := coalesce(cardinality(p_documents) <= v_few_documents, false);
    v_asked := ingest_search.rare_terms(
        case when v_is_narrow or not ingest_search.is_filled('lexemes', p_index_version) then 'infinity'
             else v_row_count end, v_query.terms, v_counts);

    if v_is_narrow then
        return query
            select found.chunk_id, found.score
              from ingest_search.rank_words(p_index_version, null, p_documents, v_query.terms, v_weights,
                                     v_asked, p_limit, v_query.required, v_query.left_out)
                        as found;
        return;
    end if;
    return query
        select found.chunk_id, found.score
          from (select own.chunk_id, own.score
                  from ingest_search.rank_own(p_index_version, v_query.terms, v_weights, v_asked,
                                       case when p_documents is null then p_limit end,
                                       v_query.required, v_query.left_out) as own
                 where not v_sees_all
                   and (p_documents is null or own.document_id = any(p_documents))
                union all
                select others.chunk_id, others.score
                  from ingest_search.rank_words(p_index_version, null, v_shared, v_query.terms, v_weights,
                                         v_asked, p_limit, v_query.required, v_query.left_out)
                           as others
                 where cardinality(v_shared) > 0
                union all
                select every.chunk_id, every.score
                  from ingest_search.rank_words(p_index_version, null, null, v_query.terms, v_weights,
                                         v_asked, case when p_documents is null then p_limit end,
                                         v_query.required, v_query.left_out) as every
                 where v_sees_all
                   and (p_documents is null or every.document_id = any(p_documents))) as found
         order by found.score desc, found.chunk_id
         limit p_limit;
end
$$;

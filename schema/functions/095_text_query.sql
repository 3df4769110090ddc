-- phrase_of: the query for these words one after another; null without words. p_is_beginning: the
-- last word matches words that begin like it. So does a single letter at the end of a script that
-- in_pairs splits, and the letter that in_pairs adds there is left out, because more letters may
-- follow in the text.
create or replace function ingest_search.phrase_of(
    p_words text[], p_is_beginning boolean default false)
returns tsquery
language plpgsql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
declare
    v_count constant integer := cardinality(p_words);
    v_last constant text := p_words[v_count];
    v_is_added constant boolean := ingest_search.is_end_of_pair(p_words[v_count - 1], v_last);
    v_is_open constant boolean := p_is_beginning
        or length(v_last) = 1 and ingest_search.in_pairs(v_last) <> v_last;
begin
    return (
        select string_agg(format(case when place = v_count and v_is_open then '''%s'':*'
                                      else '''%s''' end, word), ' <-> ' order by place)::tsquery
          from unnest(p_words) with ordinality as one (word, place)
         where place < v_count or not v_is_added);
end
$$;

-- in_title: the query that asks for the same words of a document's title alone.
create or replace function ingest_search.in_title(p_query tsquery)
returns tsquery
language plpgsql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
begin
    return regexp_replace(p_query::text, '(''[^'']*'')(?::(\*))?', '\1:\2C', 'g')::tsquery;
end
$$;

-- is_end_of_pair: whether a word is the last letter of the pair before it, which in_pairs adds.
create or replace function ingest_search.is_end_of_pair(p_before text, p_word text)
returns boolean
language plpgsql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
begin
    return coalesce(length(p_word) = 1 and length(p_before) = 2 and right(p_before, 1) = p_word
                    and ingest_search.in_pairs(p_word) <> p_word, false);
end
$$;

-- term_of: the query for a word as it is written, or any of its stems. A single letter of a script
-- that in_pairs splits matches the beginning of a pair. is_common: the word is a stop word in one
-- of the languages.
create or replace function ingest_search.term_of(
    p_word text, p_stemmers text[], out term tsquery, out is_common boolean)
language plpgsql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
declare
    v_stems text[] := array[p_word];
    v_found text[];
    v_stemmer text;
begin
    is_common := false;
    if length(p_word) = 1 and ingest_search.in_pairs(p_word) <> p_word then
        term := format('''%s'':*', p_word)::tsquery;
        return;
    end if;
    foreach v_stemmer in array p_stemmers loop
        v_found := ts_lexize((v_stemmer || '_stem')::regdictionary, p_word);
        is_common := is_common or v_found = '{}';
        v_stems := v_stems || v_found;
    end loop;
    term := (select string_agg(distinct format('''%s''', stem), ' | ') from unnest(v_stems) as stem);
end
$$;

-- word_terms: the terms of one part of a query without spaces: its codes and its words.
create or replace function ingest_search.word_terms(p_part text, p_stemmers text[])
returns table (term tsquery, weight real)
language plpgsql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
    v_made record;
    v_last integer;
begin
    v_made := ingest_search.words_of(p_part);
    v_last := cardinality(v_made.words);
    return query
        select format('''%s''', code)::tsquery, 1::real from unnest(v_made.codes) as code;
    return query
        select case when p_part like '%*' and one.place = v_last
                    then format('''%s'':*', one.word)::tsquery else made.term end,
               case when made.is_common then 0.1 else 1 end::real
          from (select word, place, lag(word) over (order by place) as before
                  from unnest(v_made.words) with ordinality as each (word, place)) as one
               cross join lateral ingest_search.term_of(one.word, p_stemmers) as made
         where not ingest_search.is_end_of_pair(one.before, one.word)
         order by one.place;
end
$$;

-- text_query: reads a query. Each word, code and "phrase" is a term; a word matches as written or
-- by its stem in any of these languages. `required` holds the phrases that every hit has, itself or
-- in the title of its document. `left_out` is what no hit has, by -word, -word* or -"phrase"; null:
-- nothing. word* matches words that begin like this. `weights` is 0.1 for stop words. The first 40
-- words and phrases count. Any text is a valid query.
create or replace function ingest_search.text_query(
    p_query text, p_stemmers text[], out terms tsquery[], out weights real[],
    out required tsquery[], out left_out tsquery)
language plpgsql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
declare
    v_part text[];
    v_phrase tsquery;
    v_left_out integer := 0;
begin
    terms := '{}';
    weights := '{}';
    required := '{}';
    -- 1: minus, 2: phrase, 3: word to leave out, 4: word
    for v_part in
        select parts.part from regexp_matches(
                 translate(left(p_query, 10000), '„“”«»', '"""""'),
                 '(-?)"([^"]*)"?|(?<![^\s])-([^-[:digit:]\s"][^\s"]*)|([^\s"]+)', 'g')
                   as parts (part)
    loop
        exit when cardinality(terms) + v_left_out >= 40;
        if v_part[4] is not null then
            select text_query.terms || coalesce(array_agg(made.term), '{}'),
                   text_query.weights || coalesce(array_agg(made.weight), '{}')
              into terms, weights
              from ingest_search.word_terms(v_part[4], p_stemmers) as made;
            continue;
        end if;
        v_phrase := ingest_search.phrase_of(
            (ingest_search.words_of(coalesce(v_part[2], v_part[3]))).words,
            coalesce(v_part[3] like '%*', false));
        if v_phrase is not null and v_part[1] = '' then
            terms := terms || v_phrase;
            weights := weights || 1::real;
            required := required || v_phrase;
        else
            left_out := coalesce(left_out || v_phrase, v_phrase, left_out);
            v_left_out := v_left_out + 1;
        end if;
    end loop;
    select coalesce(array_agg(one.term order by one.place), '{}'),
           coalesce(array_agg(one.weight order by one.place), '{}')
      into terms, weights
      from (select distinct on (each.term::text) each.term, each.weight, each.place
              from unnest(text_query.terms, text_query.weights)
                       with ordinality as each (term, weight, place)
             where each.place <= 40
             order by each.term::text, each.place) as one;
end
$$;

-- Turns text into words, for documents and queries alike. It is SQL because queries arrive through
-- the Data API, where no docmill process runs. It depends on the server's locale only for upper and
-- lower case.

-- in_pairs: rewrites each run of letters in scripts without spaces between words (Chinese,
-- Japanese, Korean, Thai, Lao, Khmer, Burmese) as pairs of neighbouring letters. The last letter
-- also stands alone, so that a word of one letter is found at the end too.
create or replace function ingest_search.in_pairs(p_text text)
returns text
language plpgsql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
declare
    v_letters constant text := '[\u0e01-\u0e4e\u0e80-\u0edf\u1000-\u109f\u1100-\u11ff'
        '\u1780-\u17d3\u3005-\u3007\u3031-\u3035\u3041-\u3096\u309d-\u309f\u30a1-\u30fa'
        '\u30fc-\u30ff\u3105-\u312f\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\ua960-\ua97c'
        '\uac00-\ud7a3\uf900-\ufaff\U00020000-\U0003134f]';
begin
    if p_text !~ v_letters then
        return p_text;
    end if;
    return (
        select string_agg(case when not letter.is_paired then letter.value
                               when letter.next ~ v_letters
                                   then ' ' || letter.value || letter.next || ' '
                               else ' ' || letter.value || ' ' end,
                          '' order by letter.place)
          from (select value, place, value ~ v_letters as is_paired,
                       lead(value) over (order by place) as next
                  from unnest(string_to_array(p_text, null)) with ordinality as one (value, place))
                   as letter);
end
$$;

-- words_of: the words of a text in order, in lower case, and its codes: text with `-/._@+:#&` and
-- no space around them (part numbers, e-mail addresses, dates, versions). The parts of a code are
-- words too. Longer words are cut to 64 letters.
create or replace function ingest_search.words_of(p_text text, out words text[], out codes text[])
language plpgsql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
declare
    v_separators constant text := '\u0001-\u002f\u003a-\u0040\u005b-\u0060\u007b-\u00a9\u00ab-\u00b1'
        '\u00b4\u00b6-\u00b8\u00bb\u00bf\u00d7\u00f7\u02c2-\u02df\u055a-\u055f\u0589\u058a\u05be'
        '\u060c\u061b\u061f\u066a-\u066d\u06d4\u0964\u0965\u0e4f\u0e5a\u0e5b\u104a-\u104f\u1680'
        '\u17d4-\u17da\u2000-\u206f\u20a0-\u20cf\u2190-\u2bff\u2e00-\u2e7f\u3000-\u3004'
        '\u3008-\u3020\u3030\u303d-\u3040\u30fb\ufe10-\ufe1f\ufe30-\ufe6f\uff5f-\uff65';
    v_text text;
begin
    if octet_length(p_text) = length(p_text) then
        v_text := lower(p_text);  -- the steps below change no letter of ASCII
    else
        -- Soft hyphens and characters without width may stand within words.
        v_text := lower(
            normalize(translate(p_text, U&'\00ad\200b\200c\200d\2060\feff', ''), NFKC));
        v_text := ingest_search.in_pairs(v_text);
    end if;
    codes := array(
        select distinct found.code[1]
          from regexp_matches(
                   v_text, format('[^%1$s]+(?:[-/._@+:#&]+[^%1$s]+)+', v_separators), 'g')
                   as found (code)
         where length(found.code[1]) <= 64);
    words := string_to_array(
        btrim(regexp_replace(v_text, format('[%s]+', v_separators), ' ', 'g')), ' ');
    if v_text ~ format('[^%s]{65}', v_separators) then
        words := array(select left(word, 64) from unnest(words) with ordinality as one (word, place)
                        order by place);
    end if;
end
$$;

-- stop_words: the language of each stop word. Words that several languages share are left out.
create or replace function ingest_private.stop_words()
returns jsonb
language sql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
    select jsonb_object_agg(word, language)
      from (values
        ('english', 'the of and to is that it for are with as be this from by not have or which you but they their has been will would can were'),
        ('german', 'und von zu mit sich ist dem nicht ein eine auf für wie im auch als es an werden aus hat dass sie nach wird bei einer um am sind noch einem über wir ich oder einen zum zur kann wenn'),
        ('french', 'le la les des et du une est dans qui pour pas sur ne au par plus avec ce sont cette ou nous vous leur aux été sa ses elle'),
        ('spanish', 'el los las por una para no su al lo más pero sus este ya esta entre cuando muy sin sobre también hasta hay donde y'),
        ('italian', 'di che è della per sono nel alla dei gli delle dal anche ha questo nella più degli'),
        ('portuguese', 'o do da em não uma os dos na ao ele seu sua pelo pela são foi até também à'),
        ('dutch', 'het een van dat niet zijn voor op met te aan maar dan zou wat mijn bij ook naar heeft worden wordt deze'),
        ('swedish', 'och att det som är av för inte har ett jag så till från eller'),
        ('danish', 'og af ikke jeg til med han havde sig efter blev også'),
        ('finnish', 'ja ei että se hän oli ovat mutta kun niin mitä myös ole joka tai'),
        ('russian', 'и в не на что с как это по из за от для так но его же к'),
        ('turkish', 've bir bu için ile olarak daha çok gibi olan kadar sonra değil')
      ) as list (language, words),
      string_to_table(words, ' ') as word
$$;

-- stemmer_of: the language of most stop words among these words, '' if there are none.
create or replace function ingest_private.stemmer_of(p_words text[])
returns text
language plpgsql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
declare
    -- Made once in a session: PostgreSQL keeps the result of an immutable function without
    -- parameters.
    v_stop_words constant jsonb := ingest_private.stop_words();
begin
    return coalesce((
        select v_stop_words ->> word
          from unnest(p_words) as word
         where v_stop_words ? word
         group by 1 order by count(*) desc, 1 limit 1), '');
end
$$;

-- lexemes_at: words and their stems as lexemes with their positions. Each word is looked up once,
-- however often it occurs.
create or replace function ingest_private.lexemes_at(p_words text[], p_codes text[], p_stemmer text)
returns tsvector
language plpgsql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
declare
    v_dictionary regdictionary;
begin
    if p_stemmer <> '' then
        v_dictionary := p_stemmer || '_stem';
    end if;
    return coalesce((
        select string_agg(entry.lexemes, ' ')
          from (select '''' || word || ''':' || places
                       || case when stem <> word then ' ''' || stem || ''':' || places else '' end
                          as lexemes
                  from (select word, string_agg(least(place, 16383)::text, ',') as places,
                               (ts_lexize(v_dictionary, word))[1] as stem  -- Snowball finds one
                          from unnest(p_words) with ordinality as one (word, place)
                         group by word) as one_each
                union all
                select '''' || code || ''':1' from unnest(p_codes) as code) as entry), '')::tsvector;
end
$$;

-- scope_of: the lexeme that names the owner of a chunk. No text can hold it, because = is not part
-- of any word.
create or replace function ingest_search.scope_of(p_index_version integer, p_owner_id text)
returns text
language plpgsql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
begin
    return '=' || md5(p_index_version || ' ' || p_owner_id);
end
$$;

-- title_lexemes: the lexemes of a document's title. Only they have the weight C, so a query can ask
-- for the title alone.
create or replace function ingest_private.title_lexemes(p_title text, p_stemmer text)
returns tsvector
language plpgsql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
declare
    v_made constant record := ingest_search.words_of(p_title);
begin
    return setweight(ingest_private.lexemes_at(v_made.words, v_made.codes, p_stemmer), 'C');
end
$$;

-- lexemes_of: the lexemes in the row of chunk_lexemes for a chunk. p_title: the title of its
-- document, if this is its first chunk. A title that is a heading of the chunk counts once.
create or replace function ingest_private.lexemes_of(
    p_index_version integer, p_owner_id text, p_content text, p_headings text[],
    p_title text default null, out stemmer text, out lexemes tsvector)
language plpgsql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
declare
    v_content record;
    v_headings record;
begin
    v_content := ingest_search.words_of(p_content);
    v_headings := ingest_search.words_of(
        array_to_string(array_remove(p_headings, p_title), ' | '));
    stemmer := ingest_private.stemmer_of(v_content.words);
    lexemes := setweight(ingest_private.lexemes_at(v_headings.words, v_headings.codes, stemmer), 'A')
            || setweight(ingest_private.lexemes_at(v_content.words, v_content.codes, stemmer), 'B');
    if p_title is not null then
        lexemes := ingest_private.title_lexemes(p_title, stemmer) || lexemes;
    end if;
    if p_owner_id is not null then
        lexemes := lexemes
                || array_to_tsvector(array[ingest_search.scope_of(p_index_version, p_owner_id)]);
    end if;
end
$$;

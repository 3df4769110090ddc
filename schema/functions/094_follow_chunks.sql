-- Each chunk has two copies: its sketch, for searches by embedding, and its words, for searches by
-- words. Triggers keep the copies in line with the chunks, in the same transaction, whoever writes
-- the chunks: publish, drain or an operator.

-- sketch_of: the sketch of an embedding. Up to 512 dimensions it is the embedding itself: for
-- 100,000 embeddings of 256 dimensions, signs would take as long.
create or replace function ingest_private.sketch_of(
    p_embedding extensions.halfvec, out bits pg_catalog."bit", out embedding extensions.halfvec)
language plpgsql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
begin
    if extensions.vector_dims(p_embedding) > 512 then
        bits := extensions.binary_quantize(p_embedding);
    else
        embedding := p_embedding;
    end if;
end
$$;

-- put_title: writes the words of a document's title with those of its first chunk. So a search by
-- words finds the document by its title, through the same index, policies and counts as any chunk.
-- Without a title, its file's name counts, without folders. p_former is the chunk that was the first
-- before and loses the title; null: none. Writes nothing that is there already, and no row of
-- ingest.chunks. The caller holds the lock on the document. The words of the text are made anew only
-- if another title is among them, or may be: then those of the title cannot be told apart.
create or replace function ingest_private.put_title(
    p_document_id uuid, p_index_version integer, p_title text, p_former uuid default null)
returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp set enable_seqscan = off set enable_bitmapscan = off
set enable_hashjoin = off set enable_mergejoin = off set jit = off as $$
declare
    v_name constant text := coalesce(
        nullif(btrim(p_title), ''),
        (select substring(document.object_name from '[^/]*$')
           from ingest.documents as document where document.id = p_document_id));
    v_first constant uuid := (select position.chunk_id from ingest.chunk_positions as position
                               where position.document_id = p_document_id
                                 and position.index_version = p_index_version
                                 and position.ordinal = 0);
    v_is_marked constant boolean := ingest_search.is_filled('titles', p_index_version);
    v_id uuid;
    v_title text;
    v_held record;
    v_made tsvector;
begin
    foreach v_id in array array_remove(array[nullif(p_former, v_first), v_first], null) loop
        select held.stemmer, held.lexemes, chunk.owner_id, chunk.content, chunk.headings into v_held
          from ingest.chunk_lexemes as held
               join ingest.chunks as chunk
                 on chunk.index_version = held.index_version and chunk.id = held.chunk_id
         where held.chunk_id = v_id and held.index_version = p_index_version;
        continue when not found;
        v_title := case when v_id = v_first then v_name end;
        if v_is_marked and ts_filter(v_held.lexemes, '{c}') = ''
           and (v_title = any(v_held.headings)) is not true then
            v_made := coalesce(ingest_private.title_lexemes(v_title, v_held.stemmer)
                               || v_held.lexemes, v_held.lexemes);
        else
            v_made := (ingest_private.lexemes_of(p_index_version, v_held.owner_id, v_held.content,
                                                 v_held.headings, v_title)).lexemes;
        end if;
        update ingest.chunk_lexemes as held set lexemes = v_made
         where held.chunk_id = v_id and held.index_version = p_index_version
           and held.lexemes <> v_made;
    end loop;
end
$$;

-- words_known: the words of all chunks of some documents in an index version, without the lexeme
-- that names the owner. The first chunk of a document is left out: its words hold the title, and the
-- same text may stand elsewhere in another version. The chunks and their words are joined by a hash: a
-- loop over a table that was never analysed could read all of one for each row of the other.
create or replace function ingest_private.words_known(p_documents uuid[], p_index_version integer)
returns table (document_id uuid, content text, headings text[], stemmer text, lexemes tsvector)
language sql stable security definer rows 1000
set search_path = pg_catalog, pg_temp set enable_seqscan = off set enable_nestloop = off
set enable_mergejoin = off set jit = off as $$
    select chunk.document_id, chunk.content, chunk.headings, words.stemmer,
           coalesce(ts_delete(words.lexemes,
                              ingest_search.scope_of(words.index_version, words.owner_id)),
                    words.lexemes)
      from ingest.chunks as chunk
           join ingest.chunk_lexemes as words
             on words.chunk_id = chunk.id and words.document_id = any(p_documents)
            and words.index_version = p_index_version
     where chunk.document_id = any(p_documents) and chunk.index_version = p_index_version
       and chunk.id <> all(array(
               select position.chunk_id from ingest.chunk_positions as position
                where position.document_id = any(p_documents)
                  and position.index_version = p_index_version and position.ordinal = 0))
$$;

-- Rows are removed by their keys, one document at a time. For a table that was empty when it was
-- analysed, the planner could make a join that compares each row with every other. New rows are joined
-- by a hash, because the plan is kept for a later statement with more rows.
create or replace function ingest_private.follow_chunks()
returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp set enable_seqscan = off set enable_nestloop = off
set enable_mergejoin = off set jit = off as $$
declare
    v_gone record;
    v_active constant integer := (select id from ingest.index_versions where state = 'active');
begin
    if tg_op <> 'INSERT' then
        for v_gone in
            select gone.document_id, gone.index_version, array_agg(gone.id) as ids
              from gone group by gone.document_id, gone.index_version
        loop
            delete from ingest_private.sketches
             where document_id = v_gone.document_id and index_version = v_gone.index_version
               and id = any(v_gone.ids);
            delete from ingest.chunk_lexemes
             where chunk_id = any(v_gone.ids) and index_version = v_gone.index_version;
        end loop;
    end if;
    if tg_op <> 'DELETE' then
        insert into ingest_private.sketches (index_version, id, document_id, owner_id, access, bits,
                                             embedding)
        select added.index_version, added.id, added.document_id, added.owner_id, added.access,
               made.bits, made.embedding
          from added cross join lateral ingest_private.sketch_of(added.embedding) as made
            on conflict do nothing;
        -- Making the words of a text takes five times as long as storing them. So in a version
        -- beside the active one a chunk gets the words of the same text of its document in the
        -- active one. Only the lexeme that names the owner differs.
        insert into ingest.chunk_lexemes (chunk_id, index_version, document_id, object_id, owner_id,
                                          access, stemmer, lexemes)
        select added.id, added.index_version, added.document_id, added.object_id, added.owner_id,
               added.access, made.stemmer, made.lexemes
          from added
               left join ingest_private.words_known(array(
                   select distinct beside.document_id from added as beside
                    where beside.index_version <> v_active), v_active) as known
                 on (known.document_id, known.content, known.headings)
                    = (added.document_id, added.content, added.headings)
                and added.index_version <> v_active
               cross join lateral (
                   select fresh.stemmer, fresh.lexemes
                     from ingest_private.lexemes_of(
                              added.index_version, added.owner_id, added.content, added.headings)
                              as fresh
                    where known.lexemes is null
                    union all
                   select known.stemmer, case
                              when added.owner_id is null then known.lexemes
                              else known.lexemes || array_to_tsvector(array[
                                       ingest_search.scope_of(added.index_version, added.owner_id)])
                              end
                    where known.lexemes is not null) as made
            on conflict do nothing;
    end if;
    if tg_op = 'UPDATE' then
        perform ingest_private.put_title(document.id, changed.index_version, document.title)
           from (select distinct document_id, index_version from added) as changed
                join ingest.documents as document on document.id = changed.document_id;
    end if;
    return null;
end
$$;

create or replace trigger chunks_inserted
    after insert on ingest.chunks referencing new table as added
    for each statement execute function ingest_private.follow_chunks();
create or replace trigger chunks_deleted
    after delete on ingest.chunks referencing old table as gone
    for each statement execute function ingest_private.follow_chunks();
create or replace trigger chunks_updated
    after update on ingest.chunks referencing old table as gone new table as added
    for each statement execute function ingest_private.follow_chunks();

-- fill_chunks: makes the `sketches` or `lexemes` of chunks from an older release, p_limit at most,
-- in order of id. Returns how many chunks it looked at: call it again until there are none, each
-- time in a transaction of its own, so finished work stays. A version is complete when no chunk
-- follows, because the trigger serves newer chunks. It does not wait: if another call runs, or a
-- chunk is being removed, it returns 0. A statement that deletes one of these chunks waits, or has
-- deleted it before, so no copy of a deleted chunk is left. For `titles` it does so document by
-- document, once the version has its lexemes; publish_document serves newer documents.
create or replace function ingest_private.fill_chunks(p_copy text, p_limit integer)
returns integer
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '200ms'
set plan_cache_mode = force_generic_plan set enable_seqscan = off set jit = off as $$
declare
    v_fill ingest_private.chunk_fills;
    v_after uuid;
    v_ids uuid[];
begin
    select * into v_fill from ingest_private.chunk_fills as fill
     where fill.copy = p_copy and fill.completed_at is null
       and (p_copy <> 'titles' or ingest_search.is_filled('lexemes', fill.index_version))
     order by fill.index_version limit 1 for update skip locked;
    if not found then
        return 0;
    end if;
    -- All zeros come before every id.
    v_after := coalesce(v_fill.filled_to, '00000000-0000-0000-0000-000000000000');
    if p_copy = 'titles' then
        v_ids := array(
            select document.id from ingest.documents as document
             where document.id > v_after order by document.id limit p_limit for no key update);
    else
        v_ids := array(
            select chunk.id from ingest.chunks as chunk
             where chunk.index_version = v_fill.index_version and chunk.id > v_after
             order by chunk.id limit p_limit for key share);
    end if;
    if cardinality(v_ids) = 0 then
        update ingest_private.chunk_fills set completed_at = clock_timestamp()
         where copy = p_copy and index_version = v_fill.index_version;
        return 0;
    end if;
    if p_copy = 'sketches' then
        insert into ingest_private.sketches (index_version, id, document_id, owner_id, access, bits,
                                             embedding)
        select chunk.index_version, chunk.id, chunk.document_id, chunk.owner_id, chunk.access,
               made.bits, made.embedding
          from ingest.chunks as chunk
               cross join lateral ingest_private.sketch_of(chunk.embedding) as made
         where chunk.index_version = v_fill.index_version and chunk.id = any(v_ids)
            on conflict do nothing;
    elsif p_copy = 'titles' then
        perform ingest_private.put_title(document.id, v_fill.index_version, document.title)
           from ingest.documents as document where document.id = any(v_ids);
    else
        insert into ingest.chunk_lexemes (chunk_id, index_version, document_id, object_id, owner_id,
                                          access, stemmer, lexemes)
        select chunk.id, chunk.index_version, chunk.document_id, chunk.object_id, chunk.owner_id,
               chunk.access, made.stemmer, made.lexemes
          from ingest.chunks as chunk
               cross join lateral ingest_private.lexemes_of(
                   chunk.index_version, chunk.owner_id, chunk.content, chunk.headings) as made
         where chunk.index_version = v_fill.index_version and chunk.id = any(v_ids)
            on conflict do nothing;
    end if;
    update ingest_private.chunk_fills set filled_to = v_ids[cardinality(v_ids)]
     where copy = p_copy and index_version = v_fill.index_version;
    return cardinality(v_ids);
exception
    when lock_not_available then
        return 0;
end
$$;

-- is_filled: whether all chunks of an index version have this copy. Until then searches read the
-- chunks themselves.
create or replace function ingest_search.is_filled(p_copy text, p_index_version integer)
returns boolean
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    return exists (select from ingest_private.chunk_fills as fill
                    where fill.copy = p_copy and fill.index_version = p_index_version
                      and fill.completed_at is not null);
end
$$;

-- What queries cost: the embeddings that users search with. Whoever embeds a query says so here.

-- note_prices: what a million tokens cost, as a worker that begins has it in its settings:
-- {"provider": {"model": dollars, "": dollars of any other model}}. Workers say it because clients
-- must not: record_query believes nobody's price.
create or replace function ingest_private.note_prices(p_prices jsonb)
returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '5s' as $$
begin
    insert into ingest_private.settings as known (name, value) values ('prices', p_prices)
        on conflict (name) do update set value = known.value || excluded.value
           where known.value is distinct from known.value || excluded.value;
end
$$;

-- record_query: books the tokens of a query that was embedded for an index version, on the caller;
-- with the project's secret key on no owner. It takes the subject from the token. A caller can only
-- book on themselves, at the price that workers know, no more tokens than a query can have, and so
-- often as count_asked allows; and no budget counts it. One row a day and model. Raises PT401 without
-- a subject, PT429 if the caller has booked too many, 22023 if there is no such index version or
-- the tokens cannot be those of a query.
create or replace function ingest.record_query(index_version integer, tokens integer)
returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '5s' as $$
declare
    v_sub text;
    v_version ingest.index_versions;
    v_prices jsonb;
begin
    if coalesce(auth.jwt() ->> 'role' = 'service_role', false) then
        v_sub := null;
    else
        v_sub := ingest_private.subject_of_caller();
        perform ingest_private.count_asked(v_sub, 'query');
    end if;
    select * into v_version from ingest.index_versions as version
     where version.id = record_query.index_version;
    if not found then
        raise exception 'there is no such index version'
            using errcode = '22023', hint = 'active_index() names the one that answers searches.';
    end if;
    if tokens is null or tokens not between 0 and 32000 then
        raise exception 'a query has 0 to 32000 tokens' using errcode = '22023';
    end if;
    v_prices := (select value -> v_version.provider from ingest_private.settings
                  where name = 'prices');
    perform ingest_private.book_spend(
        v_sub, v_version.model, 'query', tokens,
        tokens * coalesce((v_prices ->> v_version.model)::numeric,
                          (v_prices ->> '')::numeric, 0) / 1000000);
end
$$;

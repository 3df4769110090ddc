-- owner_of: who owns an object under its source's rule; null when the rule finds nobody. A folder
-- counts only if something follows it: `a.pdf` has no first folder.
create or replace function ingest_private.owner_of(p_rule text, p_uploader text, p_name text)
returns text
language sql immutable set search_path = pg_catalog, pg_temp as $$
    select nullif(case
        when p_rule = 'uploader' then p_uploader
        when p_rule like 'fixed:%' then substr(p_rule, 7)
        when cardinality(string_to_array(p_name, '/')) > substr(p_rule, 8)::integer
            then split_part(p_name, '/', substr(p_rule, 8)::integer)
        end, '')
$$;

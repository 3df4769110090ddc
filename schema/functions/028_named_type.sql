-- named_type: the text type that the ending of a name stands for, by the same rules as in workers
-- (name_hint in worker/extraction/shared/media_types.py); empty if it stands for none.
create or replace function ingest_private.named_type(p_object_name text)
returns text
language plpgsql immutable set search_path = pg_catalog, pg_temp as $$
declare
    v_name constant text := lower(split_part(p_object_name, '/', -1));
    -- The part before the last point may not be empty.
    v_ending constant text := case when strpos(substr(v_name, 2), '.') > 0
                                   then split_part(v_name, '.', -1) else '' end;
begin
    return case
        when v_name in ('dockerfile', 'makefile', 'gnumakefile')
            then 'text/x-' || case v_name when 'dockerfile' then v_name else 'mk' end
        when v_ending = any('{bash,c,cc,cfg,clj,conf,cpp,cs,css,cxx,dart,ex,exs,go,gradle,graphql,h,
                            hpp,hs,ini,ipynb,java,jl,js,jsx,kt,kts,less,lua,m,mjs,mk,ml,nix,pas,
                            php,pl,proto,ps1,py,pyi,r,rb,rs,scala,scss,sh,sol,sql,svelte,swift,tcl,
                            tf,toml,ts,tsx,vb,vue,yaml,yml,zig,zsh}'::text[])
            then 'text/x-' || v_ending
        else case v_ending
            when 'csv' then 'text/csv'
            when 'eml' then 'message/rfc822'
            when 'htm' then 'text/html'
            when 'html' then 'text/html'
            when 'ics' then 'text/calendar'
            when 'json' then 'application/json'
            when 'jsonl' then 'application/x-ndjson'
            when 'markdown' then 'text/markdown'
            when 'mbox' then 'application/mbox'
            when 'md' then 'text/markdown'
            when 'mdx' then 'text/markdown'
            when 'ndjson' then 'application/x-ndjson'
            when 'org' then 'text/x-org'
            when 'rst' then 'text/x-rst'
            when 'tab' then 'text/tab-separated-values'
            when 'tsv' then 'text/tab-separated-values'
            when 'xhtml' then 'text/html'
            when 'xml' then 'application/xml'
            else '' end end;
end
$$;

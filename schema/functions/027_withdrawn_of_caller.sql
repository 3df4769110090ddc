-- withdrawn_of_caller: the documents whose chunks the caller may not find any more although they
-- lie there still, each of which policies pass over: what was withdrawn from this owner, or from
-- everybody, and what a pending event hides. In plpgsql, which keeps its plan; the number of rows is
-- given, so that the planner always hashes them, asked for once a query.
create or replace function ingest_private.withdrawn_of_caller()
returns setof uuid
language plpgsql stable security definer rows 100
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan set enable_seqscan = off set jit = off as $$
begin
    return query
        select gone.document_id from ingest_private.withdrawn as gone
         where gone.access = 'owner' and gone.owner_id = (auth.jwt() ->> 'sub')
        union all
        select gone.document_id from ingest_private.withdrawn as gone
         where gone.access = 'inherit'
        union all
        select document.id
          from ingest_private.pending_events as event
               join ingest.documents as document on document.object_id = event.object_id
         where event.hides;
end
$$;

-- withdrawn_documents: the same for whom no policy holds, and who may read everything.
create or replace function ingest.withdrawn_documents()
returns setof uuid
language plpgsql stable security definer rows 100
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan set enable_seqscan = off set jit = off as $$
begin
    return query
        select gone.document_id from ingest_private.withdrawn as gone
        union all
        select document.id
          from ingest_private.pending_events as event
               join ingest.documents as document on document.object_id = event.object_id
         where event.hides;
end
$$;

-- withdrawn_of_caller: the documents whose chunks still exist although the caller may no longer
-- find them. Policies pass over them: documents that were withdrawn from this owner, or from
-- everybody, and documents that a pending event hides. Written in plpgsql, which keeps its plan.
-- The number of rows is declared, so the planner always hashes them, once for each query.
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

-- withdrawn_documents: the same list for roles that no policy holds for, and that may read
-- everything.
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

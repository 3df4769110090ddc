-- Row-level security of all tables in `ingest`: one policy for each table, for select only. Writing
-- would need a policy and a grant, and there is neither. Applied only when this file or the catalog
-- changed: on hosted projects CREATE and DROP POLICY briefly lock tables of auth and storage too.

alter table ingest.documents enable row level security;
alter table ingest.jobs enable row level security;
alter table ingest.usage enable row level security;
alter table ingest.index_versions enable row level security;
alter table ingest.chunks enable row level security;
alter table ingest.chunk_positions enable row level security;
alter table ingest.chunk_lexemes enable row level security;
alter table ingest.conversations enable row level security;
alter table ingest.messages enable row level security;

-- Partitions have no policy: readers use the parent tables, and a partition by itself shows
-- nothing.
do $$
declare
    v_partition regclass;
begin
    for v_partition in
        select oid from pg_catalog.pg_class
         where relnamespace = 'ingest_private'::regnamespace
           and relkind = 'r' and relispartition and not relrowsecurity
    loop
        execute format('alter table %s enable row level security', v_partition);
    end loop;
end
$$;

-- The claims are read in a subquery, so once for each query and not for each row, as Supabase's
-- linter requires.

-- Withdrawn rows still exist for a while. The policies of documents and chunks leave them out, and
-- positions are left out with their documents. For roles that no policy holds for, nearest_chunks
-- does this.

-- Inherit: a user who may read the object under Storage's policies may read the document and its
-- chunks. The probe uses the primary key and is fenced by OFFSET 0; otherwise it becomes a scan of
-- all objects.
drop policy if exists documents_select on ingest.documents;
create policy documents_select on ingest.documents for select to authenticated
    using ((owner_id = ((select auth.jwt()) ->> 'sub')
            or (access = 'inherit'
                and exists (select from storage.objects as object
                             where object.id = object_id offset 0)))
           and id not in (select ingest_private.withdrawn_of_caller()));

drop policy if exists jobs_select on ingest.jobs;
create policy jobs_select on ingest.jobs for select to authenticated
    using (owner_id = ((select auth.jwt()) ->> 'sub'));

drop policy if exists usage_select on ingest.usage;
create policy usage_select on ingest.usage for select to authenticated
    using (owner_id = ((select auth.jwt()) ->> 'sub'));

drop policy if exists index_versions_select on ingest.index_versions;
create policy index_versions_select on ingest.index_versions for select to authenticated
    using (true);

drop policy if exists chunks_select on ingest.chunks;
create policy chunks_select on ingest.chunks for select to authenticated
    using ((owner_id = ((select auth.jwt()) ->> 'sub')
            or (access = 'inherit'
                and exists (select from storage.objects as object
                             where object.id = object_id offset 0)))
           and document_id not in (select ingest_private.withdrawn_of_caller()));

drop policy if exists chunk_positions_select on ingest.chunk_positions;
create policy chunk_positions_select on ingest.chunk_positions for select to authenticated
    using (exists (select from ingest.documents as document
                    where document.id = document_id offset 0));

drop policy if exists chunk_lexemes_select on ingest.chunk_lexemes;
create policy chunk_lexemes_select on ingest.chunk_lexemes for select to authenticated
    using ((owner_id = ((select auth.jwt()) ->> 'sub')
            or (access = 'inherit'
                and exists (select from storage.objects as object
                             where object.id = object_id offset 0)))
           and document_id not in (select ingest_private.withdrawn_of_caller()));

drop policy if exists conversations_select on ingest.conversations;
create policy conversations_select on ingest.conversations for select to authenticated
    using (owner_id = ((select auth.jwt()) ->> 'sub'));

drop policy if exists messages_select on ingest.messages;
create policy messages_select on ingest.messages for select to authenticated
    using (owner_id = ((select auth.jwt()) ->> 'sub'));

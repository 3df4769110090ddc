-- The end of every file that `docmill schema export` writes. It does with the rows of
-- docmill_export what `docmill schema apply` does with the files of schema/. It may be repeated,
-- whatever ran before.
--   known      every migration of this release, content is its checksum
--   migration  a migration to run unless the database has it
--   reapplied  functions, policies and grants, all of them, in order
--   value      files, fingerprint; model, dimensions, chunking of the first index version
do $docmill$
declare
    v_values constant jsonb := (
        select jsonb_object_agg(name, content) from pg_temp.docmill_export where kind = 'value');
    v_role constant text := current_setting('role');
    v_is_installed constant boolean := exists (
        select from pg_class as c join pg_namespace as n on n.oid = c.relnamespace
         where n.nspname = 'ingest_private' and c.relname = 'migrations');
    v_owner text := (select pg_get_userbyid(nspowner) from pg_namespace
                      where nspname = 'ingest_private');
    v_vector_schema text;
    v_names text;
    v_catalog text;
    v_file record;
begin
    if current_setting('server_version_num')::integer < 150000 then
        raise exception 'docmill: this PostgreSQL is too old: docmill needs 15 or newer';
    end if;
    if to_regclass('storage.objects') is null or to_regprocedure('auth.jwt()') is null
       or to_regrole('anon') is null or to_regrole('authenticated') is null
       or to_regrole('service_role') is null then
        raise exception 'docmill: this is not the database of a Supabase project';
    end if;
    if not exists (select from pg_extension where extname = 'vector') then
        begin
            create schema if not exists extensions;
            create extension vector with schema extensions;
        exception when others then
            raise exception 'docmill: pgvector is not enabled and could not be: enable the '
                'extension `vector` in the dashboard, then run this again (%)', sqlerrm;
        end;
    end if;
    select n.nspname into v_vector_schema
      from pg_extension as e join pg_namespace as n on n.oid = e.extnamespace
     where e.extname = 'vector'
       and string_to_array(substring(e.extversion from '^\d+\.\d+'), '.')::integer[] >= '{0,8}';
    if v_vector_schema is null then
        raise exception 'docmill: pgvector is too old: run `alter extension vector update` '
            '(needs 0.8)';
    end if;
    if v_vector_schema !~ '^[a-z_][a-z0-9_]*$' then
        raise exception 'docmill: pgvector lies in schema %: move it to `extensions`',
            v_vector_schema;
    end if;

    -- Objects that a superuser makes must belong to the schema's owner, who must be able to change
    -- them later.
    if v_owner <> current_user then
        if not pg_has_role(v_owner::name, 'member') then
            raise exception 'docmill: the schema belongs to its owner %: run this as that role',
                v_owner;
        end if;
        perform set_config('role', v_owner, true);
    end if;

    -- A migration that this release does not know is newer than it: there is nothing left to do
    -- here.
    if v_is_installed then
        if exists (select from ingest_private.migrations as done
                    where not exists (select from pg_temp.docmill_export
                                       where kind = 'known' and name = done.name)) then
            raise notice 'docmill: the database is newer than this file; nothing was changed';
            perform set_config('role', v_role, true);
            return;
        end if;
        select string_agg(known.name, ', ' order by known.name) into v_names
          from ingest_private.migrations as done
               join pg_temp.docmill_export as known
                 on known.kind = 'known' and known.name = done.name
         where known.content <> done.checksum;
        if v_names is not null then
            raise exception 'docmill: released migrations were edited (%): restore the files',
                v_names;
        end if;
        delete from pg_temp.docmill_export as known using ingest_private.migrations as done
         where known.name = done.name and known.kind in ('known', 'migration');
    end if;
    select string_agg(known.name, ', ' order by known.name) into v_names
      from pg_temp.docmill_export as known
     where known.kind = 'known'
       and not exists (select from pg_temp.docmill_export as file
                        where file.kind = 'migration' and file.name = known.name);
    if v_names is not null then
        raise exception 'docmill: migrations are missing (%): run the earlier files of docmill '
            'first, or docmill schema apply', v_names;
    end if;

    -- Functions, policies and grants are applied again after a migration, and if they differ from
    -- what the last run left.
    if not exists (select from pg_temp.docmill_export where kind = 'migration') then
        execute v_values ->> 'fingerprint' into v_catalog;
        if exists (select from ingest_private.settings
                    where name = 'applied_schema'
                      and value = jsonb_build_object('files', v_values ->> 'files',
                                                     'catalog', v_catalog)) then
            delete from pg_temp.docmill_export where kind = 'reapplied';
        end if;
    end if;

    for v_file in
        select file.kind, file.name, file.content,
               (select known.content from pg_temp.docmill_export as known
                 where known.kind = 'known' and known.name = file.name) as checksum
          from pg_temp.docmill_export as file
         where file.kind in ('migration', 'reapplied') order by file.position
    loop
        begin
            execute regexp_replace(v_file.content, '\mextensions\M', v_vector_schema, 'g');
        exception when others then
            raise exception 'docmill: %: %', v_file.name, sqlerrm using errcode = sqlstate;
        end;
        if v_file.kind = 'migration' then
            insert into ingest_private.migrations (name, checksum)
            values (v_file.name, v_file.checksum);
        end if;
    end loop;

    if found then
        execute v_values ->> 'fingerprint' into v_catalog;
        insert into ingest_private.settings (name, value)
        values ('applied_schema', jsonb_build_object('files', v_values ->> 'files',
                                                     'catalog', v_catalog))
            on conflict (name) do update set value = excluded.value;
    end if;
    if v_values ? 'model' and not exists (select from ingest.index_versions) then
        perform ingest_private.create_index_version(
            v_values ->> 'model', (v_values ->> 'dimensions')::integer,
            (v_values ->> 'chunking')::jsonb, v_values ->> 'provider',
            (v_values ->> 'sends_dimensions')::boolean);
    end if;
    perform set_config('role', v_role, true);
end
$docmill$;

-- The parts of a Supabase project that docmill touches, for the embedded mode and for tests.
-- Names, columns, defaults, grants and checks as in supabase/postgres, supabase/storage (with the
-- versioning columns of its migration 0062) and supabase/auth; run once, as the superuser.

-- Roles -----------------------------------------------------------------------------------------
create role anon nologin;
create role authenticated nologin;
create role service_role nologin bypassrls;
create role authenticator login noinherit;
grant anon, authenticated, service_role to authenticator;
create role postgres login nosuperuser createdb createrole replication bypassrls;
grant anon, authenticated, service_role to postgres;
create role supabase_storage_admin login noinherit createrole;
grant anon, authenticated, service_role to supabase_storage_admin;
alter role anon set statement_timeout = '3s';
alter role authenticated set statement_timeout = '8s';
alter role authenticator set statement_timeout = '8s';
alter role authenticator set lock_timeout = '8s';

-- Schemas and extensions ------------------------------------------------------------------------
grant usage on schema public to anon, authenticated, service_role;
create schema extensions;
grant usage on schema extensions to public;
grant all on schema extensions to postgres;
create extension vector with schema extensions;
do $$ begin execute format('grant create on database %I to postgres', current_database()); end $$;
create publication supabase_realtime;
alter publication supabase_realtime owner to postgres;

-- auth: what PostgREST's and Storage's claims look like from SQL ----------------------------------
create schema auth;
grant usage on schema auth to public;

create function auth.jwt() returns jsonb language sql stable as $$
    select coalesce(nullif(current_setting('request.jwt.claim', true), ''),
                    nullif(current_setting('request.jwt.claims', true), ''))::jsonb
$$;
create function auth.uid() returns uuid language sql stable as $$
    select coalesce(nullif(current_setting('request.jwt.claim.sub', true), ''),
                    nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub')::uuid
$$;
create function auth.role() returns text language sql stable as $$
    select coalesce(nullif(current_setting('request.jwt.claim.role', true), ''),
                    nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'role')
$$;
create function auth.email() returns text language sql stable as $$
    select coalesce(nullif(current_setting('request.jwt.claim.email', true), ''),
                    nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'email')
$$;

create table auth.users (id uuid primary key, email text);
grant all on schema auth to postgres;
grant all on auth.users to postgres;

-- storage ---------------------------------------------------------------------------------------
create schema storage authorization supabase_storage_admin;
grant usage on schema storage to anon, authenticated, service_role;
grant all on schema storage to postgres;

create table storage.buckets (
    id text primary key,
    name text not null unique check (length(name) <= 100),
    owner uuid,
    owner_id text,
    public boolean default false,
    avif_autodetection boolean default false,
    file_size_limit bigint,
    allowed_mime_types text[],
    type text not null default 'STANDARD',
    versioning_status text not null default 'DISABLED',
    created_at timestamptz default now(),
    updated_at timestamptz default now()
);

create table storage.objects (
    id uuid primary key default gen_random_uuid(),
    bucket_id text references storage.buckets (id),
    name text,
    owner uuid,
    created_at timestamptz default now(),
    updated_at timestamptz default now(),
    last_accessed_at timestamptz default now(),
    metadata jsonb,
    path_tokens text[] generated always as (string_to_array(name, '/')) stored,
    version text,
    owner_id text,
    user_metadata jsonb,
    archived_at timestamptz,
    is_delete_marker boolean not null default false,
    is_versioned boolean not null default false
);
create unique index bucketid_objname on storage.objects (bucket_id, name);
create index name_prefix_search on storage.objects (name text_pattern_ops);
create index idx_objects_bucket_id_name on storage.objects (bucket_id, name collate "C");
create index idx_objects_bucket_id_name_lower
    on storage.objects (bucket_id, lower(name) collate "C");

create function storage.update_updated_at_column() returns trigger language plpgsql as $$
begin
    new.updated_at = now();
    return new;
end
$$;
create trigger update_objects_updated_at before update on storage.objects
    for each row execute function storage.update_updated_at_column();

create function storage.protect_delete() returns trigger language plpgsql as $$
begin
    if coalesce(current_setting('storage.allow_delete_query', true), 'false') <> 'true' then
        raise exception 'Direct deletion from storage tables is not allowed. Use the Storage API instead.'
            using errcode = '42501',
                  hint = 'This prevents accidental data loss from orphaned objects.';
    end if;
    return null;
end
$$;
create trigger protect_objects_delete before delete on storage.objects
    for each statement execute function storage.protect_delete();

create trigger protect_buckets_delete before delete on storage.buckets
    for each statement execute function storage.protect_delete();

create function storage.foldername(name text) returns text[] language sql immutable as $$
    select parts[1:cardinality(parts) - 1] from string_to_array(name, '/') as parts
$$;
create function storage.filename(name text) returns text language sql immutable as $$
    select parts[cardinality(parts)] from string_to_array(name, '/') as parts
$$;
create function storage.extension(name text) returns text language sql immutable as $$
    select reverse(split_part(reverse(storage.filename(name)), '.', 1))
$$;
create function storage.operation() returns text language sql stable as $$
    select current_setting('storage.operation', true)
$$;
-- For policies: is this request that operation? The prefix `storage.` may be left out.
create function storage.allow_any_operation(expected_operations text[]) returns boolean
language sql stable as $$
    select coalesce(regexp_replace(storage.operation(), '^storage\.', '') = any(array(
        select regexp_replace(expected, '^storage\.', '')
          from unnest(expected_operations) as expected where expected <> '')), false)
$$;
create function storage.allow_only_operation(expected_operation text) returns boolean
language sql stable as $$
    select storage.allow_any_operation(array[expected_operation])
$$;

alter table storage.buckets owner to supabase_storage_admin;
alter table storage.objects owner to supabase_storage_admin;
alter table storage.buckets enable row level security;
alter table storage.objects enable row level security;
grant all on storage.buckets, storage.objects to anon, authenticated, service_role;
grant all on storage.buckets, storage.objects to postgres with grant option;

-- Database Webhooks -------------------------------------------------------------------------------
-- net.http_post queues; whoever plays pg_net's worker takes a row out, sends it once, forgets it.
create schema net;
grant usage on schema net to public;
create unlogged table net.http_request_queue (
    id bigint generated always as identity primary key,
    method text not null,
    url text not null,
    headers jsonb not null,
    body bytea,
    timeout_milliseconds integer not null
);
-- As in pg_net 0.20: whoever speaks SQL may read and write the queue; no API role reaches it.
grant all on net.http_request_queue to public;
create function net.http_post(
    url text, body jsonb default '{}', params jsonb default '{}',
    headers jsonb default '{"Content-Type": "application/json"}',
    timeout_milliseconds integer default 5000)
returns bigint language plpgsql as $$
declare
    request_id bigint;
begin
    -- In the caller's transaction, as by curl's parser of urls.
    if url !~ '^[a-zA-Z][a-zA-Z0-9+.-]*://[^/?#\s]+[^\s]*$' then
        raise exception 'invalid URL "%": Malformed input to a URL function', url;
    end if;
    insert into net.http_request_queue (method, url, headers, body, timeout_milliseconds)
    values ('POST', url, headers, convert_to(body::text, 'UTF8'), timeout_milliseconds)
    returning id into request_id;
    return request_id;
end
$$;

create schema supabase_functions;
grant usage on schema supabase_functions to public;
create function supabase_functions.http_request() returns trigger
language plpgsql security definer set search_path = '' as $$
declare
    v_new jsonb := case when tg_op <> 'DELETE' then to_jsonb(new) end;
    v_old jsonb := case when tg_op <> 'INSERT' then to_jsonb(old) end;
begin
    perform net.http_post(
        url => tg_argv[0],
        body => jsonb_build_object('type', tg_op, 'table', tg_table_name,
                                   'schema', tg_table_schema, 'record', v_new,
                                   'old_record', v_old),
        headers => coalesce(tg_argv[2]::jsonb, '{"Content-Type": "application/json"}'),
        timeout_milliseconds => coalesce(tg_argv[4]::integer, 1000));
    return coalesce(new, old);
end
$$;

-- Vault -------------------------------------------------------------------------------------------
-- Names, columns and grants of supabase_vault 0.3. Nothing is encrypted here: there is no key.
create schema vault;
create table vault.secrets (
    id uuid primary key default gen_random_uuid(),
    name text,
    description text not null default '',
    secret text not null,
    key_id uuid,
    nonce bytea,
    created_at timestamptz not null default current_timestamp,
    updated_at timestamptz not null default current_timestamp
);
create unique index on vault.secrets (name) where name is not null;

create view vault.decrypted_secrets as
    select id, name, description, secret,
           convert_from(decode(secret, 'base64'), 'utf8') as decrypted_secret,
           key_id, nonce, created_at, updated_at
      from vault.secrets;

create function vault.create_secret(
    new_secret text, new_name text default null, new_description text default '',
    new_key_id uuid default null)
returns uuid language sql security definer set search_path = '' as $$
    insert into vault.secrets (secret, name, description)
    values (encode(convert_to(new_secret, 'utf8'), 'base64'), new_name, new_description)
    returning id
$$;
create function vault.update_secret(
    secret_id uuid, new_secret text default null, new_name text default null,
    new_description text default null, new_key_id uuid default null)
returns void language sql security definer set search_path = '' as $$
    update vault.secrets
       set secret = coalesce(encode(convert_to(new_secret, 'utf8'), 'base64'), secret),
           name = coalesce(new_name, name),
           description = coalesce(new_description, description),
           updated_at = now()
     where id = secret_id
$$;
revoke all on function vault.create_secret, vault.update_secret from public;
grant usage on schema vault to postgres, service_role;
grant select, delete, truncate, references on vault.secrets, vault.decrypted_secrets
    to postgres with grant option;
grant select, delete on vault.secrets, vault.decrypted_secrets to service_role;
grant execute on function vault.create_secret, vault.update_secret to postgres, service_role;

-- dependency_of: the service that a passing error is about; null for errors that end a job by
-- themselves.
create or replace function ingest_private.dependency_of(p_error_code text)
returns text
language sql immutable set search_path = pg_catalog, pg_temp as $$
    select case
        when p_error_code in ('storage_unavailable', 'object_changed') then 'storage'
        when p_error_code in ('rate_limited', 'provider_unavailable') then 'provider'
        when p_error_code = 'database_unavailable' then 'database'
        when p_error_code = 'no_space' then 'disk'
        when p_error_code = 'internal_error' then 'worker' end;
$$;

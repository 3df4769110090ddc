-- The doorbell: a signed request that tells the receiver of a change, so that its job starts at
-- once and not with the next dispatch. `docmill schema webhook` installs it: the URL is in
-- settings, the secrets are in Vault. pg_net sends when the transaction commits, so Storage's
-- permission test, which is rolled back, sends nothing.

-- hmac_sha256: RFC 2104 with the built-in sha256(), because pgcrypto may be missing.
create or replace function ingest_private.hmac_sha256(p_key bytea, p_message bytea)
returns bytea
language plpgsql immutable set search_path = pg_catalog, pg_temp as $$
declare
    v_key constant bytea := case when length(p_key) > 64 then sha256(p_key) else p_key end;
    v_inner bytea := decode(repeat('36', 64), 'hex');
    v_outer bytea := decode(repeat('5c', 64), 'hex');
begin
    for i in 0 .. length(v_key) - 1 loop
        v_inner := set_byte(v_inner, i, get_byte(v_key, i) # 54);
        v_outer := set_byte(v_outer, i, get_byte(v_key, i) # 92);
    end loop;
    return sha256(v_outer || sha256(v_inner || p_message));
end
$$;

-- webhook_signature: the header of that name in Standard Webhooks, with one signature for each
-- secret (`whsec_...`, comma-separated). While secrets are rotated, a receiver may know only one of
-- them.
create or replace function ingest_private.webhook_signature(p_secrets text, p_content text)
returns text
language plpgsql immutable set search_path = pg_catalog, pg_temp as $$
begin
    if exists (select from unnest(string_to_array(p_secrets, ',')) as secret
                where secret !~ '^whsec_([A-Za-z0-9+/]{4})*'
                                '([A-Za-z0-9+/]{4}|[A-Za-z0-9+/]{3}=|[A-Za-z0-9+/]{2}==)$')
       or p_secrets = '' then
        raise exception 'a secret in Vault is not whsec_ and base64: make a new one with '
            'docmill schema webhook --rotate';
    end if;
    return (
        select string_agg('v1,' || encode(ingest_private.hmac_sha256(
                                              decode(substr(secret, 7), 'base64'),
                                              convert_to(p_content, 'UTF8')), 'base64'),
                          ' ' order by position)
          from unnest(string_to_array(p_secrets, ',')) with ordinality as _ (secret, position));
end
$$;

-- event_row: the columns of a row of storage.objects that a hint needs. Values are cut to the
-- lengths that Storage allows, so an event stays far below the receiver's limit even if somebody
-- wrote the row by SQL.
create or replace function ingest_private.event_row(
    p_id uuid, p_bucket_id text, p_name text, p_version text)
returns jsonb
language sql immutable set search_path = pg_catalog, pg_temp as $$
    select jsonb_build_object('id', p_id, 'bucket_id', left(p_bucket_id, 1024),
                              'name', left(p_name, 1024), 'version', left(p_version, 1024))
$$;

-- ring_doorbell: queues one signed event in the form of a Database Webhook, if a doorbell is
-- installed. It rings once in a transaction, however many objects change: after any ring the
-- receiver dispatches everything that is ready, and pending events are drained soon. Returns the
-- request's id; null: there is no doorbell, or it has already rung in this transaction. Raises if
-- it cannot ring; an upload must catch this. Waits 5 ms at most for a lock.
create or replace function ingest_private.ring_doorbell(
    p_type text, p_record jsonb, p_old_record jsonb)
returns bigint
language plpgsql security definer
set search_path = pg_catalog, pg_temp set lock_timeout = '5ms' as $$
declare
    v_url text;
    v_secrets text;
    v_event jsonb;
    v_id text;
    v_timestamp text;
    v_request bigint;
begin
    if current_setting('docmill.has_rung', true) = 'true' then
        return null;
    end if;
    select value ->> 'url' into v_url from ingest_private.settings where name = 'webhook';
    if v_url is null then
        return null;
    end if;
    select decrypted_secret into v_secrets
      from vault.decrypted_secrets where name = 'docmill_webhook_signing_secrets';
    if v_secrets is null then
        raise exception 'Vault holds no secret docmill_webhook_signing_secrets: make one with '
            'docmill schema webhook --rotate';
    end if;
    v_event := jsonb_build_object('type', p_type, 'schema', 'storage', 'table', 'objects',
                                  'record', p_record, 'old_record', p_old_record);
    v_id := 'msg_' || gen_random_uuid();
    v_timestamp := floor(extract(epoch from clock_timestamp()));
    v_request := net.http_post(
        url => v_url,
        body => v_event,
        headers => jsonb_build_object(
            'Content-Type', 'application/json',
            'webhook-id', v_id,
            'webhook-timestamp', v_timestamp,
            -- pg_net sends the text of the jsonb, byte for byte.
            'webhook-signature', ingest_private.webhook_signature(
                v_secrets, format('%s.%s.%s', v_id, v_timestamp, v_event))),
        timeout_milliseconds => 5000);
    perform set_config('docmill.has_rung', 'true', true);
    return v_request;
end
$$;

-- note_unrung: keeps the last failure of the doorbell for the operator. Never raises, because the
-- caller is an upload that must not fail. It is written at most once a minute, and by one
-- transaction at a time; others do not wait and go on.
create or replace function ingest_private.note_unrung(p_message text)
returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp set lock_timeout = '5ms' as $$
begin
    -- No second try in this transaction.
    perform set_config('docmill.has_rung', 'true', true);
    if exists (select from ingest_private.settings
                where name = 'webhook_failure'
                  and (value ->> 'at')::timestamptz > clock_timestamp() - interval '1 minute')
       or not pg_try_advisory_xact_lock(hashtext('docmill webhook_failure')) then
        return;
    end if;
    insert into ingest_private.settings (name, value)
    values ('webhook_failure',
            jsonb_build_object('at', clock_timestamp(), 'message', left(p_message, 300)))
        on conflict (name) do update set value = excluded.value;
exception when others then
    raise log 'docmill: % on noting %', sqlstate, p_message;
end
$$;

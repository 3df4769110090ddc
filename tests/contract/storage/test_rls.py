"""Policies decide, because every statement really runs as the caller."""

import pytest
from storage3.exceptions import StorageApiError

from tests.contract.storage.conftest import BOB, Bucket, client_for, mine, token


def test_nobody_reads_changes_or_removes_what_is_anothers(bucket: Bucket) -> None:
    bucket.alice.upload(mine("a.txt"), b"a")
    bob = bucket.bob
    for read in (bob.download, bob.info, lambda name: bob.create_signed_url(name, 60)):
        with pytest.raises(StorageApiError, match="Object not found"):
            read(mine("a.txt"))
    assert not bob.exists(mine("a.txt"))
    assert bob.list() == []
    assert bob.list_v2().objects == []
    assert bob.remove([mine("a.txt")]) == []
    for act in (bob.move, bob.copy):
        with pytest.raises(StorageApiError, match="Object not found"):
            act(mine("a.txt"), f"{BOB}/a.txt")
    assert bucket.alice.download(mine("a.txt")) == b"a"


def test_an_upload_against_a_policy_is_refused_with_storages_words(bucket: Bucket) -> None:
    with pytest.raises(StorageApiError) as refused:
        bucket.bob.upload(mine("b.txt"), b"b")
    assert refused.value.to_dict() == {
        "name": "StorageApiError",
        "code": "Unauthorized",
        "message": "new row violates row-level security policy",
        "status": "403",
    }
    bucket.alice.upload(mine("a.txt"), b"a")
    for act in (
        lambda: bucket.bob.upload(mine("a.txt"), b"b", {"upsert": "true"}),
        lambda: bucket.bob.update(mine("a.txt"), b"b"),
        lambda: bucket.alice.move(mine("a.txt"), f"{BOB}/a.txt"),
        lambda: bucket.alice.copy(mine("a.txt"), f"{BOB}/a.txt"),
    ):
        with pytest.raises(StorageApiError, match="new row violates row-level security policy"):
            act()
    assert [row[0] for row in bucket.rows()] == [mine("a.txt")]


def test_nobody_and_the_publishable_key_are_anon(bucket: Bucket) -> None:
    bucket.alice.upload(mine("a.txt"), b"a")
    anon = bucket.project.http("sb_publishable_test")
    with anon as http:
        assert http.get(f"/object/{bucket.name}/{mine('a.txt')}").json()["code"] == "NoSuchKey"
        response = http.post(f"/object/{bucket.name}/anon.txt", content=b"x")
        assert response.json()["message"] == "new row violates row-level security policy"
        removed = http.request(
            "DELETE", f"/object/{bucket.name}", json={"prefixes": [mine("a.txt")]}
        )
        assert removed.json() == []


def test_policies_read_claims_in_every_form(bucket: Bucket) -> None:
    with bucket.project.database.connect() as connection:
        connection.execute(
            """create policy claims_seen on storage.objects for insert to authenticated with check (
                   name = 'claims.txt'
                   and auth.uid() = '33333333-3333-4333-8333-333333333333'
                   and auth.role() = 'authenticated'
                   and auth.jwt() -> 'app_metadata' ->> 'team' = 'blue'
                   and current_setting('request.jwt.claim.sub') = auth.uid()::text
                   and current_setting('request.method') = 'POST'
                   and current_setting('request.headers')::jsonb ->> 'x-upsert' = 'false'
                   and storage.allow_only_operation('object.upload')
                   and current_user = 'authenticated')"""
        )
    blue = token("33333333-3333-4333-8333-333333333333", app_metadata={"team": "blue"})
    red = token("33333333-3333-4333-8333-333333333333", app_metadata={"team": "red"})
    server = bucket.project.storage
    with pytest.raises(StorageApiError, match="row-level security"):
        client_for(server, red).storage.from_(bucket.name).upload("claims.txt", b"x")
    bucket_for_blue = client_for(server, blue).storage.from_(bucket.name)
    bucket_for_blue.upload("claims.txt", b"x", {"headers": {"x-upsert": "false"}})
    with bucket.project.database.connect() as connection:
        connection.execute("drop policy claims_seen on storage.objects")


def test_api_keys_stay_out_of_what_triggers_can_read(bucket: Bucket) -> None:
    with bucket.project.database.connect() as connection:
        connection.execute(
            """create table public.seen_headers (headers text);
               create function public.see() returns trigger language plpgsql security definer
               as $$ begin
                   insert into public.seen_headers values (current_setting('request.headers'));
                   return new;
               end $$"""
        )
        connection.execute(
            f"create trigger see after insert on storage.objects for each row"
            f" when (new.bucket_id = '{bucket.name}') execute function public.see()"
        )
        bucket.admin.upload("a.txt", b"x")
        bucket.alice.upload(mine("a.txt"), b"x")
        seen = [row[0] for row in connection.execute("select headers from public.seen_headers")]
    assert len(seen) == 2
    assert not any("sb_" in text for text in seen)
    assert "Bearer ey" in seen[1], "the user's own token may be read, as on Supabase"


def test_a_trigger_without_rights_fails_the_upload_with_its_words(bucket: Bucket) -> None:
    with bucket.project.database.connect() as connection:
        connection.execute(
            """create table public.outbox (name text);
               create function public.fill_outbox() returns trigger language plpgsql as $$ begin
                   insert into public.outbox values (new.name);
                   return new;
               end $$"""
        )
        connection.execute(
            f"create trigger outbox after insert on storage.objects for each row"
            f" when (new.bucket_id = '{bucket.name}') execute function public.fill_outbox()"
        )
    with pytest.raises(StorageApiError) as refused:
        bucket.alice.upload(mine("a.txt"), b"x")
    assert refused.value.message == "permission denied for table outbox"
    assert refused.value.status == "403"


def test_a_policy_that_breaks_is_a_schema_mismatch(bucket: Bucket) -> None:
    with bucket.project.database.connect() as connection:
        connection.execute(
            """create function public.broken() returns boolean language plpgsql as $$ begin
                   return (select gone from public.nowhere);
               end $$"""
        )
        connection.execute(
            f"""create policy broken on storage.objects for insert to authenticated
                    with check (bucket_id = '{bucket.name}' and public.broken())"""
        )
        try:
            with pytest.raises(StorageApiError) as refused:
                bucket.bob.upload("x.txt", b"x")
        finally:
            connection.execute("drop policy broken on storage.objects")
    assert (refused.value.code, refused.value.status) == ("DatabaseSchemaMismatch", "503")

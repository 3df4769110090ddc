"""Who gets access with which role, and that policies decide: statements run as the caller."""

import time

import httpx
import jwt
import pytest
from storage3.exceptions import StorageApiError

from tests.contract.storage.conftest import Bucket, Watched
from tests.contract.target import Target, User
from tests.support.api import KEYS, user_client


def list_buckets(target: Target, **headers: str) -> httpx.Response:
    return httpx.get(f"{target.url}/storage/v1/bucket", headers=headers)


def token(sub: str, secret: str = KEYS.jwt_secret, **claims: object) -> str:
    """A user's token like those of Supabase Auth."""
    payload = {"role": "authenticated", "sub": sub, "exp": int(time.time()) + 3600}
    return jwt.encode({**payload, **claims}, secret, "HS256")


def test_a_bad_token_is_denied(target: Target) -> None:
    response = list_buckets(target, apikey=target.public_key(), Authorization="Bearer garbage")
    assert response.status_code == 400
    assert response.json() == {
        "statusCode": "403",
        "error": "Unauthorized",
        "message": "Invalid Compact JWS",
        "code": "AccessDenied",
    }


@pytest.mark.embedded_only("signs tokens with the secret of the project")
@pytest.mark.parametrize(
    ("bearer", "message"),
    [
        (token("x", exp=1), '"exp" claim timestamp check failed'),
        (token("x", "another secret of enough bytes, yes"), "signature verification failed"),
        (jwt.encode({"role": "service_role"}, "", "none"), "Invalid Compact JWS"),
    ],
)
def test_a_token_that_does_not_hold_is_denied(target: Target, bearer: str, message: str) -> None:
    response = list_buckets(target, apikey=target.public_key(), Authorization=f"Bearer {bearer}")
    assert (response.json()["error"], response.json()["message"]) == ("Unauthorized", message)


def test_an_opaque_key_counts_only_in_both_headers(target: Target) -> None:
    secret = target.secret_key
    if not secret.startswith("sb_secret_"):
        pytest.skip("the key is a token")
    both = list_buckets(target, apikey=secret, Authorization=f"Bearer {secret}")
    assert both.status_code == 200
    public = target.public_key()
    mixed = list_buckets(target, apikey=public, Authorization=f"Bearer {secret}")
    assert mixed.json()["message"] == "Invalid Compact JWS"
    unnamed = list_buckets(target, apikey=secret)
    assert unnamed.json()["message"] == "headers must have required property 'authorization'"


@pytest.mark.embedded_only("signs a key with the secret of the project")
def test_a_legacy_key_is_a_token_of_its_role(bucket: Bucket) -> None:
    key = jwt.encode({"role": "service_role", "iss": "supabase"}, KEYS.jwt_secret, "HS256")
    response = list_buckets(bucket.target, apikey=key, Authorization=f"Bearer {key}")
    assert bucket.name in {found["id"] for found in response.json()}


def test_a_users_token_beside_the_secret_key_is_the_user(bucket: Bucket, alice: User) -> None:
    secret = bucket.target.secret_key
    response = list_buckets(bucket.target, apikey=secret, Authorization=f"Bearer {alice.token}")
    assert bucket.name not in {found["id"] for found in response.json()}


def test_the_secret_key_is_refused_in_a_browser(target: Target) -> None:
    headers = {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64)", "apikey": target.secret_key}
    response = list_buckets(target, Authorization=f"Bearer {target.secret_key}", **headers)
    assert response.status_code == 401
    assert response.json()["message"] == "Forbidden use of secret API key in browser"


@pytest.mark.embedded_only("signs tokens with the secret of the project")
@pytest.mark.parametrize("role", ["postgres", "supabase_admin", "no_such_role"])
def test_a_role_that_storage_may_not_become_is_denied(watched: Watched, role: str) -> None:
    bearer = token("x", role=role)
    target = watched.bucket.target
    response = list_buckets(target, apikey=target.public_key(), Authorization=f"Bearer {bearer}")
    assert response.status_code in (400, 500)
    assert watched.bucket.name not in response.text
    assert bearer not in watched.inside.database.server.child.log_path.read_text()


def test_a_page_on_another_port_may_ask(target: Target) -> None:
    response = httpx.options(
        f"{target.url}/storage/v1/object/docs/a.txt",
        headers={
            "Origin": "http://localhost:3000",
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "apikey,authorization,x-upsert",
        },
    )
    assert response.status_code in (200, 204)
    assert response.headers["access-control-allow-origin"] in ("*", "http://localhost:3000")
    assert "x-upsert" in response.headers["access-control-allow-headers"].lower()


# -- Policies


def test_nobody_reads_changes_or_removes_what_is_anothers(
    shared: Bucket, alice: User, bob: User
) -> None:
    path = f"{alice.id}/a.txt"
    shared.of(alice).upload(path, b"a")
    other = shared.of(bob)
    for read in (other.download, other.info, lambda name: other.create_signed_url(name, 60)):
        with pytest.raises(StorageApiError, match="Object not found"):
            read(path)
    assert not other.exists(path)
    assert other.list() == []
    assert other.remove([path]) == []
    for act in (other.move, other.copy):
        with pytest.raises(StorageApiError, match="Object not found"):
            act(path, f"{bob.id}/a.txt")
    assert shared.of(alice).download(path) == b"a"


def test_an_upload_against_a_policy_is_refused_with_storages_words(
    shared: Bucket, alice: User, bob: User
) -> None:
    path, words = f"{alice.id}/a.txt", "new row violates row-level security policy"
    with pytest.raises(StorageApiError) as refused:
        shared.of(bob).upload(path, b"b")
    assert refused.value.to_dict() == {
        "name": "StorageApiError",
        "code": "Unauthorized",
        "message": words,
        "status": "403",
    }
    shared.of(alice).upload(path, b"a")
    for act in (
        lambda: shared.of(bob).upload(path, b"b", {"upsert": "true"}),
        lambda: shared.of(alice).move(path, f"{bob.id}/a.txt"),
        lambda: shared.of(alice).copy(path, f"{bob.id}/a.txt"),
    ):
        with pytest.raises(StorageApiError, match=words):
            act()
    assert shared.names() == [path]


def test_the_publishable_key_is_anon(bucket: Bucket) -> None:
    bucket.admin.upload("a.txt", b"a")
    with bucket.target.http("storage", bearer=bucket.target.public_key()) as http:
        assert http.get(f"/object/{bucket.name}/a.txt").json()["code"] == "NoSuchKey"
        refused = http.post(f"/object/{bucket.name}/anon.txt", content=b"x").json()
        assert refused["message"] == "new row violates row-level security policy"
        removed = http.request("DELETE", f"/object/{bucket.name}", json={"prefixes": ["a.txt"]})
        assert removed.json() == []


@pytest.mark.embedded_only("signs tokens with the secret of the project")
def test_policies_read_claims_in_every_form(watched: Watched) -> None:
    bucket = watched.bucket
    with watched.inside.database.connect() as connection:
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
        for team in ("red", "blue"):
            bearer = token("33333333-3333-4333-8333-333333333333", app_metadata={"team": team})
            client = user_client(bucket.target.url, bearer).storage.from_(bucket.name)
            if team == "blue":
                client.upload("claims.txt", b"x", {"headers": {"x-upsert": "false"}})
                continue
            with pytest.raises(StorageApiError, match="row-level security"):
                client.upload("claims.txt", b"x", {"headers": {"x-upsert": "false"}})
        connection.execute("drop policy claims_seen on storage.objects")


@pytest.mark.embedded_only("makes a trigger that notes headers")
def test_api_keys_stay_out_of_what_triggers_can_read(watched: Watched, alice: User) -> None:
    bucket = watched.bucket
    with watched.inside.database.connect() as connection:
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
        bucket.of(alice).upload(f"{alice.id}/a.txt", b"x")
        seen = [row[0] for row in connection.execute("select headers from public.seen_headers")]
    assert len(seen) == 2
    assert not any("sb_" in text for text in seen)
    assert "Bearer ey" in seen[1], "the user's own token may be read, as on Supabase"


@pytest.mark.embedded_only("makes a trigger that fails")
def test_a_trigger_without_rights_fails_the_upload_with_its_words(
    watched: Watched, alice: User
) -> None:
    with watched.inside.database.connect() as connection:
        connection.execute(
            """create table public.outbox (name text);
               create function public.fill_outbox() returns trigger language plpgsql as $$ begin
                   insert into public.outbox values (new.name);
                   return new;
               end $$"""
        )
        connection.execute(
            f"create trigger outbox after insert on storage.objects for each row"
            f" when (new.bucket_id = '{watched.bucket.name}') execute function public.fill_outbox()"
        )
    with pytest.raises(StorageApiError) as refused:
        watched.bucket.of(alice).upload(f"{alice.id}/a.txt", b"x")
    assert refused.value.message == "permission denied for table outbox"
    assert refused.value.status == "403"

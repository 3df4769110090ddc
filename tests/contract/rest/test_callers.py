"""Who asks: keys and tokens become a role and claims, and the project's policies decide."""

import time
from typing import Any

import httpx
import pytest
from postgrest import APIError

from tests.contract.rest.conftest import ALICE, BOB, DataApi, signed, token
from tests.support.api import KEYS

#: Parameters are made when the tests are collected, which may be long before they run.
FAR_FUTURE = 2**33


def test_rows_belong_to_their_owner(api: DataApi) -> None:
    def contents(client: Any) -> list[str]:
        rows = client.table("notes").select("content").order("id").execute().data
        return [row["content"] for row in rows]

    assert contents(api.alice) == ["alice's"]
    assert contents(api.bob) == ["bob's"]
    assert contents(api.service) == ["alice's", "bob's"], "the secret key bypasses policies"
    with pytest.raises(APIError) as refused:
        contents(api.anon)
    assert refused.value.code == "42501"


@pytest.mark.parametrize("table", ["documents", "jobs", "chunks", "chunk_positions"])
def test_docmills_tables_show_each_owner_their_own(api: DataApi, table: str) -> None:
    def count(client: Any) -> int:
        query = client.schema("ingest").table(table).select("*", count="exact", head=True)
        found: int = query.execute().count
        return found

    assert (count(api.alice), count(api.bob), count(api.service)) == (1, 1, 2)
    with pytest.raises(APIError, match="permission denied for schema ingest"):
        api.anon.schema("ingest").table(table).select("*").execute()


def test_what_is_not_granted_is_401_for_nobody_and_403_for_a_user(api: DataApi) -> None:
    nobody = api.get("/secrets")
    assert nobody.status_code == 401
    assert nobody.headers["www-authenticate"] == "Bearer"
    user = api.get("/secrets", token())
    assert user.status_code == 403
    assert "www-authenticate" not in user.headers
    assert user.json() | {"hint": None} == {
        "code": "42501",
        "message": "permission denied for table secrets",
        "details": None,
        "hint": None,
    }


def test_a_function_needs_a_grant_like_a_table(api: DataApi) -> None:
    assert api.request("POST", "/rpc/guarded", token()).json() == 1
    refused = api.request("POST", "/rpc/guarded")
    assert (refused.status_code, refused.json()["code"]) == (401, "42501")
    assert refused.json()["message"] == "permission denied for function guarded"


def test_a_private_schema_is_out_of_reach_for_everybody(api: DataApi) -> None:
    for bearer in (None, token(), signed(role="service_role")):
        response = api.get("/jobs", bearer, Accept_Profile="ingest_private")
        assert response.status_code == 406


def test_the_database_sees_the_request_as_postgrest_shows_it(api: DataApi) -> None:
    before = time.time()
    response = api.request(
        "POST",
        "/rpc/context?select=x",
        token(ALICE, custom={"a": 1}),
        json={},
        Cookie="one=1; two=2",
        X_Custom="Grüße".encode(),
    )
    assert response.status_code == 400, "there is no column x"
    seen = api.request(
        "POST",
        "/rpc/context",
        bearer := token(ALICE, custom={"a": 1}),
        Cookie="one=1; two=2",
        Prefer="timezone=Asia/Tokyo",
    ).json()
    assert (seen["user"], seen["login"], seen["sub"]) == ("authenticated", "authenticator", ALICE)
    assert seen["claims"]["role"] == "authenticated"
    assert seen["claims"]["custom"] == {"a": 1}
    assert seen["claims"]["exp"] > before
    assert (seen["method"], seen["path"]) == ("POST", "/rpc/context")
    assert seen["headers"]["authorization"] == f"Bearer {bearer}"
    assert seen["headers"]["apikey"] == KEYS.publishable_key
    assert "cookie" not in seen["headers"]
    assert seen["cookies"] == {"one": "1", "two": "2"}
    assert seen["search_path"] == '"public", "public", "extensions"'
    assert seen["timezone"] == "Asia/Tokyo"
    assert seen["timeout"] == "8s", "of role authenticated"
    assert seen["read_only"] == "on", "because the function is stable"


def test_a_key_is_a_token_of_its_role(api: DataApi) -> None:
    seen = api.anon.rpc("context").execute().data
    assert (seen["user"], seen["claims"]["role"], seen["timeout"]) == ("anon", "anon", "3s")
    seen = api.service.rpc("context").execute().data
    assert (seen["user"], seen["sub"]) == ("service_role", None)
    assert seen["timeout"] == "8s", "of authenticator: service_role has none of its own"
    assert KEYS.secret_key not in str(seen["headers"]["authorization"])


def test_a_legacy_key_works_alone_and_a_users_token_is_no_key(api: DataApi) -> None:
    legacy = signed(role="service_role", iss="supabase")
    assert len(api.get("/notes", apikey=legacy).json()) == 2
    refused = api.get("/notes", apikey=token())
    assert (refused.status_code, refused.json()["message"]) == (401, "Invalid API key")


def test_a_users_token_beside_the_secret_key_is_the_user(api: DataApi) -> None:
    assert len(api.get("/notes", token(BOB), apikey=KEYS.secret_key).json()) == 1


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({}, "No API key found in request"),
        ({"apikey": "sb_publishable_wrong"}, "Invalid API key"),
        ({"apikey": ""}, "Invalid API key"),
        (
            {"apikey": KEYS.secret_key, "User-Agent": "Mozilla/5.0 (X11; Linux x86_64)"},
            "Forbidden use of secret API key in browser",
        ),
    ],
)
def test_without_a_key_of_the_project_nothing_is_answered(
    api: DataApi, headers: dict[str, str], message: str
) -> None:
    response = httpx.get(f"{api.server.url}/rest/v1/things", headers=headers)
    assert response.status_code == 401
    assert response.json()["message"] == message
    assert set(response.json()) == {"message", "hint"}


@pytest.mark.parametrize(
    ("bearer", "code", "message", "details"),
    [
        ("a.b", "PGRST301", "Expected 3 parts in JWT; got 2", None),
        ("garbage", "PGRST301", "Expected 3 parts in JWT; got 1", None),
        ("a.b.c", "PGRST301", "JWT cryptographic operation failed", None),
        (
            signed("another secret of enough bytes, yes", role="authenticated"),
            "PGRST301",
            "No suitable key or wrong key type",
            "None of the keys was able to decode the JWT",
        ),
        (
            signed("", "none", role="service_role"),
            "PGRST301",
            "Wrong or unsupported encoding algorithm",
            "Tokens of the embedded mode are signed with HS256",
        ),
        (signed(exp=int(time.time()) - 31), "PGRST303", "JWT expired", None),
        (signed(nbf=FAR_FUTURE), "PGRST303", "JWT not yet valid", None),
        (signed(iat=FAR_FUTURE), "PGRST303", "JWT issued at future", None),
        (signed(exp="soon"), "PGRST303", "The JWT 'exp' claim must be a number", None),
        (signed(nbf=True), "PGRST303", "The JWT 'nbf' claim must be a number", None),
        (
            signed(aud=["a", 1]),
            "PGRST303",
            "The JWT 'aud' claim must be a string or an array of strings",
            None,
        ),
    ],
)
def test_a_token_that_does_not_hold_is_refused_by_name(
    api: DataApi, bearer: str, code: str, message: str, details: str | None
) -> None:
    response = api.get("/things", bearer)
    assert response.status_code == 401
    assert response.json() == {"code": code, "message": message, "details": details, "hint": None}
    assert response.headers["www-authenticate"] == (
        f'Bearer error="invalid_token", error_description="{message}"'
    )


def test_an_empty_token_is_refused_and_another_scheme_is_nobody(api: DataApi) -> None:
    empty = api.get("/things", Authorization="Bearer")
    assert empty.json()["message"] == "Empty JWT is sent in Authorization header"
    basic = api.get("/rpc/context", Authorization="Basic Zm9vOmJhcg==").json()
    assert basic["user"] == "anon"


def test_clocks_may_differ_by_half_a_minute(api: DataApi) -> None:
    late = signed(role="authenticated", sub=ALICE, exp=int(time.time()) - 5)
    assert api.get("/notes", late).json() != []
    early = signed(role="authenticated", sub=ALICE, iat=int(time.time()) + 20)
    assert api.get("/notes", early).status_code == 200


@pytest.mark.parametrize(
    ("role", "status", "code"),
    [
        ("postgres", 403, "42501"),
        ("supabase_admin", 403, "42501"),
        ("docmill_worker", 403, "42501"),
        ("no such role", 401, "22023"),
        ('"; reset role; --', 401, "22023"),
        (5, 401, "22023"),
    ],
)
def test_a_role_that_authenticator_may_not_become_gets_nothing(
    api: DataApi, role: object, status: int, code: str
) -> None:
    bearer = signed(role=role, sub="somebody whose token failed")
    response = api.get("/things", bearer)
    assert (response.status_code, response.json()["code"]) == (status, code)
    log = api.database.server.child.log_path.read_text()
    assert bearer not in log, "PostgreSQL logs the statement that failed, not its parameters"


def test_a_token_without_a_role_is_anon(api: DataApi) -> None:
    seen = api.get("/rpc/context", signed(sub=ALICE)).json()
    assert (seen["user"], seen["claims"]) == ("anon", {"sub": ALICE, "role": "anon"})

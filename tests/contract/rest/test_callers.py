"""Callers: keys and tokens become a role and claims, and the project's policies decide."""

import time
from typing import Any

import httpx
import pytest
from postgrest import APIError

from tests.contract.rest.conftest import DataApi, signed
from tests.support.api import KEYS

#: Parameters are made at collection, which may be long before the tests run.
FAR_FUTURE = 2**33
SIGNS = "signs tokens with the secret of the project"


def test_rows_belong_to_their_owner(api: DataApi) -> None:
    def contents(client: Any) -> list[str]:
        query = client.table("docmill_test_notes").select("content").in_("id", [1, 2])
        return [row["content"] for row in query.order("id").execute().data]

    assert contents(api.alice.client) == ["alice's"]
    assert contents(api.bob.client) == ["bob's"]
    assert contents(api.service) == ["alice's", "bob's"], "the secret key bypasses policies"
    with pytest.raises(APIError) as refused:
        contents(api.anon)
    assert refused.value.code == "42501"


def test_what_is_not_granted_is_401_for_nobody_and_403_for_a_user(api: DataApi) -> None:
    assert api.get("/secrets").status_code == 401
    user = api.get("/secrets", api.alice.token)
    assert user.status_code == 403
    assert user.json()["code"] == "42501"
    assert user.json()["message"] == "permission denied for table docmill_test_secrets"


def test_a_function_needs_a_grant_like_a_table(api: DataApi) -> None:
    assert api.post("/rpc/guarded", api.alice.token).json() == 1
    refused = api.post("/rpc/guarded")
    assert (refused.status_code, refused.json()["code"]) == (401, "42501")


def test_the_database_sees_the_request(api: DataApi) -> None:
    seen = api.post("/rpc/context", api.alice.token, Cookie="one=1", X_Custom="x").json()
    assert (seen["user"], seen["login"]) == ("authenticated", "authenticator")
    assert seen["sub"] == api.alice.id
    assert seen["claims"]["role"] == "authenticated"
    assert seen["claims"]["exp"] > time.time()
    assert (seen["method"], seen["path"]) == ("POST", "/rpc/docmill_test_context")
    assert seen["headers"]["authorization"] == f"Bearer {api.alice.token}"
    assert seen["headers"]["x-custom"] == "x"
    assert "cookie" not in seen["headers"]
    assert seen["search_path"] == '"public", "public", "extensions"'
    assert seen["timeout"] == "8s", "of role authenticated"
    assert seen["read_only"] == "on", "because the function is stable"


def test_a_key_is_a_token_of_its_role(api: DataApi) -> None:
    seen = api.anon.rpc("docmill_test_context").execute().data
    assert (seen["user"], seen["claims"]["role"], seen["timeout"]) == ("anon", "anon", "3s")
    seen = api.service.rpc("docmill_test_context").execute().data
    assert (seen["user"], seen["sub"]) == ("service_role", None)
    assert "sb_secret_" not in str(seen["headers"]["authorization"])


def test_a_users_token_is_no_key_and_beside_the_secret_key_it_is_the_user(api: DataApi) -> None:
    refused = api.get("/notes", apikey=api.alice.token)
    assert refused.status_code == 401
    both = api.get("/notes?select=content", api.bob.token, apikey=api.target.secret_key)
    assert both.json() == [{"content": "bob's"}]


@pytest.mark.embedded_only(SIGNS)
def test_a_legacy_key_works_alone(api: DataApi) -> None:
    legacy = signed(role="service_role", iss="supabase")
    assert len(api.get("/notes?id=lt.3", legacy, apikey=legacy).json()) == 2


def test_without_a_key_of_the_project_nothing_is_answered(api: DataApi) -> None:
    browser = {"apikey": api.target.secret_key, "User-Agent": "Mozilla/5.0 (X11; Linux x86_64)"}
    for headers, message in (
        ({}, "No API key found in request"),
        ({"apikey": "sb_publishable_wrong"}, "Invalid API key"),
        (browser, "Forbidden use of secret API key in browser"),
    ):
        response = httpx.get(f"{api.target.url}/rest/v1/docmill_test_things", headers=headers)
        assert response.status_code == 401
        assert response.json()["message"] == message


def test_what_is_no_token_is_refused(api: DataApi) -> None:
    for bearer in ("garbage", "a.b.c"):
        response = api.get("/things", bearer)
        assert response.status_code == 401
        assert response.json()["code"] == "PGRST301"
        assert response.headers["www-authenticate"].startswith('Bearer error="invalid_token"')


@pytest.mark.embedded_only(SIGNS)
@pytest.mark.parametrize(
    ("bearer", "code", "message"),
    [
        (
            signed("another secret of enough bytes, yes", role="authenticated"),
            "PGRST301",
            "No suitable key or wrong key type",
        ),
        (
            signed("", "none", role="service_role"),
            "PGRST301",
            "JWT cryptographic operation failed",
        ),
        (signed(exp=1), "PGRST303", "JWT expired"),
        (signed(nbf=FAR_FUTURE), "PGRST303", "JWT not yet valid"),
    ],
)
def test_a_token_that_does_not_hold_is_refused_by_name(
    api: DataApi, bearer: str, code: str, message: str
) -> None:
    response = api.get("/things", bearer)
    assert (response.status_code, response.json()["code"]) == (401, code)
    assert response.json()["message"] == message


@pytest.mark.embedded_only(SIGNS)
@pytest.mark.parametrize(
    ("role", "status", "code"),
    [
        ("postgres", 403, "42501"),
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
    assert api.target.inside is not None
    log = api.target.inside.database.server.child.log_path.read_text()
    assert bearer not in log, "PostgreSQL logs the statement that failed, not its parameters"


@pytest.mark.embedded_only(SIGNS)
def test_claims_are_data(api: DataApi) -> None:
    seen = api.post("/rpc/context", signed(sub=api.alice.id)).json()
    assert (seen["user"], seen["claims"]) == ("anon", {"sub": api.alice.id, "role": "anon"})
    for sub in (f"{api.alice.id}' or true --", api.alice.id.upper() + " ", "{}"):
        response = api.get("/notes", signed(role="authenticated", sub=sub))
        assert (response.status_code, response.json()) == (200, [])


def test_keys_are_not_logged(api: DataApi) -> None:
    if api.target.inside is not None:
        assert KEYS.secret_key not in api.target.inside.log

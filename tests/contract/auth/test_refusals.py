"""Auth's refusals, in the form that supabase-js and supabase-py request."""

from typing import Any

import jwt
import pytest
from supabase import AuthApiError

from docmill.embedded.stack import ALICE, BOB
from tests.contract.auth.conftest import AuthApi
from tests.support.api import KEYS


def signed(secret: str = KEYS.jwt_secret, algorithm: str = "HS256", **claims: Any) -> str:
    return jwt.encode(claims, secret, algorithm)


@pytest.mark.parametrize("email", ["", "nobody@example.com", "' or true --", "%"])
def test_a_wrong_address_or_password_is_not_told_apart(auth: AuthApi, email: str) -> None:
    body = {"email": email or auth.email, "password": "wrong"}
    response = auth.http.post("/token?grant_type=password", json=body)
    assert (response.status_code, response.json()) == (
        400,
        {"code": "invalid_credentials", "message": "Invalid login credentials"},
    )
    assert response.headers["x-supabase-api-version"] == "2024-01-01"


def test_an_unknown_refresh_token_is_not_found(auth: AuthApi) -> None:
    response = auth.refreshed("a token that nobody was given")
    assert (response.status_code, response.json()) == (
        400,
        {
            "code": "refresh_token_not_found",
            "message": "Invalid Refresh Token: Refresh Token Not Found",
        },
    )


def test_another_kind_of_grant_is_refused(auth: AuthApi) -> None:
    response = auth.http.post("/token?grant_type=magic", json={})
    assert response.status_code == 400


@pytest.mark.embedded_only("a project has these")
@pytest.mark.parametrize(
    ("method", "path"),
    [
        *(("POST", "/signup"), ("POST", "/recover"), ("PUT", "/user"), ("GET", "/settings")),
        *(("POST", "/otp"), ("GET", "/authorize"), ("GET", "/admin/users"), ("POST", "/verify")),
    ],
)
def test_what_is_not_there_is_refused(auth: AuthApi, method: str, path: str) -> None:
    response = auth.http.request(method, path, json={})
    assert (response.status_code, response.json()) == (
        404,
        {
            "code": "feature_disabled",
            "message": f"The embedded mode's Auth does not have {method} /auth/v1{path}",
        },
    )


def test_an_access_token_that_is_none_is_a_bad_jwt(auth: AuthApi) -> None:
    for bearer in ("garbage", "a.b.c"):
        response = auth.user(bearer)
        assert (response.status_code, response.json()["code"]) == (403, "bad_jwt")
        assert response.json()["message"].startswith("invalid JWT: unable to parse or verify")


@pytest.mark.embedded_only("signs tokens with the secret of the project")
@pytest.mark.parametrize(
    "bearer",
    [
        signed("another secret of enough bytes, yes", sub=ALICE),
        signed("", "none", sub=ALICE),
        signed(sub=ALICE, exp=1),
        signed(sub=ALICE, nbf=2**33),
        signed(sub=5),
        signed(role="service_role"),
        signed(sub="alice"),
        signed(sub=ALICE, session_id="x"),
    ],
)
def test_an_access_token_that_proves_nothing_is_a_bad_jwt(auth: AuthApi, bearer: str) -> None:
    response = auth.user(bearer)
    assert (response.status_code, response.json()["code"]) == (403, "bad_jwt")


@pytest.mark.embedded_only("signs tokens with the secret of the project")
def test_a_user_or_session_that_is_gone_is_told_apart(auth: AuthApi) -> None:
    nobody = "99999999-9999-4999-8999-999999999999"
    assert auth.user(signed(sub=nobody)).json()["code"] == "user_not_found"
    no_session = auth.user(signed(sub=ALICE, session_id=nobody))
    assert (no_session.status_code, no_session.json()["code"]) == (403, "session_not_found")
    stolen = {**KEYS.decode(auth.signed_in()["access_token"]), "sub": BOB}
    assert auth.user(signed(**stolen)).json()["code"] == "session_not_found"


def test_the_bearer_must_be_one(auth: AuthApi) -> None:
    for authorization in ("Basic x", "Bearer a b"):
        response = auth.http.get("/user", headers={"Authorization": authorization})
        assert response.status_code in (401, 403)


def test_an_unknown_scope_signs_nobody_out(auth: AuthApi) -> None:
    token = auth.signed_in()["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    response = auth.http.post("/logout?scope=galaxy", headers=headers)
    assert (response.status_code, response.json()) == (
        400,
        {"code": "validation_failed", "message": 'Unsupported logout scope "galaxy"'},
    )
    assert auth.user(token).status_code == 200


@pytest.mark.parametrize("content", [b"{", b"[" * 100_000, b"[1]", b'{"email": 5}', b"\xff"])
def test_a_body_that_is_no_object_of_texts_is_bad_json(auth: AuthApi, content: bytes) -> None:
    response = auth.http.post("/token?grant_type=password", content=content)
    assert (response.status_code, response.json()["code"]) == (400, "bad_json")


@pytest.mark.embedded_only("the limit is ours")
def test_a_body_that_is_too_large_is_refused(auth: AuthApi) -> None:
    content = b'{"email": "' + b"x" * 1_100_000 + b'"}'
    response = auth.http.post("/token?grant_type=password", content=content)
    assert (response.status_code, response.json()["code"]) == (413, "request_entity_too_large")


def test_without_a_key_of_the_project_nothing_is_answered(auth: AuthApi) -> None:
    body = {"email": auth.email, "password": auth.target.password}
    wrong = {"apikey": "sb_publishable_wrong"}
    response = auth.http.post("/token?grant_type=password", json=body, headers=wrong)
    assert (response.status_code, response.json()["message"]) == (401, "Invalid API key")


def test_supabase_py_tells_the_codes(auth: AuthApi) -> None:
    client = auth.target.anonymous()
    with pytest.raises(AuthApiError) as wrong:
        client.auth.sign_in_with_password({"email": auth.email, "password": "wrong"})
    assert (wrong.value.status, wrong.value.code) == (400, "invalid_credentials")


@pytest.mark.embedded_only("looks into the database")
def test_nobody_but_auth_and_the_admin_reads_its_tables(auth: AuthApi) -> None:
    with auth.target.connect() as admin:
        for role in ("anon", "authenticated", "service_role", "supabase_storage_admin"):
            for table in ("users", "sessions", "refresh_tokens"):
                row = admin.execute(
                    "select has_table_privilege(%s, %s, 'select, insert, update, delete')",
                    [role, f"auth.{table}"],
                ).fetchone()
                assert row == (False,), f"{role} {table}"


def test_a_page_on_another_port_may_sign_in(auth: AuthApi) -> None:
    response = auth.http.options(
        "/token",
        headers={
            "Origin": "http://localhost:3000",
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "apikey,authorization,x-supabase-api-version",
        },
    )
    assert response.status_code in (200, 204)
    assert response.headers["access-control-allow-origin"] in ("*", "http://localhost:3000")

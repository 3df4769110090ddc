"""Everything that Auth refuses, in the form that the client's API version asks for."""

import time
from typing import Any

import jwt
import pytest
from supabase import AuthApiError

from docmill.embedded.stack import ALICE
from tests.contract.auth.conftest import ALICE_EMAIL, VERSION, AuthApi
from tests.support.api import DEMO_PASSWORD, KEYS

#: Parameters are made when the tests are collected, which may be long before they run.
FAR_FUTURE = 2**33
PARSE = "invalid JWT: unable to parse or verify signature, "


def signed(secret: str = KEYS.jwt_secret, algorithm: str = "HS256", **claims: Any) -> str:
    return jwt.encode(claims, secret, algorithm)


@pytest.mark.parametrize(
    ("path", "body", "status", "code", "message"),
    [
        (
            "/token?grant_type=password",
            {"email": ALICE_EMAIL, "password": "wrong"},
            400,
            "invalid_credentials",
            "Invalid login credentials",
        ),
        (
            "/token?grant_type=password",
            {"email": "nobody@example.com", "password": DEMO_PASSWORD},
            400,
            "invalid_credentials",
            "Invalid login credentials",
        ),
        (
            "/token?grant_type=password",
            {"email": ALICE_EMAIL},
            400,
            "invalid_credentials",
            "Invalid login credentials",
        ),
        (
            "/token?grant_type=password",
            {"email": ALICE_EMAIL, "password": DEMO_PASSWORD + "é"},
            400,
            "invalid_credentials",
            "Invalid login credentials",
        ),
        (
            "/token?grant_type=password",
            {"password": DEMO_PASSWORD},
            400,
            "validation_failed",
            "missing email or phone",
        ),
        (
            "/token?grant_type=password",
            {"phone": "+123", "password": DEMO_PASSWORD},
            422,
            "phone_provider_disabled",
            "Phone logins are disabled",
        ),
        (
            "/token?grant_type=password",
            ["not", "an", "object"],
            400,
            "bad_json",
            "Could not parse request body as JSON: not an object",
        ),
        (
            "/token?grant_type=password",
            {"email": 5, "password": DEMO_PASSWORD},
            400,
            "bad_json",
            "Could not parse request body as JSON: email is not a text",
        ),
        ("/token?grant_type=id_token", {}, 400, "invalid_credentials", "unsupported_grant_type"),
        ("/token", {}, 400, "invalid_credentials", "unsupported_grant_type"),
        (
            "/token?grant_type=refresh_token",
            {"refresh_token": "short"},
            400,
            "validation_failed",
            "Refresh token is not valid",
        ),
        (
            "/token?grant_type=refresh_token",
            {"refresh_token": "a token that nobody was given"},
            400,
            "refresh_token_not_found",
            "Invalid Refresh Token: Refresh Token Not Found",
        ),
        (
            "/signup",
            {"email": "new@example.com", "password": "long enough"},
            422,
            "signup_disabled",
            "Signups not allowed for this instance",
        ),
        ("/logout", {}, 403, "bad_jwt", "invalid claim: missing sub claim"),
        (
            "/recover",
            {"email": ALICE_EMAIL},
            404,
            "feature_disabled",
            "The embedded mode's Auth does not have POST /auth/v1/recover",
        ),
        (
            "/user",
            {},
            404,
            "feature_disabled",
            "The embedded mode's Auth does not have POST /auth/v1/user",
        ),
    ],
)
def test_a_refusal_has_the_form_of_the_api_version(
    auth: AuthApi, path: str, body: Any, status: int, code: str, message: str
) -> None:
    old = auth.http.post(path, json=body)
    assert (old.status_code, old.json()) == (
        status,
        {"code": status, "error_code": code, "msg": message},
    )
    assert old.headers["x-sb-error-code"] == code
    new = auth.http.post(path, json=body, headers=VERSION)
    assert (new.status_code, new.json()) == (status, {"code": code, "message": message})
    assert new.headers["x-supabase-api-version"] == "2024-01-01"


@pytest.mark.parametrize(
    ("bearer", "status", "message"),
    [
        ("garbage", 403, PARSE + "token is malformed"),
        ("a.b.c", 403, PARSE + "token is malformed"),
        (
            signed("another secret of enough bytes, yes", sub=ALICE),
            403,
            PARSE + "token signature is invalid: signature is invalid",
        ),
        (
            signed("", "none", sub=ALICE),
            403,
            PARSE + "token signature is invalid: signing method is invalid",
        ),
        (
            signed(sub=ALICE, exp=int(time.time()) - 1),
            403,
            PARSE + "token has invalid claims: token is expired",
        ),
        (
            signed(sub=ALICE, nbf=FAR_FUTURE),
            403,
            PARSE + "token has invalid claims: token is not valid yet",
        ),
        (signed(sub=5), 403, PARSE + "token has invalid claims"),
        (signed(role="service_role"), 403, "invalid claim: missing sub claim"),
        (signed(sub="alice"), 400, "invalid claim: sub claim must be a UUID"),
        (signed(sub=ALICE, session_id="x"), 403, "invalid claim: session_id claim must be a UUID"),
    ],
)
def test_an_access_token_that_proves_nothing_is_a_bad_jwt(
    auth: AuthApi, bearer: str, status: int, message: str
) -> None:
    response = auth.user(bearer)
    assert (response.status_code, response.json()) == (
        status,
        {"code": status, "error_code": "bad_jwt", "msg": message},
    )


def test_a_user_or_session_that_is_gone_is_told_apart(auth: AuthApi) -> None:
    nobody = "99999999-9999-4999-8999-999999999999"
    no_user = auth.user(signed(sub=nobody))
    assert (no_user.status_code, no_user.json()["error_code"]) == (403, "user_not_found")
    no_session = auth.user(signed(sub=ALICE, session_id=nobody))
    assert (no_session.status_code, no_session.json()["error_code"]) == (403, "session_not_found")
    session = auth.signed_in()["access_token"]
    stolen = {**KEYS.decode(session), "sub": "b0b00000-0000-4000-8000-000000000002"}
    assert auth.user(signed(**stolen)).json()["error_code"] == "session_not_found"


def test_the_bearer_must_be_one(auth: AuthApi) -> None:
    for authorization in ("Basic x", "Bearer", "Bearer a b"):
        response = auth.http.get("/user", headers={"Authorization": authorization})
        assert (response.status_code, response.json()["error_code"]) == (401, "no_authorization")
    key_alone = auth.http.get("/user")
    assert key_alone.json()["msg"] == "invalid claim: missing sub claim"


def test_an_unknown_scope_signs_nobody_out(auth: AuthApi) -> None:
    token = auth.signed_in()["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    response = auth.http.post("/logout?scope=galaxy", headers=headers)
    assert (response.status_code, response.json()) == (
        400,
        {
            "code": 400,
            "error_code": "validation_failed",
            "msg": 'Unsupported logout scope "galaxy"',
        },
    )
    assert auth.user(token).status_code == 200


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[" * 100_000, b'{"email": "\\u0000"}', b'{"email": "\\ud800"}', b"\xff"],
)
def test_a_body_that_is_no_object_of_texts_is_bad_json(auth: AuthApi, content: bytes) -> None:
    response = auth.http.post("/token?grant_type=password", content=content)
    assert (response.status_code, response.json()["error_code"]) == (400, "bad_json")


def test_a_body_that_is_too_large_is_refused(auth: AuthApi) -> None:
    content = b'{"email": "' + b"x" * 1_100_000 + b'"}'
    response = auth.http.post("/token?grant_type=password", content=content)
    assert (response.status_code, response.json()["error_code"]) == (
        413,
        "request_entity_too_large",
    )


@pytest.mark.parametrize("text", ["' or true --", "%", "alice@example.com'; drop table auth.users"])
def test_an_address_is_a_value(auth: AuthApi, text: str) -> None:
    body = {"email": text, "password": DEMO_PASSWORD}
    response = auth.http.post("/token?grant_type=password", json=body)
    assert response.json()["error_code"] == "invalid_credentials"
    refresh = auth.refreshed(text.ljust(12, "x"))
    assert refresh.json()["error_code"] == "refresh_token_not_found"


def test_without_a_key_of_the_project_nothing_is_answered(auth: AuthApi) -> None:
    body = {"email": ALICE_EMAIL, "password": DEMO_PASSWORD}
    response = auth.http.post(
        "/token?grant_type=password", json=body, headers={"apikey": "sb_publishable_wrong"}
    )
    assert (response.status_code, response.json()["message"]) == (401, "Invalid API key")


def test_supabase_py_tells_the_codes(auth: AuthApi) -> None:
    client = auth.client()
    with pytest.raises(AuthApiError) as wrong:
        client.auth.sign_in_with_password({"email": ALICE_EMAIL, "password": "wrong"})
    assert (wrong.value.status, wrong.value.code) == (400, "invalid_credentials")
    with pytest.raises(AuthApiError) as disabled:
        client.auth.sign_up({"email": "new@example.com", "password": "long enough"})
    assert (disabled.value.status, disabled.value.code) == (422, "signup_disabled")


def test_nobody_but_auth_and_the_admin_reads_its_tables(auth: AuthApi) -> None:
    for role in ("anon", "authenticated", "service_role", "supabase_storage_admin"):
        with auth.admin() as admin:
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
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == "*"

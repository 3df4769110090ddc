"""Keys and tokens: who gets in as whom, and what the others are told."""

import httpx
import jwt
import pytest

from tests.contract.storage.conftest import (
    JWT_SECRET,
    PUBLISHABLE_KEY,
    SECRET_KEY,
    Project,
    token,
)

JOSE = {
    "expired": '"exp" claim timestamp check failed',
    "forged": "signature verification failed",
    "garbage": "Invalid Compact JWS",
    "unsigned": '"alg" (Algorithm) Header Parameter value not allowed',
}


def list_buckets(project: Project, **headers: str) -> httpx.Response:
    return httpx.get(f"{project.storage.url}/storage/v1/bucket", headers=headers)


@pytest.mark.parametrize(
    ("bearer", "message"),
    [
        (token(exp=1), JOSE["expired"]),
        (token(secret="another secret of enough bytes, yes"), JOSE["forged"]),
        ("garbage", JOSE["garbage"]),
        (jwt.encode({"role": "service_role"}, "", "none"), JOSE["unsigned"]),
    ],
)
def test_a_bad_token_is_denied_in_storages_words(
    storage_project: Project, bearer: str, message: str
) -> None:
    response = list_buckets(
        storage_project, apikey=PUBLISHABLE_KEY, Authorization=f"Bearer {bearer}"
    )
    assert response.status_code == 400
    assert response.json() == {
        "statusCode": "403",
        "error": "Unauthorized",
        "message": message,
        "code": "AccessDenied",
    }


def test_an_opaque_key_counts_only_in_both_headers(storage_project: Project) -> None:
    both = list_buckets(storage_project, apikey=SECRET_KEY, Authorization=f"Bearer {SECRET_KEY}")
    assert both.status_code == 200
    alone = list_buckets(storage_project, Authorization=f"Bearer {SECRET_KEY}")
    assert alone.json()["message"] == "Invalid Compact JWS"
    mixed = list_buckets(
        storage_project, apikey=PUBLISHABLE_KEY, Authorization=f"Bearer {SECRET_KEY}"
    )
    assert mixed.json()["message"] == "Invalid Compact JWS"
    unnamed = list_buckets(storage_project, apikey=SECRET_KEY)
    assert unnamed.json()["message"] == "headers must have required property 'authorization'"
    unknown = list_buckets(
        storage_project, apikey="sb_secret_no", Authorization=f"Bearer {token()}"
    )
    assert unknown.json()["message"] == "Invalid Compact JWS"


def test_a_legacy_key_is_a_token_of_its_role(storage_project: Project) -> None:
    key = jwt.encode({"role": "service_role", "iss": "supabase"}, JWT_SECRET, "HS256")
    response = list_buckets(storage_project, apikey=key, Authorization=f"Bearer {key}")
    assert "markers" in {bucket["id"] for bucket in response.json()}


def test_a_users_token_beside_the_secret_key_is_the_user(storage_project: Project) -> None:
    response = list_buckets(storage_project, apikey=SECRET_KEY, Authorization=f"Bearer {token()}")
    assert response.json() == []


def test_the_secret_key_is_refused_in_a_browser(storage_project: Project) -> None:
    response = list_buckets(
        storage_project,
        apikey=SECRET_KEY,
        Authorization=f"Bearer {SECRET_KEY}",
        **{"User-Agent": "Mozilla/5.0 (X11; Linux x86_64)"},
    )
    assert response.status_code == 401
    assert response.json()["message"] == "Forbidden use of secret API key in browser"


def test_a_token_of_a_role_that_storage_may_not_become_is_denied(storage_project: Project) -> None:
    for role in ("postgres", "supabase_admin", "no_such_role"):
        bearer = token(role=role)
        response = list_buckets(
            storage_project, apikey=PUBLISHABLE_KEY, Authorization=f"Bearer {bearer}"
        )
        assert response.status_code in (400, 500)
        assert "markers" not in response.text
        assert bearer not in storage_project.database.server.child.log_path.read_text()


def test_a_signed_urls_token_is_no_users_token(storage_project: Project) -> None:
    signed = jwt.encode(
        {"url": "markers/x", "scope": "download", "exp": 2**33}, JWT_SECRET, "HS256"
    )
    response = list_buckets(
        storage_project, apikey=PUBLISHABLE_KEY, Authorization=f"Bearer {signed}"
    )
    assert response.json() == [], "at most anon"


def test_a_page_on_another_port_may_ask(storage_project: Project) -> None:
    response = httpx.options(
        f"{storage_project.storage.url}/storage/v1/object/docs/a.txt",
        headers={
            "Origin": "http://localhost:3000",
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "apikey,authorization,x-upsert",
        },
    )
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == "*"
    assert "x-upsert" in response.headers["access-control-allow-headers"]

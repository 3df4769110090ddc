"""A session of a page: sign in, read the user, refresh, sign out."""

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import httpx
import jwt
import pytest
from supabase import AuthApiError

from docmill.embedded.stack import ALICE
from tests.contract.auth.conftest import AuthApi
from tests.support.api import KEYS, start_test_api


def claims_of(token: str) -> dict[str, object]:
    claims: dict[str, object] = jwt.decode(token, options={"verify_signature": False})
    return claims


def test_supabase_py_goes_all_the_way(auth: AuthApi) -> None:
    client = auth.target.anonymous()
    signed_in = client.auth.sign_in_with_password(
        {"email": auth.email, "password": auth.target.password}
    )
    assert signed_in.session is not None
    assert signed_in.user is not None
    assert signed_in.user.email == auth.email
    assert signed_in.session.token_type == "bearer"

    found = client.auth.get_user()
    assert found is not None
    assert found.user.id == signed_in.user.id

    refreshed = client.auth.refresh_session()
    assert refreshed.session is not None
    assert refreshed.session.refresh_token != signed_in.session.refresh_token
    assert refreshed.user is not None
    assert refreshed.user.id == signed_in.user.id

    claims = client.auth.get_claims()
    assert claims is not None
    assert claims["claims"]["sub"] == signed_in.user.id

    client.auth.sign_out()
    assert client.auth.get_session() is None
    with pytest.raises(AuthApiError, match="Refresh Token Not Found"):
        client.auth.refresh_session(refreshed.session.refresh_token)


def test_an_access_token_carries_the_claims_of_supabase(auth: AuthApi) -> None:
    answer = auth.signed_in()
    claims = claims_of(answer["access_token"])
    assert claims["exp"] == answer["expires_at"]
    assert len(str(claims["session_id"])) == 36
    for name, value in {
        "iss": f"{auth.target.url}/auth/v1",
        "sub": answer["user"]["id"],
        "aud": "authenticated",
        "role": "authenticated",
        "email": auth.email,
        "aal": "aal1",
        "is_anonymous": False,
    }.items():
        assert claims[name] == value
    assert {"phone", "app_metadata", "user_metadata", "amr", "iat"} <= set(claims)


def test_a_user_looks_as_on_supabase(auth: AuthApi) -> None:
    answer = auth.signed_in()
    user = auth.user(answer["access_token"]).json()
    assert (user["id"], user["email"]) == (answer["user"]["id"], auth.email)
    for name in ("created_at", "updated_at", "confirmed_at", "email_confirmed_at"):
        assert datetime.fromisoformat(user[name])
    assert (user["aud"], user["role"]) == ("authenticated", "authenticated")
    assert {"phone", "app_metadata", "user_metadata", "identities", "last_sign_in_at"} <= set(user)


def test_an_address_is_the_same_in_any_case(auth: AuthApi) -> None:
    assert auth.signed_in(auth.email.upper())["user"]["email"] == auth.email


@pytest.mark.embedded_only("lets time pass in the database")
def test_a_refresh_token_is_good_for_one_refresh(auth: AuthApi) -> None:
    first = auth.signed_in()
    second = auth.refreshed(first["refresh_token"]).json()
    third = auth.refreshed(second["refresh_token"]).json()
    answers = (first, second, third)
    assert len({answer["refresh_token"] for answer in answers}) == 3
    claims = [claims_of(answer["access_token"]) for answer in answers]
    assert len({str((one["session_id"], one["amr"])) for one in claims}) == 1
    with auth.target.connect() as admin:
        admin.execute("update auth.refresh_tokens set updated_at = now() - interval '11 seconds'")
    lost_answer = auth.refreshed(second["refresh_token"])
    assert lost_answer.json()["refresh_token"] == third["refresh_token"], "of the newest's parent"
    stolen = auth.refreshed(first["refresh_token"])
    assert (stolen.status_code, stolen.json()) == (
        400,
        {"code": "refresh_token_already_used", "message": "Invalid Refresh Token: Already Used"},
    )
    assert auth.refreshed(third["refresh_token"]).status_code == 400, "the session has ended"
    gone = auth.user(third["access_token"])
    assert (gone.status_code, gone.json()["code"]) == (403, "session_not_found")


def test_tabs_that_refresh_at_the_same_time_keep_their_session(auth: AuthApi) -> None:
    token = auth.signed_in()["refresh_token"]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(auth.refreshed, [token] * 8))
    assert {answer.status_code for answer in answers} == {200}
    newest = auth.refreshed(answers[0].json()["refresh_token"]).json()
    assert auth.user(newest["access_token"]).status_code == 200


def test_signing_out_ends_the_sessions_of_its_scope(auth: AuthApi) -> None:
    def sign_out(answer: dict[str, str], scope: str) -> None:
        headers = {"Authorization": f"Bearer {answer['access_token']}"}
        response = auth.http.post(f"/logout{scope}", headers=headers)
        assert (response.status_code, response.content) == (204, b"")

    def lives(answer: dict[str, str]) -> bool:
        return auth.user(answer["access_token"]).status_code == 200

    one, two, three = (auth.signed_in() for _ in range(3))
    sign_out(one, "?scope=local")
    assert (lives(one), lives(two)) == (False, True)
    sign_out(two, "?scope=others")
    assert (lives(two), lives(three)) == (True, False)
    four = auth.signed_in()
    sign_out(four, "")
    assert (lives(two), lives(four)) == (False, False)


@pytest.mark.embedded_only("signs tokens with the secret of the project")
def test_a_token_without_a_session_can_ask_and_sign_out_everywhere(auth: AuthApi) -> None:
    session = auth.signed_in()
    token = KEYS.sign({"sub": ALICE, "role": "authenticated"}, seconds=60)
    assert auth.user(token).json()["id"] == ALICE
    headers = {"Authorization": f"Bearer {token}"}
    assert auth.http.post("/logout?scope=local", headers=headers).status_code == 204
    assert auth.user(session["access_token"]).status_code == 403


@pytest.mark.embedded_only("starts an API of its own")
def test_a_session_survives_a_restart(auth: AuthApi, tmp_path: Path) -> None:
    token = auth.signed_in()["refresh_token"]
    assert auth.target.inside is not None
    another = start_test_api(auth.target.inside.database, tmp_path, deliver_webhooks=False)
    try:
        response = httpx.post(
            f"{another.url}/auth/v1/token?grant_type=refresh_token",
            json={"refresh_token": token},
            headers={"apikey": KEYS.publishable_key},
        )
    finally:
        another.stop()
    assert response.json()["user"]["id"] == ALICE
    assert response.json()["expires_at"] > time.time()

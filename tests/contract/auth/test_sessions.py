"""A page's way through a session: sign in, ask who one is, refresh, sign out."""

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import httpx
import pytest
from supabase import AuthApiError

from docmill.embedded.stack import ALICE, BOB, DEFAULT_OWNER
from tests.contract.auth.conftest import ALICE_EMAIL, BOB_EMAIL, AuthApi
from tests.support.api import DEMO_PASSWORD, KEYS, start_test_api


def test_supabase_py_goes_all_the_way(auth: AuthApi) -> None:
    client = auth.client()
    signed_in = client.auth.sign_in_with_password({"email": ALICE_EMAIL, "password": DEMO_PASSWORD})
    assert signed_in.session is not None
    assert signed_in.user is not None
    assert (signed_in.user.id, signed_in.user.email) == (ALICE, ALICE_EMAIL)
    assert (signed_in.session.token_type, signed_in.session.expires_in) == ("bearer", 3600)

    found = client.auth.get_user()
    assert found is not None
    assert found.user.id == ALICE

    refreshed = client.auth.refresh_session()
    assert refreshed.session is not None
    assert refreshed.session.refresh_token != signed_in.session.refresh_token
    assert refreshed.user is not None
    assert refreshed.user.id == ALICE

    claims = client.auth.get_claims()
    assert claims is not None
    assert claims["claims"]["sub"] == ALICE

    client.auth.sign_out()
    assert client.auth.get_session() is None
    with pytest.raises(AuthApiError, match="Refresh Token Not Found"):
        client.auth.refresh_session(refreshed.session.refresh_token)


def test_a_session_reaches_the_other_parts_of_the_api(auth: AuthApi) -> None:
    with auth.admin() as admin:
        admin.execute(
            """create function public.me() returns uuid language sql stable
               as 'select auth.uid()';
               insert into storage.buckets (id, name) values ('mine', 'mine');
               create policy own on storage.objects to authenticated
                   using (owner_id = (select auth.jwt() ->> 'sub'))
                   with check (owner_id = (select auth.jwt() ->> 'sub'))"""
        )
    client = auth.client()
    assert client.rpc("me").execute().data is None
    client.auth.sign_in_with_password({"email": BOB_EMAIL, "password": DEMO_PASSWORD})
    assert client.rpc("me").execute().data == BOB
    client.storage.from_("mine").upload("a.txt", b"bob's")
    assert client.storage.from_("mine").download("a.txt") == b"bob's"
    client.auth.sign_out()
    client.auth.sign_in_with_password({"email": ALICE_EMAIL, "password": DEMO_PASSWORD})
    assert client.rpc("me").execute().data == ALICE
    assert client.storage.from_("mine").list() == []


def test_an_access_token_carries_the_claims_of_supabase(auth: AuthApi) -> None:
    before = int(time.time())
    answer = auth.signed_in()
    claims = KEYS.decode(answer["access_token"])
    assert before <= claims["iat"] <= time.time()
    assert claims["exp"] == claims["iat"] + 3600 == answer["expires_at"]
    assert claims["amr"][0]["method"] == "password"
    assert before <= claims["amr"][0]["timestamp"] <= time.time()
    assert len(claims["session_id"]) == 36
    changing = ("iat", "exp", "amr", "session_id")
    assert {name: value for name, value in claims.items() if name not in changing} == {
        "iss": f"{auth.server.url}/auth/v1",
        "sub": ALICE,
        "aud": "authenticated",
        "role": "authenticated",
        "email": ALICE_EMAIL,
        "phone": "",
        "app_metadata": {"provider": "email", "providers": ["email"]},
        "user_metadata": {"email_verified": True},
        "aal": "aal1",
        "is_anonymous": False,
    }


def test_a_user_looks_as_on_supabase(auth: AuthApi) -> None:
    answer = auth.signed_in()
    user = auth.user(answer["access_token"]).json()
    assert user == answer["user"]
    times = ("created_at", "updated_at", "confirmed_at", "email_confirmed_at", "last_sign_in_at")
    for name in times:
        assert user[name].endswith("Z")
        assert datetime.fromisoformat(user[name])
    assert {name: value for name, value in user.items() if name not in times} == {
        "id": ALICE,
        "aud": "authenticated",
        "role": "authenticated",
        "email": ALICE_EMAIL,
        "phone": "",
        "app_metadata": {"provider": "email", "providers": ["email"]},
        "user_metadata": {"email_verified": True},
        "identities": [],
        "is_anonymous": False,
    }


def test_the_commands_default_owner_can_sign_in_too(auth: AuthApi) -> None:
    assert auth.signed_in("You@Example.com")["user"]["id"] == DEFAULT_OWNER, "in any case"


def test_a_refresh_token_is_good_for_one_refresh(auth: AuthApi) -> None:
    first = auth.signed_in()
    second = auth.refreshed(first["refresh_token"]).json()
    third = auth.refreshed(second["refresh_token"]).json()
    tokens = {answer["refresh_token"] for answer in (first, second, third)}
    assert len(tokens) == 3
    sessions = {
        KEYS.decode(answer["access_token"])["session_id"] for answer in (first, second, third)
    }
    assert len(sessions) == 1
    signed_in_at = {
        KEYS.decode(answer["access_token"])["amr"][0]["timestamp"]
        for answer in (first, second, third)
    }
    assert len(signed_in_at) == 1
    with auth.admin() as admin:
        admin.execute("update auth.refresh_tokens set updated_at = now() - interval '11 seconds'")
    lost_answer = auth.refreshed(second["refresh_token"])
    assert lost_answer.json()["refresh_token"] == third["refresh_token"], "of the newest's parent"
    stolen = auth.refreshed(first["refresh_token"])
    assert (stolen.status_code, stolen.json()) == (
        400,
        {
            "code": 400,
            "error_code": "refresh_token_already_used",
            "msg": "Invalid Refresh Token: Already Used",
        },
    )
    assert auth.refreshed(third["refresh_token"]).status_code == 400, "the session has ended"
    gone = auth.user(third["access_token"])
    assert (gone.status_code, gone.json()["error_code"]) == (403, "session_not_found")


def test_tabs_that_refresh_at_the_same_time_keep_their_session(auth: AuthApi) -> None:
    token = auth.signed_in()["refresh_token"]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(auth.refreshed, [token] * 8))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["refresh_token"] for answer in answers}) == 1
    # An even older token, a moment later: as when a tab was asleep.
    newest = auth.refreshed(answers[0].json()["refresh_token"]).json()
    assert auth.refreshed(token).status_code == 200
    assert auth.user(newest["access_token"]).status_code == 200


def test_signing_out_ends_the_sessions_of_its_scope(auth: AuthApi) -> None:
    def sign_out(answer: dict[str, str], scope: str) -> None:
        headers = {"Authorization": f"Bearer {answer['access_token']}"}
        response = auth.http.post(f"/logout{scope}", headers=headers)
        assert (response.status_code, response.content) == (204, b"")

    def lives(answer: dict[str, str]) -> bool:
        return auth.refreshed(answer["refresh_token"]).status_code == 200

    bob = auth.signed_in(BOB_EMAIL)
    one, two, three = (auth.signed_in() for _ in range(3))
    sign_out(one, "?scope=local")
    assert (lives(one), lives(two)) == (False, True)
    sign_out(two, "?scope=others")
    assert (lives(two), lives(three)) == (True, False)
    four = auth.signed_in()
    sign_out(four, "")
    assert (lives(two), lives(four), lives(bob)) == (False, False, True)


def test_a_token_without_a_session_can_ask_and_sign_out_everywhere(auth: AuthApi) -> None:
    session = auth.signed_in()
    token = KEYS.sign({"sub": ALICE, "role": "authenticated"}, seconds=60)
    assert auth.user(token).json()["id"] == ALICE
    headers = {"Authorization": f"Bearer {token}"}
    assert auth.http.post("/logout?scope=local", headers=headers).status_code == 204
    assert auth.user(session["access_token"]).status_code == 403


def test_a_session_survives_a_restart(auth: AuthApi, tmp_path: Path) -> None:
    token = auth.signed_in()["refresh_token"]
    another = start_test_api(auth.database, tmp_path)
    try:
        response = httpx.post(
            f"{another.url}/auth/v1/token?grant_type=refresh_token",
            json={"refresh_token": token},
            headers={"apikey": KEYS.publishable_key},
        )
    finally:
        another.stop()
    assert response.json()["user"]["id"] == ALICE

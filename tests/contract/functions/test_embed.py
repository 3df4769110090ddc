"""Promises to clients, kept by the embedded function and the deployed one."""

import time
from typing import Any

import httpx
import jwt
import pytest

from tests.contract.functions.conftest import ALICE, Function, token
from tests.contract.target import Inside, Target, User
from tests.support.installation import until


def test_a_query_becomes_a_vector_of_the_index(function: Function, alice: User) -> None:
    answer = function.post({"input": "When are the slates replaced?"})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert sum(value * value for value in body["embedding"]) == pytest.approx(1, abs=1e-3)
    # It fits the index: the width and the model's name are right.
    arguments = {"query_embedding": str(body["embedding"]), "model": body["model"]}
    found = alice.client.schema("ingest").rpc("match_chunks", arguments).limit(1).execute()
    assert isinstance(found.data, list)


def test_the_same_query_has_the_same_vector_and_another_one_another(function: Function) -> None:
    first, again, other = (
        function.post({"input": text}).json()["embedding"] for text in ("roof", "roof", "boat")
    )
    assert first == again
    assert first != other


def booked(inside: Inside, function: Function) -> int:
    """Tokens of queries in the ledger of whoever calls this function."""
    bearer = function.headers["authorization"].removeprefix("Bearer ")
    owner = jwt.decode(bearer, options={"verify_signature": False})["sub"]
    with inside.database.connect() as admin:
        row = admin.execute(
            """select coalesce(sum(tokens), 0)::int from ingest.usage
                where owner_id = %s and purpose = 'query'""",
            [owner],
        ).fetchone()
    assert row is not None
    return int(row[0])


@pytest.mark.embedded_only("reads the ledger")
def test_what_a_query_cost_is_booked_on_the_caller(function: Function, inside: Inside) -> None:
    before = booked(inside, function)
    assert function.post({"input": "When are the slates replaced?"}).status_code == 200
    until(lambda: booked(inside, function) > before or None, "it is booked", 30)


@pytest.mark.embedded_only("sets the limit")
def test_more_queries_than_are_booked_are_answered(function: Function, inside: Inside) -> None:
    with inside.database.connect() as admin:
        admin.execute(
            """insert into ingest_private.settings values ('searching', '{"per_minute": 0}')"""
        )
        try:
            before = booked(inside, function)
            assert function.post({"input": "roof"}).status_code == 200
            assert booked(inside, function) == before
        finally:
            admin.execute("delete from ingest_private.settings where name = 'searching'")


def refuse(function: Function, authorization: str | None) -> None:
    answer = function.post({"input": "roof"}, headers={"authorization": authorization})
    assert answer.status_code == 401
    assert answer.json() == {"error": "sign in to search"}


def test_who_has_not_signed_in_is_not_answered(function: Function) -> None:
    for authorization in (None, f"Bearer {function.headers['apikey']}", "Bearer guess"):
        refuse(function, authorization)


@pytest.mark.embedded_only("signs tokens with the secret of the project")
@pytest.mark.parametrize(
    "bearer",
    [
        pytest.param(token(seconds=-60), id="expired"),
        pytest.param(token(role="anon"), id="anon"),
        pytest.param(
            jwt.encode(
                {"sub": ALICE, "role": "authenticated", "exp": int(time.time()) + 3600},
                "another project's secret, of thirty-two bytes",
                "HS256",
            ),
            id="another project's",
        ),
        pytest.param(
            jwt.encode({"sub": ALICE, "role": "authenticated"}, "", "none"), id="unsigned"
        ),
    ],
)
def test_a_token_that_does_not_hold_is_not_answered(function: Function, bearer: str) -> None:
    refuse(function, f"Bearer {bearer}")


def test_without_any_key_there_is_no_answer(function: Function) -> None:
    answer = function.post({"input": "roof"}, headers={"apikey": None, "authorization": None})
    assert answer.status_code == 401


def test_who_holds_the_secret_key_may_ask(function: Function, target: Target) -> None:
    key = target.secret_key
    headers = {"apikey": key, "authorization": f"Bearer {key}"}
    assert function.post({"input": "roof"}, headers=headers).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        *({}, [], 7, "roof", {"input": None}, {"input": 7}, {"input": ["roof"]}),
        *({"input": ""}, {"input": " \n"}, {"input": "a" * 8001}, {"texts": "roof"}),
    ],
)
def test_only_a_text_of_a_query_s_length_is_embedded(function: Function, body: Any) -> None:
    answer = function.post(body)
    assert answer.status_code == 400
    assert answer.json() == {"error": "input must be a text of 1 to 8000 characters"}


def test_length_is_counted_in_characters(function: Function) -> None:
    assert function.post({"input": "\N{HOUSE BUILDING}" * 8000}).status_code == 200
    assert function.post({"input": "\N{HOUSE BUILDING}" * 8001}).status_code == 400


@pytest.mark.parametrize("content", [b"", b"{", b'{"input": "\xff"}', b"[" * 60_000])
def test_a_body_that_is_not_json_is_refused(function: Function, content: bytes) -> None:
    answer = function.post(content=content)
    assert answer.status_code == 400
    assert answer.json() == {"error": "the body is not JSON"}


def test_half_a_character_is_refused(function: Function) -> None:
    answer = function.post(content=b'{"input": "\\ud800"}')
    assert answer.status_code == 400
    assert answer.json() == {"error": "input is not valid Unicode"}


def test_a_large_body_is_refused(function: Function) -> None:
    answer = function.post({"input": "a", "more": "b" * 70_000})
    assert answer.status_code == 413
    assert answer.json() == {"error": "the body is too large"}


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_only_post_is_answered(function: Function, method: str) -> None:
    answer = httpx.request(method, function.url, headers=function.headers)
    assert answer.status_code == 405
    assert answer.json() == {"error": "send a POST request"}


def test_a_page_of_another_origin_may_ask(function: Function) -> None:
    origin = {"origin": "https://app.example.com"}
    wanted = "authorization,apikey,content-type,x-client-info"
    preflight = httpx.options(
        function.url,
        headers={
            **origin,
            "access-control-request-method": "POST",
            "access-control-request-headers": wanted,
        },
    )
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == "*"
    assert "POST" in preflight.headers["access-control-allow-methods"]
    allowed = preflight.headers["access-control-allow-headers"].lower().replace(" ", "")
    assert set(wanted.split(",")) <= set(allowed.split(","))
    for body, status in (({"input": "roof"}, 200), ({}, 400)):
        answer = function.post(body, headers=origin)
        assert answer.status_code == status
        assert answer.headers["access-control-allow-origin"] == "*"


def test_supabase_py_calls_it(alice: User) -> None:
    body = {"body": {"input": "roof"}, "responseType": "json"}
    answer: Any = alice.client.functions.invoke("embed", body)
    assert set(answer) == {"model", "embedding"}


def test_other_functions_are_not_there(target: Target, alice: User) -> None:
    headers = {"apikey": target.public_key(), "authorization": f"Bearer {alice.token}"}
    answer = Function(f"{target.url}/functions/v1/docmill-test-other", headers).post({})
    assert answer.status_code == 404
    assert answer.json()["code"] == "NOT_FOUND"

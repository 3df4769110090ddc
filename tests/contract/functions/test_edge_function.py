"""Behaviour of only the deployed function: a provider, its key, a remote Data API."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.contract.functions.conftest import (
    FUNCTION,
    PROVIDER_KEY,
    Function,
    answered_by_another,
    start_function,
    token,
)
from tests.contract.target import Inside, Target
from tests.support.api import KEYS
from tests.support.database import INDEX
from tests.support.fake_openai import Answer, FakeOpenAI, embeddings, error
from tests.support.javascript import deno_environ, deno_path

pytestmark = pytest.mark.embedded_only("runs the function beside our own stack")


@contextmanager
def answering(openai: FakeOpenAI, answer: Answer) -> Iterator[None]:
    """While this is open, the provider gives this answer."""
    before = openai.respond
    openai.respond = lambda _texts: answer
    try:
        yield
    finally:
        openai.respond = before


@contextmanager
def function_with(folder: Path, **variables: str) -> Iterator[Function]:
    child, function = start_function(folder, **variables)
    try:
        yield function
    finally:
        child.stop()


def test_its_types_are_right(tmp_path: Path) -> None:
    done = subprocess.run(
        [deno_path(), "check", "--quiet", "--no-config", "--no-remote", "--no-npm", str(FUNCTION)],
        env=dict(deno_environ(tmp_path)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_only_the_query_reaches_the_provider_and_only_for_those_who_may_ask(
    deployed: Function, openai: FakeOpenAI
) -> None:
    before = len(openai.texts)
    assert deployed.post({"input": "roof"}, headers={"authorization": None}).status_code == 401
    assert deployed.post({"input": ""}).status_code == 400
    assert deployed.post({"input": "roof"}).status_code == 200
    assert openai.texts[before:] == ["roof"]


@pytest.mark.parametrize(
    ("answer", "status", "message"),
    [
        (error(429, "rate_limit_exceeded"), 429, "takes no more queries for now: try again"),
        (error(401, f"invalid key {PROVIDER_KEY}"), 502, "did not embed the query"),
        (error(400, "context_length_exceeded"), 502, "did not embed the query"),
        (error(500, "server_error"), 502, "did not embed the query"),
        ((200, {}, {}), 502, "did not answer with 256 numbers"),
        (
            (200, embeddings(["roof"], encoding="base64"), {}),
            502,
            "did not answer with 256 numbers",
        ),
        ((200, {"data": [{"embedding": [1, 2]}]}, {}), 502, "did not answer with 256 numbers"),
    ],
)
def test_what_the_provider_refuses_is_said_without_its_words(
    deployed: Function, openai: FakeOpenAI, answer: Answer, status: int, message: str
) -> None:
    with answering(openai, answer):
        refused = deployed.post({"input": "a secret question"})
    assert refused.status_code == status
    assert message in refused.json()["error"]
    for text in (refused.text, deployed.log):
        assert PROVIDER_KEY not in text
        assert "secret question" not in text
        assert KEYS.jwt_secret not in text


def test_a_provider_out_of_reach_is_named(target: Target, tmp_path: Path) -> None:
    with function_with(
        tmp_path,
        SUPABASE_URL=target.url,
        OPENAI_BASE_URL="http://127.0.0.1:9",
        OPENAI_API_KEY=PROVIDER_KEY,
    ) as function:
        answer = function.post({"input": "roof"})
        assert (answer.status_code, answer.json()) == (
            502,
            {"error": "the provider did not answer"},
        )
        assert PROVIDER_KEY not in function.log


def test_a_missing_key_is_named(target: Target, tmp_path: Path) -> None:
    with function_with(tmp_path, SUPABASE_URL=target.url) as function:
        answer = function.post({"input": "roof"})
        assert answer.status_code == 503
        assert answer.json() == {"error": "the secret OPENAI_API_KEY is not set"}


def test_a_data_api_out_of_reach_is_named(tmp_path: Path) -> None:
    with function_with(
        tmp_path, SUPABASE_URL="http://127.0.0.1:9", OPENAI_API_KEY=PROVIDER_KEY
    ) as function:
        answer = function.post({"input": "roof"})
        assert answer.status_code == 503
        assert answer.json() == {"error": "the Data API did not answer"}


ANEW = {"cache-control": "no-cache"}


def test_without_an_active_index_it_says_so(deployed: Function, inside: Inside) -> None:
    with inside.database.connect() as connection:
        connection.execute("update ingest.index_versions set state = 'retired'")
        try:
            answer = deployed.post({"input": "roof"}, headers=ANEW)
        finally:
            connection.execute("update ingest.index_versions set state = 'active'")
    assert answer.status_code == 503
    assert answer.json() == {"error": "there is no active index: run docmill schema apply"}


def test_it_embeds_as_the_index_version_wants_it(
    deployed: Function, inside: Inside, openai: FakeOpenAI
) -> None:
    deployed.post({"input": "roof"}, headers=ANEW)
    assert openai.bodies[-1]["model"] == INDEX.model
    assert "dimensions" not in openai.bodies[-1]
    wanted = {"dimensions": 512, "sends_dimensions": True, "query_prefix": "query: "}
    with answered_by_another(inside, **wanted):
        answer = deployed.post({"input": "roof"}, headers=ANEW).json()
    assert (answer["model"], len(answer["embedding"])) == ("another", 512)
    asked = {"model": "another", "input": "query: roof", "dimensions": 512}
    assert openai.bodies[-1] == {**asked, "encoding_format": "float"}


def test_who_has_been_told_of_an_index_is_not_told_again_for_a_while_unless_they_ask(
    deployed: Function, inside: Inside
) -> None:
    def model(**headers: str | None) -> str:
        return str(deployed.post({"input": "roof"}, headers=headers).json()["model"])

    assert model(**ANEW) == INDEX.model
    with answered_by_another(inside):
        assert model() == INDEX.model
        # The cached answer of one caller is not used for another.
        assert model(authorization=f"Bearer {token(session_id='another')}") == "another"
        assert deployed.post({"input": "roof"}, headers={"apikey": "guess"}).status_code == 401
        assert model(**ANEW) == "another"
        assert model() == "another"
    assert model(**ANEW) == INDEX.model


def test_each_provider_is_asked_with_its_own_key(
    target: Target, inside: Inside, openai: FakeOpenAI, tmp_path: Path
) -> None:
    own = {"own": {"base_url": f"{openai.url}/", "api_key": "sk-own"}}
    variables = {"SUPABASE_URL": target.url, "OPENAI_BASE_URL": "http://127.0.0.1:9"}
    with function_with(tmp_path, **variables, DOCMILL_PROVIDERS=json.dumps(own)) as function:
        with answered_by_another(inside, provider="own"):
            assert function.post({"input": "roof"}).json()["model"] == "another"
        with answered_by_another(inside, provider="theirs"):
            answer = function.post({"input": "roof"}, headers=ANEW)
    assert answer.status_code == 503
    assert answer.json() == {"error": "the secret DOCMILL_PROVIDERS does not name theirs"}


def test_providers_that_are_no_json_are_named_and_not_shown(target: Target, tmp_path: Path) -> None:
    with function_with(
        tmp_path, SUPABASE_URL=target.url, DOCMILL_PROVIDERS=PROVIDER_KEY
    ) as function:
        answer = function.post({"input": "roof"})
        assert answer.status_code == 503
        assert answer.json() == {"error": "the secret DOCMILL_PROVIDERS is not JSON"}
        assert PROVIDER_KEY not in function.log

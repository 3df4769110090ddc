"""The deployed functions call each provider for a query exactly like workers."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from docmill.worker.clients.embedder import billed
from docmill.worker.providers.base import Kind, Wanted
from docmill.worker.providers.registry import HTTP_PROVIDERS
from docmill.worker.settings.parts import ProviderSettings, variables_of
from tests.contract.functions.conftest import answered_by_another, start_function
from tests.contract.target import Inside, Target
from tests.support.fake_openai import vector_of
from tests.support.fake_providers import DIMENSIONS, FakeProvider
from tests.support.installation import until

pytestmark = pytest.mark.embedded_only("runs the function beside our own stack")


def secrets_of(name: str, access: Mapping[str, str]) -> dict[str, str]:
    """The settings of a provider, each under the last of its variable's names."""
    return {
        variables_of(ProviderSettings, f"{name}_{variable}")[-1]: value
        for variable, value in access.items()
    }


@pytest.mark.parametrize("is_named", [False, True], ids=["by its name", "by a name of ours"])
@pytest.mark.parametrize("name", HTTP_PROVIDERS)
def test_a_query_is_asked_for_as_workers_ask(
    name: str, is_named: bool, target: Target, tmp_path: Path
) -> None:
    assert target.inside is not None
    fake = FakeProvider(name)
    mine = {"mine": {"form": name, **fake.access}}
    secrets = {"DOCMILL_PROVIDERS": json.dumps(mine)} if is_named else secrets_of(name, fake.access)
    wanted = Wanted("a model", DIMENSIONS, sends_dimensions=True, kind=Kind.QUERY)
    before = booked(target.inside)
    child, function = start_function(tmp_path, SUPABASE_URL=target.url, **secrets)
    try:
        with answered_by_another(
            target.inside, provider="mine" if is_named else name, model="a model",
            dimensions=DIMENSIONS, sends_dimensions=True, query_prefix="query: ",
        ):  # fmt: skip
            answer = function.post({"input": "roof"}, headers={"cache-control": "no-cache"})
            assert answer.status_code == 200, answer.text
            # It is booked after the answer, on the version that answered: this must still be there.
            told = billed(HTTP_PROVIDERS[name], fake.form.answer(["query: roof"]))
            tokens = told or round(len("query: roof") / 4)
            until(lambda: booked(target.inside) > before or None, "the query is booked", 180)
        # Booked are the tokens that workers read in such an answer.
        assert booked(target.inside) - before == tokens
        vector = np.array(answer.json()["embedding"])
        expected = vector_of("query: roof", DIMENSIONS)
        assert np.allclose(vector / np.linalg.norm(vector), expected, atol=1e-5)
        (request,) = fake.requests
        ours = HTTP_PROVIDERS[name].request(fake.access, wanted, ["query: roof"])
        assert fake.root + request.path == ours.url
        assert ours.headers.items() <= request.headers.items()
        assert as_json(request.body) == as_json(ours.body)
    finally:
        child.stop()
        fake.close()


def booked(inside: Inside | None) -> int:
    assert inside is not None
    with inside.database.connect() as admin:
        row = admin.execute(
            """select coalesce(sum(tokens), 0)::int from ingest_private.spend
                where model = 'a model' and purpose = 'query'"""
        ).fetchone()
    assert row is not None
    return int(row[0])


def as_json(body: object) -> object:
    """The body without allowed differences: the form of numbers, and a list of one text."""
    assert isinstance(body, dict)
    said = {name: value for name, value in body.items() if name != "encoding_format"}
    if isinstance(said.get("input"), str):
        said["input"] = [said["input"]]
    return said


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"form": "constructor", "base_url": "http://127.0.0.1:9"}, "no known form for mine"),
        ({"form": "cohere"}, "no api_key for mine"),
        ({"api_key": "k"}, "no base_url for mine"),
        (None, "no base_url for mine"),
    ],
)
def test_what_is_missing_of_a_provider_is_named(
    how: object, message: str, target: Target, tmp_path: Path
) -> None:
    assert target.inside is not None
    providers = json.dumps({"mine": how})
    child, function = start_function(tmp_path, SUPABASE_URL=target.url, DOCMILL_PROVIDERS=providers)
    try:
        with answered_by_another(target.inside, provider="mine"):
            answer = function.post({"input": "roof"}, headers={"cache-control": "no-cache"})
        assert answer.status_code == 503
        assert answer.json() == {"error": f"the secret DOCMILL_PROVIDERS has {message}"}
    finally:
        child.stop()

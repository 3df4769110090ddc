"""The requests to each provider, and its answers about limits. Nothing is sent."""

from typing import Any

import pytest

from docmill.worker.models import IndexVersion
from docmill.worker.providers.base import Kind, Request, RequestLimits, Told, Wanted
from docmill.worker.providers.registry import HTTP_PROVIDERS, PROVIDERS

ACCESS = {"api_key": "key", "base_url": "https://host/base/", "api_version": "2024-10-21"}
TEXTS = ["a text", "another"]


def asked(name: str, model: str, *, kind: Kind = Kind.DOCUMENT, sends: bool = False) -> Request:
    return HTTP_PROVIDERS[name].request(ACCESS, Wanted(model, 256, sends, kind), TEXTS)


def body(name: str, model: str, **how: Any) -> Any:
    return asked(name, model, **how).body


OPENAI_BODY = {"model": "m", "input": TEXTS, "encoding_format": "base64"}


def test_openai_and_compatible_servers_get_openai_s_request() -> None:
    for name in ("openai", "compatible"):
        request = asked(name, "m")
        assert request.url == "https://host/base/embeddings"
        assert request.headers == {"authorization": "Bearer key"}
        assert request.body == OPENAI_BODY
        assert body(name, "m", kind=Kind.QUERY) == OPENAI_BODY
        assert body(name, "m", sends=True) == {**OPENAI_BODY, "dimensions": 256}


def test_a_compatible_server_need_not_have_a_key() -> None:
    wanted = Wanted("m", 256, False, Kind.DOCUMENT)
    access = {"base_url": "http://localhost:8080/v1"}
    assert HTTP_PROVIDERS["compatible"].request(access, wanted, TEXTS).headers == {}


def test_azure_gets_it_under_the_name_of_a_deployment() -> None:
    request = asked("azure", "my model/1", sends=True)
    assert request.url == (
        "https://host/base/openai/deployments/my%20model%2F1/embeddings?api-version=2024-10-21"
    )
    assert request.headers == {"api-key": "key"}
    assert request.body == {**OPENAI_BODY, "model": "my model/1", "dimensions": 256}
    wanted = Wanted("m", 256, False, Kind.DOCUMENT)
    newer = HTTP_PROVIDERS["azure"].request({**ACCESS, "api_version": "v1"}, wanted, TEXTS)
    assert newer.url == "https://host/base/openai/v1/embeddings"


def test_voyage_is_told_the_kind_and_cuts_nothing() -> None:
    common = {**OPENAI_BODY, "truncation": False}
    assert body("voyage", "m") == {**common, "input_type": "document"}
    assert body("voyage", "m", kind=Kind.QUERY, sends=True) == {
        **common,
        "input_type": "query",
        "output_dimension": 256,
    }


def test_cohere_is_told_the_kind_and_cuts_nothing() -> None:
    request = asked("cohere", "m")
    common = {"model": "m", "texts": TEXTS, "embedding_types": ["float"], "truncate": "NONE"}
    assert request.url == "https://host/base/v2/embed"
    assert request.body == {**common, "input_type": "search_document"}
    assert body("cohere", "m", kind=Kind.QUERY, sends=True) == {
        **common,
        "input_type": "search_query",
        "output_dimension": 256,
    }


def test_gemini_gets_a_request_for_each_text() -> None:
    request = asked("gemini", "gemini-embedding-001", sends=True)
    name = "models/gemini-embedding-001"
    assert request.url == f"https://host/base/{name}:batchEmbedContents"
    assert request.headers == {"x-goog-api-key": "key"}
    assert request.body == {
        "requests": [
            {
                "model": name,
                "content": {"parts": [{"text": text}]},
                "taskType": "RETRIEVAL_DOCUMENT",
                "outputDimensionality": 256,
            }
            for text in TEXTS
        ]
    }
    query = body("gemini", "gemini-embedding-001", kind=Kind.QUERY)["requests"][0]
    assert query == {
        "model": name,
        "content": {"parts": [{"text": "a text"}]},
        "taskType": "RETRIEVAL_QUERY",
    }


def test_gemini_2_is_told_the_kind_by_the_text() -> None:
    def first(kind: Kind) -> Any:
        return body("gemini", "gemini-embedding-2", kind=kind)["requests"][0]

    assert first(Kind.QUERY)["content"]["parts"][0]["text"] == "task: search result | query: a text"
    assert first(Kind.DOCUMENT)["content"]["parts"][0]["text"] == "title: none | text: a text"
    assert "taskType" not in first(Kind.QUERY)


def test_dimensions_are_named_where_a_model_has_several() -> None:
    named = {
        name: [model for model in provider.models if provider.sends_dimensions(model)]
        for name, provider in PROVIDERS.items()
    }
    assert named["openai"] == ["text-embedding-3-small", "text-embedding-3-large"]
    assert named["cohere"] == ["embed-v4.0"]
    assert named["local"] == []
    assert not PROVIDERS["compatible"].sends_dimensions("anything")


TEI = {"model_id": "m", "max_input_length": 512, "max_batch_tokens": 16384,
       "max_client_batch_size": 32, "max_batch_requests": None}  # fmt: skip
VLLM = {"object": "list", "data": [{"id": "m", "max_model_len": 8192}]}
OLLAMA = {"model_info": {"general.architecture": "bert", "bert.context_length": 2048}}


@pytest.mark.parametrize(
    ("answers", "told"),
    [
        ((TEI, VLLM | {"data": [{"id": "m"}]}, None), Told(texts=32, text_tokens=512)),
        ((TEI | {"max_batch_tokens": 256}, None, None), Told(texts=32, text_tokens=256)),
        ((None, VLLM, None), Told(text_tokens=8192)),
        ((None, VLLM | {"data": []}, OLLAMA), Told(text_tokens=2048)),
        ((None, None, None), Told()),
        ((7, [], "x"), Told()),
        (({"max_input_length": "512"}, {"data": 7}, {"model_info": None}), Told()),
        (({"max_input_length": True}, {"data": [7]}, {"model_info": {}}), Told()),
        (({"max_client_batch_size": -1}, {}, {}), Told()),
    ],
)
def test_a_server_tells_its_limits(answers: Any, told: Told) -> None:
    assert HTTP_PROVIDERS["compatible"].told(answers) == told


def test_limits_are_never_wider_than_told_nor_than_ours() -> None:
    ours = RequestLimits(texts=100, tokens=1000, text_tokens=500)
    assert ours.within(Told(texts=32)) == RequestLimits(32, 1000, 500)
    assert ours.within(Told(texts=3200, text_tokens=7)) == RequestLimits(100, 1000, 7)


@pytest.mark.parametrize("name", PROVIDERS)
def test_an_index_version_counts_tokens_as_its_provider_does(name: str) -> None:
    index = IndexVersion(1, "m", 8, {"max_tokens": 400}, name, False, "", "")
    assert index.rules.counter == PROVIDERS[name].counter

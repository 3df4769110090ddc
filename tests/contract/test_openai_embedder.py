"""The real openai client against a server that answers well, badly, or not at all."""

import base64
import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from docmill.worker.clients.openai_embedder import MAX_BILLED_TOKENS, OpenAIEmbedder
from docmill.worker.errors import JobError
from tests.support.fake_openai import (
    DIMENSIONS,
    MODEL,
    Answer,
    FakeOpenAI,
    Raw,
    embeddings,
    error,
    vector_of,
)

TEXTS = ["one", "two", "three"]


@pytest.fixture
def fake() -> Iterator[FakeOpenAI]:
    server = FakeOpenAI()
    yield server
    server.close()


def embedder(url: str, *, timeout: float = 5, dimensions: int = DIMENSIONS) -> OpenAIEmbedder:
    return OpenAIEmbedder(
        api_key="sk-test",
        base_url=url,
        model=MODEL,
        dimensions=dimensions,
        send_dimensions=False,
        timeout_seconds=timeout,
    )


def refused(fake: FakeOpenAI, answer: Answer | Raw) -> JobError:
    fake.respond = lambda _texts: answer
    with pytest.raises(JobError) as caught:
        embedder(fake.url).embed(TEXTS)
    return caught.value


def test_vectors_come_in_the_order_of_the_texts(fake: FakeOpenAI) -> None:
    vectors, tokens = embedder(fake.url).embed(TEXTS)
    assert np.allclose(vectors, [vector_of(text) for text in TEXTS])
    assert tokens == 4
    assert fake.requests == [TEXTS]


def test_a_shuffled_answer_is_put_in_order_by_its_indices(fake: FakeOpenAI) -> None:
    answer = embeddings(TEXTS)
    answer["data"].reverse()
    fake.respond = lambda _texts: (200, answer, {})
    vectors, _tokens = embedder(fake.url).embed(TEXTS)
    assert np.allclose(vectors, [vector_of(text) for text in TEXTS])


def test_numbers_instead_of_base64_are_understood(fake: FakeOpenAI) -> None:
    answer = embeddings(TEXTS)
    for item, text in zip(answer["data"], TEXTS, strict=True):
        item["embedding"] = vector_of(text).tolist()
    fake.respond = lambda _texts: (200, answer, {})
    vectors, _tokens = embedder(fake.url).embed(TEXTS)
    assert np.allclose(vectors, [vector_of(text) for text in TEXTS])


def _changed(change: Any) -> dict[str, Any]:
    answer = embeddings(TEXTS)
    change(answer["data"])
    return answer


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.pop(),
        lambda data: data.append({**data[0], "index": 3}),
        lambda data: data[1].update(index=0),
        lambda data: data[0].update(embedding=[1.0, 2.0]),
        lambda data: data[0].update(embedding="not base64!"),
        lambda data: data[0].update(embedding=[float("nan")] * DIMENSIONS),
        lambda data: data[0].update(embedding=[float("inf")] * DIMENSIONS),
        lambda data: data[0].update(embedding=[0.0] * DIMENSIONS),
        lambda data: data[0].update(embedding=None),
        lambda data: data.clear(),
    ],
)
def test_a_wrong_answer_is_refused_and_never_misaligned(fake: FakeOpenAI, change: Any) -> None:
    raised = refused(fake, (200, _changed(change), {}))
    assert raised.code in ("provider_invalid_response", "provider_unavailable")


@pytest.mark.parametrize(
    ("status", "provider_code", "code"),
    [
        (429, "rate_limit_exceeded", "rate_limited"),
        (429, "slow_down", "rate_limited"),
        (429, "insufficient_quota", "provider_quota_exhausted"),
        (429, "credit_balance_exhausted", "provider_quota_exhausted"),
        (429, "organization_spend_limit_exceeded", "provider_quota_exhausted"),
        (429, "project_spend_limit_exceeded", "provider_quota_exhausted"),
        (429, "organization_usage_limit_exceeded", "provider_quota_exhausted"),
        (400, "invalid_request_error", "embedding_rejected"),
        (401, "invalid_api_key", "provider_auth"),
        (403, "", "provider_auth"),
        (404, "model_not_found", "provider_model_missing"),
        (408, "", "provider_unavailable"),
        (409, "", "provider_unavailable"),
        (500, "server_error", "provider_unavailable"),
        (503, "", "provider_unavailable"),
    ],
)
def test_a_refusal_becomes_a_code_and_is_asked_once(
    fake: FakeOpenAI, status: int, provider_code: str, code: str
) -> None:
    assert refused(fake, error(status, provider_code)).code == code
    assert len(fake.requests) == 1


def test_how_long_to_wait_is_handed_on(fake: FakeOpenAI) -> None:
    assert (
        refused(fake, error(429, "rate_limit_exceeded", retry_after="7")).retry_after_seconds == 7
    )


def test_headers_are_handed_on_whatever_the_answer(fake: FakeOpenAI) -> None:
    heard: list[str | None] = []
    asking = embedder(fake.url)
    asking.on_headers = lambda headers: heard.append(headers.get("x-ratelimit-limit-tokens"))
    told = {"X-RateLimit-Limit-Tokens": "60000"}
    fake.respond = lambda _texts: (200, embeddings(TEXTS), told)
    asking.embed(TEXTS)
    fake.respond = lambda _texts: (429, error(429, "rate_limit_exceeded")[1], told)
    with pytest.raises(JobError, match="429"):
        asking.embed(TEXTS)
    assert heard == ["60000", "60000"]


@pytest.mark.parametrize("asked", ["inf", "-inf", "nan", "1e400", "Wed, 21 Oct 2026 07:28:00 GMT"])
def test_a_wait_that_is_no_number_is_our_own_to_choose(fake: FakeOpenAI, asked: str) -> None:
    raised = refused(fake, error(429, "rate_limit_exceeded", retry_after=asked))
    assert (raised.code, raised.retry_after_seconds) == ("rate_limited", None)


@pytest.mark.parametrize("usage", [None, {}, [], "4", {"total_tokens": None}, {"total_tokens": "4"},
                                   {"total_tokens": -1}, {"total_tokens": 1e300},
                                   {"prompt_tokens": 4}])  # fmt: skip
def test_an_answer_without_a_count_of_tokens_is_an_answer(fake: FakeOpenAI, usage: Any) -> None:
    fake.respond = lambda _texts: (200, {**embeddings(TEXTS), "usage": usage}, {})
    vectors, tokens = embedder(fake.url).embed(TEXTS)
    assert np.allclose(vectors, [vector_of(text) for text in TEXTS])
    assert tokens == 0


#: Names and places of OpenAI's answer.
_NAMES = st.sampled_from(["data", "index", "embedding", "usage", "total_tokens", "object", "x"])
_PATHS = st.sampled_from(
    [
        *(("data",), ("usage",), ("usage", "total_tokens"), ("model",), ("object",)),
        *(("data", 0), ("data", 1, "index"), ("data", 2, "embedding"), ("data", 0, "object")),
    ]
)


def _edited(edits: list[tuple[tuple[Any, ...], Any]]) -> Any:
    """A right answer in which something is put in other things' places."""
    answer: Any = embeddings(TEXTS)
    for path, value in edits:
        place = answer
        try:
            for step in path[:-1]:
                place = place[step]
            place[path[-1]] = value
        except (TypeError, KeyError, IndexError):
            continue  # an earlier edit took the place away
    return answer


@pytest.mark.parametrize(
    "answer",
    [
        Raw(b""),
        Raw(b"", status=204),
        Raw(b"<html>gateway</html>", content_type="text/html"),
        Raw(b"<html>gateway</html>"),
        Raw(b"[]"),
        Raw(b"null"),
        Raw(b"7"),
        Raw(b'"text"'),
        Raw(b'{"data": 7}'),
        Raw(b'{"data": {"a": 1}}'),
        Raw(b'{"data": [null, null, null]}'),
        Raw(b'{"data": [{"index": "0"}, {"index": 1}, {"index": 2}]}'),
        Raw(b'{"data": [[], [], []]}'),
        Raw(b"\xff\xfe\x00"),
        Raw(b"{" * 5000),
    ],
)
def test_whatever_is_answered_becomes_a_code(fake: FakeOpenAI, answer: Raw) -> None:
    assert refused(fake, answer).code in ("provider_invalid_response", "provider_unavailable")


_LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=9)
    | st.just(base64.b64encode(vector_of("x").tobytes()).decode())
)
_JSON = st.recursive(
    _LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_NAMES, inner, max_size=5),
    max_leaves=12,
)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(answer=st.builds(_edited, st.lists(st.tuples(_PATHS, _JSON), max_size=3)) | _JSON)
def test_any_json_becomes_the_right_vectors_or_a_code(fake: FakeOpenAI, answer: Any) -> None:
    """Whatever is said, and wherever a right answer is changed."""
    fake.respond = lambda _texts: Raw(json.dumps(answer).encode())
    try:
        vectors, tokens = embedder(fake.url).embed(TEXTS)
    except JobError as error:
        code = error.code
    else:
        code = ""
        assert vectors.shape == (len(TEXTS), DIMENSIONS)
        assert np.isfinite(vectors.astype(np.float16)).all()
        assert isinstance(tokens, int)
        assert 0 <= tokens <= MAX_BILLED_TOKENS
    assert code in ("", "provider_invalid_response", "provider_unavailable")


@pytest.mark.parametrize("value", [65_505.0, -1e30, 1e-9])
def test_what_halfvec_cannot_hold_is_refused(fake: FakeOpenAI, value: float) -> None:
    change = lambda data: data[0].update(embedding=[value] * DIMENSIONS)  # noqa: E731
    assert refused(fake, (200, _changed(change), {})).code == "provider_invalid_response"


def test_an_answer_that_drips_ends_at_the_deadline(fake: FakeOpenAI) -> None:
    fake.respond = lambda _texts: Raw(b" " * 10_000, seconds_per_byte=0.05)
    began = time.monotonic()
    with pytest.raises(JobError) as caught:
        embedder(fake.url, timeout=0.5).embed(TEXTS)
    assert caught.value.code == "provider_unavailable"
    assert time.monotonic() - began < 10  # 500 s of drops


def test_a_provider_that_is_silent_or_away_is_unavailable(fake: FakeOpenAI) -> None:
    fake.gate.clear()
    with pytest.raises(JobError) as caught:
        embedder(fake.url, timeout=0.3).embed(TEXTS)
    assert caught.value.code == "provider_unavailable"
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/v1"
    with pytest.raises(JobError) as caught:
        embedder(url).embed(TEXTS)
    assert caught.value.code == "provider_unavailable"


def test_the_key_shows_in_no_error(fake: FakeOpenAI) -> None:
    raised = refused(fake, error(401, "invalid_api_key"))
    assert "sk-test" not in f"{raised!r} {raised}"

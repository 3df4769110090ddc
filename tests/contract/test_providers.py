"""Every provider gives right vectors or an error code, for any answer.

A provider over HTTP is tested with a server of its form, a local one by itself.
"""

import gzip
import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from docmill.worker.clients.embedder import MAX_BILLED_TOKENS, HttpEmbedder
from docmill.worker.errors import ERROR_CODES, JobError
from docmill.worker.providers.base import Kind, RequestLimits, Wanted
from docmill.worker.providers.registry import HTTP_PROVIDERS, PROVIDERS
from tests.support.fake_openai import Answer, Raw, vector_of
from tests.support.fake_providers import DIMENSIONS, FORMS, FakeProvider, Form

TEXTS = ["one", "two", "three"]
MODEL = "a model"
INVALID = ("provider_invalid_response", "provider_unavailable")


def test_every_provider_has_a_server_to_be_tried_against() -> None:
    assert set(FORMS) == set(HTTP_PROVIDERS)


@pytest.mark.parametrize("provider", PROVIDERS.values(), ids=PROVIDERS)
def test_what_a_provider_says_of_itself_fits_together(provider: Any) -> None:
    if provider.default_model is not None:
        assert provider.default_model in provider.models
    for name, model in provider.models.items():
        assert 1 <= model.dimensions <= 4000, name
        limits = provider.limits_for(name)
        assert limits.text_tokens == model.text_tokens <= limits.tokens
        assert model.usd is not None
        assert model.usd >= 0
    names = [variable.name for variable in provider.variables]
    assert len(set(names)) == len(names)


@pytest.fixture(params=sorted(HTTP_PROVIDERS))
def fake(request: pytest.FixtureRequest) -> Iterator[FakeProvider]:
    server = FakeProvider(request.param)
    yield server
    server.close()


def embedder(fake: FakeProvider, *, timeout: float = 60, **access: str) -> HttpEmbedder:
    made = HttpEmbedder(
        HTTP_PROVIDERS[fake.name],
        {**fake.access, **access},
        Wanted(MODEL, DIMENSIONS, sends_dimensions=False, kind=Kind.DOCUMENT),
        timeout_seconds=timeout,
    )
    made._limits = RequestLimits(2048, 300_000, 8191)  # a test of its own asks the server
    return made


def refused(fake: FakeProvider, answer: Answer | Raw) -> JobError:
    fake.respond = lambda _texts: answer
    with pytest.raises(JobError) as caught:
        embedder(fake).embed(TEXTS)
    return caught.value


def expected(texts: list[str] = TEXTS) -> list[Any]:
    return [vector_of(text, DIMENSIONS) for text in texts]


def test_vectors_come_in_the_order_of_the_texts(fake: FakeProvider) -> None:
    vectors, tokens = embedder(fake).embed(TEXTS)
    assert np.allclose(vectors, expected(), atol=1e-6)
    assert vectors.dtype == np.float32
    assert tokens == 4
    assert fake.texts == [TEXTS]
    assert embedder(fake).embed([])[0].shape == (0, DIMENSIONS)


def test_more_texts_than_a_request_may_hold_go_in_several(fake: FakeProvider) -> None:
    one = embedder(fake)
    one._limits = RequestLimits(texts=2, tokens=100, text_tokens=100)
    vectors, tokens = one.embed([*TEXTS, "four", "five"])
    assert np.allclose(vectors, expected([*TEXTS, "four", "five"]), atol=1e-6)
    assert [len(texts) for texts in fake.texts] == [2, 2, 1]
    assert tokens > 4


def test_a_key_is_sent_in_a_header_and_shows_in_no_error(fake: FakeProvider) -> None:
    embedder(fake).embed(TEXTS)
    (request,) = fake.requests
    has_key = "api_key" in fake.form.access
    assert any("sk-canary" in value for value in request.headers.values()) == has_key
    assert "sk-canary" not in request.path
    raised = refused(fake, (401, {"error": "sk-canary"}, {}))
    assert raised.code == "provider_auth"
    assert "sk-canary" not in f"{raised!r} {raised}"


def test_a_key_that_no_header_can_hold_is_refused_by_its_name(fake: FakeProvider) -> None:
    with pytest.raises(JobError) as caught:
        embedder(fake, api_key="schlüssel").embed(TEXTS)
    assert caught.value.code == "provider_auth"


def test_numbers_are_understood_where_base64_was_wanted(fake: FakeProvider) -> None:
    answer = fake.form.answer(TEXTS)
    for index, text in enumerate(TEXTS):
        fake.form.put(answer, index, vector_of(text, DIMENSIONS).tolist())
    fake.respond = lambda _texts: (200, answer, {})
    assert np.allclose(embedder(fake).embed(TEXTS)[0], expected(), atol=1e-6)


_WRONG: list[Any] = [
    *([1.0, 2.0], "not base64!", "AAAA", None, {}, 7, [None], [[1.0] * DIMENSIONS]),
    *([value] * DIMENSIONS for value in (float("nan"), float("inf"), 0.0, 10**400)),
    *([value] * DIMENSIONS for value in (65_505.0, -1e30, 1e-9)),
]


def _wrong_answers(form: Form) -> Iterator[Any]:
    def changed() -> Any:
        return form.answer(TEXTS)

    for embedding in _WRONG:
        answer = changed()
        form.put(answer, 0, embedding)
        yield answer
    for change in (list.pop, lambda items: items.append(items[0]), list.clear):
        answer = changed()
        change(form.items(answer))
        yield answer


@pytest.mark.parametrize("case", range(18))
def test_a_wrong_answer_is_refused_and_never_misaligned(fake: FakeProvider, case: int) -> None:
    answers = list(_wrong_answers(fake.form))
    assert len(answers) == 18
    assert refused(fake, Raw(json.dumps(answers[case]).encode())).code in INVALID


@pytest.mark.parametrize(
    "answer",
    [
        Raw(b""),
        Raw(b"", status=204),
        Raw(b"", status=302, headers={"location": "http://127.0.0.1:9/"}),
        Raw(b"<html>gateway</html>", content_type="text/html"),
        Raw(b"[]"),
        Raw(b"null"),
        Raw(b"7"),
        Raw(b'"text"'),
        Raw(b'{"data": 7, "embeddings": 7}'),
        Raw(b'{"data": {"a": 1}, "embeddings": {"float": {"a": 1}}}'),
        Raw(b'{"data": [null, null, null], "embeddings": [null, null, null]}'),
        Raw(b'{"data": [{"index": "0"}, {"index": 1}, {"index": 2}]}'),
        Raw(b'{"data": [[], [], []], "embeddings": [[], [], []]}'),
        Raw(b"\xff\xfe\x00"),
        Raw(b"{" * 5000),
        Raw(b"[" * 500_000),
        Raw(b" " * 3_000_000),
        Raw(b"\x1f\x8bnot gzip", headers={"content-encoding": "gzip"}),
        Raw(gzip.compress(b" " * 50_000_000), headers={"content-encoding": "gzip"}),
        Raw(gzip.compress(gzip.compress(b" " * 9999)), headers={"content-encoding": "gzip, gzip"}),
    ],
)
def test_whatever_is_answered_becomes_a_code(fake: FakeProvider, answer: Raw) -> None:
    assert refused(fake, answer).code in INVALID


def _paths(answer: Any) -> Iterator[tuple[Any, ...]]:
    """Every place in an answer, except single numbers of a vector."""
    items = answer.items() if isinstance(answer, dict) else enumerate(answer)
    for name, value in items:
        yield (name,)
        if isinstance(value, dict | list) and not (
            isinstance(value, list) and value and isinstance(value[0], float)
        ):
            yield from ((name, *rest) for rest in _paths(value))


def _edited(form: Form, edits: list[tuple[int, Any]]) -> Any:
    """A right answer with some parts replaced."""
    answer: Any = form.answer(TEXTS)
    paths = list(_paths(answer))
    for which, value in edits:
        path = paths[which % len(paths)]
        place = answer
        try:
            for step in path[:-1]:
                place = place[step]
            place[path[-1]] = value
        except (TypeError, KeyError, IndexError):
            continue  # an earlier edit removed this place
    return answer


_NAMES = st.sampled_from(sorted({name for form in FORMS.values() for name in form.names}))
_LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9)
_JSON = st.recursive(
    _LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_NAMES, inner, max_size=5),
    max_leaves=12,
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(edits=st.lists(st.tuples(st.integers(0, 99), _JSON), max_size=3), anything=_JSON)
def test_any_json_becomes_the_right_vectors_or_a_code(
    fake: FakeProvider, edits: list[tuple[int, Any]], anything: Any
) -> None:
    """With any answer, any changed part of a right answer, and any refusal."""
    one = embedder(fake)
    answer = _edited(fake.form, edits) if edits else anything
    fake.respond = lambda _texts: Raw(json.dumps(answer).encode())
    code = _check(one)
    assert not code or code in INVALID
    fake.respond = lambda _texts: Raw(json.dumps(anything).encode(), 400)
    assert _check(one) in ERROR_CODES


def _check(one: HttpEmbedder) -> str:
    """The code of the error; empty if there are vectors, which must then be valid."""
    try:
        vectors, tokens = one.embed(TEXTS)
    except JobError as error:
        return error.code
    assert vectors.shape == (len(TEXTS), DIMENSIONS)
    assert np.isfinite(vectors.astype(np.float16)).all()
    assert isinstance(tokens, int)
    assert 0 <= tokens <= MAX_BILLED_TOKENS
    return ""


@pytest.mark.parametrize(
    "tokens", [None, {}, [], "4", -1, 1e300, {"total_tokens": None}, {"prompt_tokens": 4}]
)
def test_an_answer_without_a_count_of_tokens_is_an_answer(fake: FakeProvider, tokens: Any) -> None:
    answer = fake.form.answer(TEXTS)
    fake.form.count(answer, tokens)
    fake.respond = lambda _texts: (200, answer, {})
    vectors, billed = embedder(fake).embed(TEXTS)
    assert np.allclose(vectors, expected(), atol=1e-6)
    estimated = round(sum(map(len, TEXTS)) / 4)
    characters = HTTP_PROVIDERS[fake.name].characters_a_token
    assert billed == (estimated if characters else 0)


def test_a_refusal_becomes_a_code_and_is_asked_once(fake: FakeProvider) -> None:
    for status, body, code in fake.form.refusals:
        fake.requests.clear()
        assert refused(fake, (status, body, {})).code == code, (status, body)
        assert len(fake.requests) == 1


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "embedding_rejected"),
        (401, "provider_auth"),
        (402, "provider_quota_exhausted"),
        (403, "provider_auth"),
        (404, "provider_model_missing"),
        (408, "provider_unavailable"),
        (409, "provider_unavailable"),
        (413, "embedding_rejected"),
        (422, "embedding_rejected"),
        (429, "rate_limited"),
        (500, "provider_unavailable"),
        (503, "provider_unavailable"),
        (529, "provider_unavailable"),
    ],
)
@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"error": 7, "message": 7}'])
def test_a_status_alone_becomes_a_code(
    fake: FakeProvider, status: int, code: str, body: bytes
) -> None:
    assert refused(fake, Raw(body, status)).code == code


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7),
        ({"retry-after-ms": "1500", "retry-after": "2"}, 1.5),
        ({"retry-after": "-3"}, 0),
        ({}, None),
        *(
            ({name: asked}, 86_400)
            for asked in ("1e20", "1e308", "9" * 300)
            for name in ("retry-after", "retry-after-ms")
        ),
        *(
            ({"retry-after": asked}, None)
            for asked in ("inf", "-inf", "nan", "1e400", "Wed, 21 Oct 2026 07:28:00 GMT")
        ),
    ],
)
def test_how_long_to_wait_is_handed_on_where_it_is_a_number(
    fake: FakeProvider, headers: dict[str, str], seconds: float | None
) -> None:
    raised = refused(fake, (429, {}, headers))
    assert (raised.code, raised.retry_after_seconds) == ("rate_limited", seconds)


def test_every_answer_is_shown_with_its_headers(fake: FakeProvider) -> None:
    seen: list[str | None] = []
    one = embedder(fake)
    one.on_headers = lambda headers: seen.append(headers.get("x-left"))
    fake.respond = lambda texts: (200, fake.form.answer(texts), {"X-Left": "5"})
    one.embed(TEXTS)
    fake.respond = lambda _texts: (429, {}, {"X-Left": "0"})
    with pytest.raises(JobError):
        one.embed(TEXTS)
    assert seen == ["5", "0"]


def test_an_answer_that_drips_ends_at_the_deadline(fake: FakeProvider) -> None:
    fake.respond = lambda _texts: Raw(b" " * 400, seconds_per_byte=0.05)
    began = time.monotonic()
    with pytest.raises(JobError) as caught:
        embedder(fake, timeout=0.5).embed(TEXTS)
    assert caught.value.code == "provider_unavailable"
    assert time.monotonic() - began < 10  # 20 s of single bytes


def test_a_provider_that_is_silent_or_away_is_unavailable(fake: FakeProvider) -> None:
    fake.gate.clear()
    with pytest.raises(JobError) as caught:
        embedder(fake, timeout=0.3).embed(TEXTS)
    assert caught.value.code == "provider_unavailable"
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
    for base_url in (url, "http://no such host/", "http://127.0.0.1:0"):
        with pytest.raises(JobError) as caught:
            embedder(fake, base_url=base_url).embed(TEXTS)
        assert caught.value.code == "provider_unavailable"


def test_half_a_character_is_the_text_s_own_fault(fake: FakeProvider) -> None:
    with pytest.raises(JobError) as caught:
        embedder(fake).embed(["\ud800"])
    assert caught.value.code == "embedding_rejected"


def test_the_width_of_a_model_is_found_out(fake: FakeProvider) -> None:
    assert embedder(fake).width() == DIMENSIONS
    fake.respond = lambda _texts: (200, {}, {})
    with pytest.raises(JobError) as caught:
        embedder(fake).width()
    assert caught.value.code == "provider_invalid_response"


@pytest.fixture
def compatible() -> Iterator[FakeProvider]:
    server = FakeProvider("compatible")
    yield server
    server.close()


def asking(fake: FakeProvider) -> HttpEmbedder:
    return HttpEmbedder(
        HTTP_PROVIDERS[fake.name],
        fake.access,
        Wanted(MODEL, DIMENSIONS, sends_dimensions=False, kind=Kind.DOCUMENT),
        timeout_seconds=5,
    )


def test_a_server_that_tells_its_limits_is_asked_for_them_once(compatible: FakeProvider) -> None:
    said = {"max_client_batch_size": 2, "max_input_length": 100}
    compatible.pages["/info"] = (200, said, {})
    one = asking(compatible)
    one.embed(TEXTS)
    one.embed(TEXTS)
    assert one.request_limits == RequestLimits(texts=2, tokens=300_000, text_tokens=100)
    assert [len(texts) for texts in compatible.texts] == [2, 1, 2, 1]
    paths = [request.path for request in compatible.requests]
    assert [paths.count(path) for path in ("/info", "/v1/models", "/api/show")] == [1, 1, 1]


def test_a_server_that_tells_nothing_is_taken_for_openai(compatible: FakeProvider) -> None:
    compatible.pages["/info"] = (200, ["no", "object"], {})
    compatible.pages["/v1/models"] = (500, {}, {})
    one = asking(compatible)
    assert one.request_limits.texts == 2048
    assert np.allclose(one.embed(TEXTS)[0], expected(), atol=1e-6)


@pytest.mark.parametrize("said", [["x"], "x", 7, True, {"a.context_length": "9"}, {"b": {}}, None])
def test_limits_of_another_form_are_no_limits(compatible: FakeProvider, said: Any) -> None:
    for path in ("/info", "/v1/models", "/api/show"):
        names = ["model_info", "data"]
        if said != 7:  # a whole number is a limit where one is expected
            names += ["max_client_batch_size", "max_input_length"]
        compatible.pages[path] = (200, dict.fromkeys(names, said), {})
    assert asking(compatible).request_limits == RequestLimits(2048, 300_000, 8191)


def test_a_server_that_was_away_is_asked_again() -> None:
    first = FakeProvider("compatible")
    one = asking(first)
    first.close()
    assert one.request_limits.texts == 2048
    assert one._limits is None

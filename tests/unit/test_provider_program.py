"""The fake provider keeps to its limits and says what it did."""

from collections.abc import Iterator
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest

from docmill.worker.clients.bulk import HttpBulk
from docmill.worker.providers.base import Kind, Wanted
from docmill.worker.providers.openai import OpenAI
from tests.support.fake_openai import DIMENSIONS
from tests.support.provider_program import RunningProvider, duration, provider_program


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningProvider]:
    with provider_program(tmp_path_factory.mktemp("provider")) as running:
        yield running


def ask(provider: RunningProvider, *texts: str) -> httpx.Response:
    return httpx.post(f"{provider.url}/embeddings", json={"model": "m", "input": list(texts)})


def test_a_limit_is_told_and_kept(provider: RunningProvider) -> None:
    provider.tell(tokens_a_minute=60, burst_seconds=60)
    answer = ask(provider, "x" * 159)  # 40 tokens
    assert answer.status_code == 200
    assert answer.headers["x-ratelimit-limit-tokens"] == "60"
    assert 20 <= int(answer.headers["x-ratelimit-remaining-tokens"]) <= 21
    refused = ask(provider, "y" * 159)
    assert refused.status_code == 429
    assert 10_000 < int(refused.headers["retry-after-ms"]) <= 20_000
    books = provider.books()
    assert (books["requests"], books["refused"], books["tokens"]) == (2, 1, 40)


def test_what_only_other_servers_have_is_not_found(provider: RunningProvider) -> None:
    root = provider.url.removesuffix("/v1")
    assert httpx.post(f"{root}/api/show", json={"model": "m"}).status_code == 404


def test_faults_come_in_the_order_they_were_told(provider: RunningProvider) -> None:
    provider.tell(tokens_a_minute=0, faults=[500, 429])
    assert [ask(provider, "x").status_code for _ in range(3)] == [500, 429, 200]


def test_what_is_paid_for_twice_is_seen(provider: RunningProvider) -> None:
    provider.tell(faults=[])
    for text in ("one", "two", "one"):
        assert ask(provider, text).status_code == 200
    assert provider.books()["paid_twice"] == 1


def test_batches_wait_expire_and_refuse_lines_as_they_are_told(provider: RunningProvider) -> None:
    client = HttpBulk(
        OpenAI(),
        {"api_key": "k", "base_url": provider.url},
        Wanted("m", DIMENSIONS, False, Kind.DOCUMENT),
        timeout_seconds=30,
    )
    provider.tell(batches={"is_held": True, "ends": ["expired"], "failing_lines": [400, 500]})
    lines = [client.line(f"text-{number}", f"Text {number}.") for number in range(6)]
    file_id = client.upload("a.jsonl", BytesIO(b"".join(lines)))
    batch = client.create(file_id, "ours")
    assert client.get(batch.id).status == "in_progress"
    assert client.find("ours", since=datetime.now(UTC)) == client.get(batch.id)
    assert client.find("another", since=datetime.now(UTC)) is None
    provider.tell(batches={"is_held": False})
    ended = client.get(batch.id)
    assert ended.status == "expired"
    content = BytesIO()
    for answer_id in (ended.output_file_id, ended.error_file_id):
        assert answer_id is not None
        client.download(answer_id, content)
    said = [line for line in map(client.read, content.getvalue().splitlines()) if line]
    outcomes = {line.custom_id: line.outcome for line in said}
    assert list(map(outcomes.get, [f"text-{number}" for number in range(6)])) == [
        *("refused", "again", "embedded", "again", "again", "again")
    ]
    books: Any = provider.books()["batches"]
    assert (books["submitted"], books["texts"], books["paid_texts"]) == (1, 6, 1)


@pytest.mark.parametrize(
    ("seconds", "written"), [(0.02, "20ms"), (1.5, "1.5s"), (360, "6m0s"), (0, "0ms")]
)
def test_durations_are_written_as_openai_does(seconds: float, written: str) -> None:
    assert duration(seconds) == written


def test_it_is_a_program(tmp_path: Path) -> None:
    with provider_program(tmp_path, latency_ms=50, requests_a_minute=600) as running:
        answer = ask(running, "x")
        assert answer.elapsed.total_seconds() >= 0.05
        assert answer.headers["x-ratelimit-remaining-requests"] == "599"

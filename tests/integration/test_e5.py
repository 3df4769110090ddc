"""The transformer of the extra `e5`, in its own process."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from docmill.worker.embedding import e5
from docmill.worker.embedding.e5 import E5Embedder, EngineProcess
from docmill.worker.embedding.serving import serves
from docmill.worker.errors import JobError
from docmill.worker.providers.base import Kind
from tests.support.installation import until

TEXTS = [
    "The roof is inspected every spring.",
    "Das Dach wird jedes Frühjahr geprüft.",
    "Red paint.",
]


@pytest.fixture
def engine() -> Iterator[EngineProcess]:
    made = EngineProcess()
    yield made
    made.close()


def test_what_means_the_same_is_near_in_any_language() -> None:
    vectors, tokens = E5Embedder().embed(TEXTS)
    assert vectors.shape == (3, 384)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert 20 < tokens < 60
    query = E5Embedder(Kind.QUERY).embed(["When do they look at the roof?"])[0][0]
    nearness = vectors @ query
    assert nearness[2] < min(nearness[:2])
    alone = E5Embedder().embed(TEXTS[:1])[0]
    assert np.allclose(alone[0], vectors[0], atol=1e-5)  # in a request with any other texts


def test_queries_and_passages_are_embedded_otherwise() -> None:
    passage = E5Embedder().embed(TEXTS[:1])[0]
    assert not np.allclose(E5Embedder(Kind.QUERY).embed(TEXTS[:1])[0], passage, atol=1e-3)


def test_more_texts_than_a_request_may_hold_are_embedded_all_the_same() -> None:
    texts = [f"Slate number {number}" for number in range(20)]
    vectors, _tokens = E5Embedder().embed(texts)
    assert vectors.shape == (20, 384)
    assert np.allclose(vectors[17], E5Embedder().embed(texts[17:18])[0][0], atol=1e-5)
    assert E5Embedder().embed([])[0].shape == (0, 384)


@pytest.mark.parametrize("text", ["", "\0", "a\0b", "\u200b" * 100, "😀" * 300, " \n\t", "\ufffd"])
def test_any_text_has_a_direction(text: str) -> None:
    vectors, _tokens = E5Embedder().embed([text])
    assert np.allclose(np.linalg.norm(vectors), 1, atol=1e-5)


def test_a_process_that_ends_refuses_its_texts_and_is_started_again(engine: EngineProcess) -> None:
    first = engine.ask(Kind.DOCUMENT, TEXTS)[0]
    assert engine._process is not None
    pid = engine._process.pid
    os.kill(pid, signal.SIGKILL)
    until(lambda: engine._process is None or engine._process.poll() is not None, "its end")
    assert np.array_equal(engine.ask(Kind.DOCUMENT, TEXTS)[0], first)
    os.kill(engine._process.pid, signal.SIGSTOP)
    engine._deadline = 0.2
    with pytest.raises(JobError) as caught:
        engine.ask(Kind.DOCUMENT, TEXTS)
    assert caught.value.code == "embedding_rejected"
    engine._deadline = 60
    assert np.array_equal(engine.ask(Kind.DOCUMENT, TEXTS)[0], first)


def test_it_has_none_of_our_keys(engine: EngineProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPABASE_SECRET_KEY", "canary")
    engine.ask(Kind.DOCUMENT, TEXTS)
    assert engine._process is not None
    assert "canary" not in Path(f"/proc/{engine._process.pid}/environ").read_text()


def test_a_model_that_does_not_start_serves_nobody(
    engine: EngineProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(e5, "_COMMAND", ("/bin/false",))
    monkeypatch.setattr(e5, "_engine", lambda _pid: engine)
    with pytest.raises(JobError) as caught:
        E5Embedder().embed(TEXTS)
    assert caught.value.code == "provider_unavailable"
    assert not serves(E5Embedder())

"""A provider that refuses single texts: the document is searchable without them, and says so."""

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from tests.faults.documents import FILLER
from tests.faults.hostile_documents import FORBIDDEN as BAD
from tests.faults.stack import Stack
from tests.support.fake_openai import Answer, error
from tests.support.installation import ALICE

pytestmark = pytest.mark.faults


def refusing(refused: Callable[[str], bool]) -> Callable[[Sequence[str]], Answer | None]:
    """The answers of a provider that refuses every request with such a text."""
    return lambda texts: error(400, "invalid_request_error") if any(map(refused, texts)) else None


def quarantine(stack: Stack, name: str, *options: str) -> list[dict[str, Any]]:
    """The output of `docmill quarantine` for a document."""
    done = subprocess.run(
        [sys.executable, "-m", "docmill", "quarantine", *options, "--json"],
        env=stack.installation.environ(),
        capture_output=True,
        text=True,
        check=True,
        timeout=180,
    )
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    return [row for row in rows if row["object_name"] == name]


def words(texts: Sequence[str]) -> list[str]:
    return " ".join(texts).split()


def test_one_refused_passage_is_set_aside_and_comes_back(stack: Stack) -> None:
    stack.on_request = refusing(lambda text: BAD in text)
    own = stack.fresh_name("refused in part")
    parts = [f"Number {n} of {own}. {FILLER}" for n in range(12)]
    parts[5] = f"Number 5 of {own}. {FILLER} A {BAD}. {FILLER}"
    text = "\n\n".join(f"# Part {n}\n\n{part}" for n, part in enumerate(parts))
    name = stack.installation.upload(ALICE, own, text)
    stack.succeed(name)
    document = stack.installation.document(name)
    assert document is not None
    assert (document["status"], document["quarantined_chunks"]) == ("ready", 1)
    # Everything is found, except a small part of one chunk.
    chunks = stack.chunks(name)
    assert chunks[:5] == [part.strip() for part in parts[:5]]
    assert chunks[-6:] == [part.strip() for part in parts[6:]]
    kept = sum(map(len, chunks[5:-6]))
    assert len(parts[5]) * 0.7 < kept < len(parts[5])
    (found,) = quarantine(stack, name)
    assert 5 <= found["ordinal"] <= len(chunks) - 6
    assert found["error_code"] == "embedding_rejected"

    # It is still refused: a retry changes nothing.
    (queued,) = quarantine(stack, name, "--retry")
    stack.installation.wait_for_job(name, "succeeded")
    assert stack.installation.latest_job(name)["id"] != found["job_id"]  # type: ignore[index]
    assert str(stack.installation.latest_job(name)["id"]) == queued["id"]  # type: ignore[index]
    assert [row["ordinal"] for row in quarantine(stack, name)] == [found["ordinal"]]

    stack.on_request = lambda _texts: None
    before = len(stack.installation.openai.texts)
    quarantine(stack, name, "--retry")
    stack.succeed(name)
    assert quarantine(stack, name) == []
    assert [text.split() for text in stack.chunks(name)] == [part.split() for part in parts]
    asked = [t for t in stack.installation.openai.texts[before:] if own in t]
    assert len(asked) == 1  # embedded texts are not paid for twice
    stack.note("a provider refuses one text", name)


def test_a_provider_that_takes_less_than_a_chunk_gets_parts(stack: Stack) -> None:
    longest = 300
    stack.on_request = refusing(lambda text: len(text) > longest)
    name = stack.upload("too long for it", 8)
    stack.succeed(name)
    document = stack.installation.document(name)
    assert document is not None
    assert (document["status"], document["quarantined_chunks"]) == ("ready", 0)
    chunks = stack.chunks(name)
    assert all(len(text) <= longest for text in chunks)
    assert document["chunk_count"] == len(chunks) > 8
    stack.on_request = lambda _texts: None
    again = stack.upload("too long for it", 8)
    stack.succeed(again)
    own, other = (each.rpartition("/")[2] for each in (name, again))
    assert words(chunks) == words([text.replace(other, own) for text in stack.chunks(again)])
    stack.note("a provider takes less than a chunk", name)


def test_a_document_of_refused_text_fails_and_a_neighbour_in_its_request_does_not(
    stack: Stack,
) -> None:
    stack.on_request = refusing(lambda text: "all of it is refused" in text)
    names = [stack.upload("all of it is refused", 6), stack.upload("harmless", 2)]
    stack.succeed(names[1])
    stack.installation.wait_for_job(names[0], "failed")
    document = stack.installation.document(names[0])
    assert document is not None
    assert document["error_code"] == "embedding_rejected"
    assert quarantine(stack, names[0]) == []
    stack.is_whole(names[1], 2)


def test_a_provider_that_refuses_everything_sets_nothing_aside(stack: Stack) -> None:
    stack.on_request = refusing(lambda _text: True)
    name = stack.upload("refused with everything", 2)
    stack.installation.wait_for_job(name, "failed")
    document = stack.installation.document(name)
    assert document is not None
    assert (document["error_code"], document["searchable"]) == ("embedding_rejected", False)

"""Change the model while users search, upload and delete, and while processes die."""

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

import pytest

from tests.support.database import as_client
from tests.support.fake_openai import MODEL, FakeOpenAI, vector_of
from tests.support.installation import ALICE, BOB, BUCKET, SHORT_LEASE, Installation, until

OTHER: Final = "second-model"
WIDTH: Final = 1536
READER: Final = "the one that is always there"


def versions(running: Installation) -> list[dict[str, Any]]:
    return running.docmill_rows("reindex", "status")


@pytest.fixture
def second() -> Iterator[FakeOpenAI]:
    """A second provider."""
    made = FakeOpenAI()
    yield made
    made.close()


@pytest.fixture
def two_providers(installation: Installation, second: FakeOpenAI) -> Installation:
    keys = {"second": {"base_url": second.url, "api_key": "key-of-second"}}
    installation.settings |= {
        "DOCMILL_PROVIDERS": json.dumps(keys),
        "DOCMILL_ADMIN_DATABASE_URL": installation.database.url("postgres"),
    }
    return installation


def found_by(running: Installation, text: str, model: str, width: int) -> list[str]:
    embedding = "[" + ",".join(map(repr, vector_of(text, width).tolist())) + "]"
    with as_client(running.database, {"sub": ALICE}, read_only=True) as connection:
        cursor = connection.execute(
            "select content, model_id from (select hit.content, version.model as model_id"
            " from ingest.match_chunks(%s, %s, 3) as hit"
            " join ingest.chunks as chunk on chunk.id = hit.chunk_id"
            " join ingest.index_versions as version on version.id = chunk.index_version) as hits",
            [embedding, model],
        )
        hits = cursor.fetchall()
    assert {found for _content, found in hits} <= {model}, "versions are mixed"
    return [content for content, _model in hits]


@dataclass
class Reader:
    """Searches for one text without a pause, like an app that knows only one model."""

    running: Installation
    wrong: list[str] = field(default_factory=list)
    asked: int = 0

    def __post_init__(self) -> None:
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._read)

    def _read(self) -> None:
        while not self._over.is_set():
            try:
                found = found_by(self.running, READER, MODEL, 256)
                if found[:1] != [READER]:
                    self.wrong.append(f"found {found}")
            except Exception as error:
                self.wrong.append(repr(error))
            self.asked += 1

    @contextmanager
    def reading(self) -> Iterator[None]:
        self._thread.start()
        try:
            yield
        finally:
            self._over.set()
            self._thread.join()
        assert self.wrong == []
        assert self.asked > 10


def is_filled(running: Installation, version: int) -> Callable[[], bool]:
    """Whether a version lacks nothing, and no job is unfinished."""
    query = """select not exists (select from ingest_private.missing_from(%s, 1))
                      and not exists (select from ingest.jobs
                                       where state in ('queued', 'running')) as filled"""
    return lambda: bool(running.rows(query, version)[0]["filled"])


def contents(running: Installation, version: int) -> dict[str, str]:
    """The chunks of each object in a version."""
    rows = running.rows(
        """select document.object_name,
                  string_agg(chunk.content, '|' order by position.ordinal) as content
             from ingest.documents as document
                  join ingest.chunk_positions as position on position.document_id = document.id
                  join ingest.chunks as chunk on chunk.id = position.chunk_id
                                             and chunk.index_version = position.index_version
            where position.index_version = %s group by document.object_name""",
        version,
    )
    return {row["object_name"]: row["content"] for row in rows}


def test_another_model_takes_over_while_everybody_goes_on(
    two_providers: Installation, second: FakeOpenAI
) -> None:
    running = two_providers
    running.start_webhook()
    beat, worker = running.start("beat"), running.start_worker(isolated=False, **SHORT_LEASE)
    texts = {running.upload(ALICE, "reader.txt", READER): READER}
    for number in range(10):
        text = f"What was there before, number {number}."
        texts[running.upload((ALICE, BOB)[number % 2], f"{number}.txt", text)] = text
    for name in texts:
        assert running.wait_for_job(name)["state"] == "succeeded"
    before = len(running.openai.texts)

    with Reader(running).reading():
        second.gate.clear()
        (said,) = running.docmill_rows(
            *("reindex", "start", "--provider", "second", "--model", OTHER),
            *("--dimensions", str(WIDTH), "--send-dimensions", "--yes"),
        )
        version = said["id"]
        second.wait_for_requests(1)
        # Half done, everything dies.
        running.kill(worker)
        running.kill(beat)
        second.gate.set()
        running.start("beat")
        running.start_worker()
        running.start_worker(isolated=True)  # for the jobs whose worker died
        overwritten = running.upload(ALICE, "0.txt", "Written over meanwhile.")
        texts[overwritten] = "Written over meanwhile."
        removed = f"{BOB}/1.txt"
        running.client(BOB).storage.from_(BUCKET).remove([removed])
        del texts[removed]
        moved, target = f"{ALICE}/2.txt", f"{ALICE}/moved.txt"
        running.client(ALICE).storage.from_(BUCKET).move(moved, target)
        texts[target] = texts.pop(moved)
        added = running.upload(BOB, "added.txt", "Added meanwhile.")
        texts[added] = "Added meanwhile."
        assert running.wait_for_job(overwritten)["state"] == "succeeded"
        until(is_filled(running, version), "the second version is filled", 120)
        assert contents(running, version) == texts

        assert "is active" in running.docmill("reindex", "activate", str(version))
        assert found_by(running, READER, OTHER, WIDTH)[0] == READER
        texts[running.upload(ALICE, "later.txt", "Written after that.")] = "Written after that."
        until(is_filled(running, 1), "the first version is kept filled", 120)
        assert contents(running, 1) == contents(running, version) == texts

        running.docmill("reindex", "rollback")
        running.docmill("reindex", "drop", str(version))
    assert [row["state"] for row in versions(running)] == ["active", "dropped"]
    assert contents(running, 1) == texts
    assert contents(running, version) == {}
    # Nothing was embedded twice except texts in flight at the death.
    assert len(running.openai.texts) - before == 3
    assert {body["dimensions"] for body in second.bodies} == {WIDTH}
    failed = "select object_name, error_code from ingest.jobs where state = 'failed'"
    assert running.rows(failed) == []


def test_other_chunks_of_the_same_model_are_read_anew_and_embedded_where_they_differ(
    two_providers: Installation,
) -> None:
    running = two_providers
    running.start_all()
    sentences = [f"Sentence {number} has some words, and ends. " for number in range(240)]
    long = "\n\n".join("".join(sentences[start : start + 40]) for start in range(0, 240, 40))
    names = [running.upload(ALICE, "long.txt", long), running.upload(ALICE, "short.txt", READER)]
    for name in names:
        assert running.wait_for_job(name)["state"] == "succeeded"
    before = len(running.openai.texts)
    (said,) = running.docmill_rows(
        "reindex", "start", "--chunk-tokens", "100", "--overlap", "30", "--yes"
    )
    version = said["id"]
    until(is_filled(running, version), "the second version is filled", 120)
    assert READER not in running.openai.texts[before:], "its embedding was there"
    counts = {
        row["index_version"]: row["count"]
        for row in running.rows("select index_version, count(*) from ingest.chunks group by 1")
    }
    assert counts[version] > 1.5 * counts[1]
    # Each piece begins with the last sentences of the one before, and together they have all.
    pieces = [
        [int(number) for number in re.findall(r"Sentence (\d+)", piece)]
        for piece in contents(running, version)[names[0]].split("|")
    ]
    assert all(second[0] in first[1:] for first, second in pairwise(pieces))
    assert {number for piece in pieces for number in piece} == set(range(240))
    assert "is active" in running.docmill("reindex", "activate", str(version))
    assert found_by(running, READER, MODEL, 256)[0] == READER


def test_a_provider_without_a_key_is_named_and_stops_nobody(two_providers: Installation) -> None:
    running = two_providers
    running.start_all()
    name = running.upload(ALICE, "a.txt", READER)
    assert running.wait_for_job(name)["state"] == "succeeded"
    running.docmill(
        *("reindex", "start", "--provider", "third", "--model", OTHER),
        *("--dimensions", "8", "--yes"),
    )
    until(
        lambda: bool(running.rows("select 1 from ingest.jobs where index_version = 2")), "its job"
    )
    later = running.upload(ALICE, "b.txt", "Uploads go on.")
    assert running.wait_for_job(later)["state"] == "succeeded"
    assert "third" in running.docmill("doctor", fails=True)
    assert "lacks documents" in running.docmill("reindex", "activate", "2", fails=True)
    running.docmill("reindex", "drop", "2")
    assert running.rows("select 1 from ingest.jobs where state = 'queued'") == []

"""Batches of the provider: whatever happens to them, each text is bought once and none is lost."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import BytesIO
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import numpy as np
import pytest
from psycopg import errors as pg
from psycopg.types.json import Jsonb

from docmill.worker.admin.erasing import erase_owner
from docmill.worker.clients.bulk import HttpBulk
from docmill.worker.errors import JobError
from docmill.worker.maintenance import bulk as bulk_module
from docmill.worker.maintenance.bulk import Bulk, BulkLimits
from docmill.worker.providers.base import BulkTerms, Kind, Wanted
from docmill.worker.providers.openai import OpenAI
from docmill.worker.providers.registry import HTTP_PROVIDERS
from docmill.worker.store import bulk as store
from docmill.worker.store.bulk import Batch
from docmill.worker.store.database import Database as Pool
from tests.schema.actors import (
    Background,
    Connection,
    Run,
    claimed,
    drain_withdrawn,
    hash_of,
    job_of,
    publish,
    rows,
    stage,
    take,
    value,
    wait_until_blocked,
)
from tests.support.database import Database, delete_objects, put_object
from tests.support.fake_batches import Reply, Script
from tests.support.fake_openai import Answer, FakeOpenAI, embeddings, error, vector_of

#: Of one token in a batch.
USD: Final = Decimal("0.5")
OWNER: Final = "alice"


class Killed(BaseException):
    """The process is gone: nothing of it runs any more."""


@dataclass
class Scene:
    """A database, a provider, and workers that come and go."""

    admin: Connection
    worker: Connection
    pool: Pool
    fake: FakeOpenAI
    folder: Path
    runs: int = 0
    most_texts: int = 100
    #: Told of each call to the provider: its name, and whether it is over.
    called: Callable[[str, bool], None] = lambda _name, _is_over: None
    texts: dict[UUID, list[str]] = field(default_factory=dict)  #: of each job

    def put(self, name: str, texts: Sequence[str], owner: str | None = OWNER) -> UUID:
        """A run leaves texts for a batch and gives its job back; the job."""
        self.admin.execute("select ingest_private.note_bulk_names('docs', array[%s])", [name])
        job_id = job_of(self.admin, put_object(self.admin, name, owner=owner))
        self.leave(claimed(self.worker, job_id), texts)
        self.texts[job_id] = list(texts)
        return job_id

    def leave(self, run: Run, texts: Sequence[str]) -> None:
        self.put_texts(run, texts)
        release = "select ingest_private.release_job(%s, %s, null, 'in_batch', '1 day')"
        assert value(self.worker, release, run.job_id, run.token)

    def put_texts(self, run: Run, texts: Sequence[str]) -> None:
        put = value(
            self.worker,
            "select ingest_private.put_bulk_texts(%s, %s, %s, %s, %s, %s, %s, %s)",
            *(run.job_id, run.token, [hash_of(text) for text in texts], list(texts)),
            *([Jsonb([]) for _ in texts], [10 for _ in texts], [Jsonb({}) for _ in texts]),
            [Decimal(10) * USD for _ in texts],
        )
        assert put is True

    def round(self) -> None:
        """A worker that was not there before does what is to be done."""
        self.runs += 1
        Bulk(
            self.pool,
            worker_id=f"worker {self.runs}",
            providers={"openai": BulkTerms(50_000, 200_000_000, 0.5)},
            connect=self._connect,
            usd_per_million_tokens=lambda _provider, _model: float(USD) * 1e6,
            limits=BulkLimits(timedelta(), timedelta(), self.most_texts, self.folder),
            on_ready=lambda: None,
        ).run()

    def client(self, wanted: Wanted) -> HttpBulk:
        access = {"api_key": "k", "base_url": self.fake.url}
        return HttpBulk(OpenAI(), access, wanted, timeout_seconds=30)

    def _connect(self, batch: Batch) -> HttpBulk:
        client = self.client(
            Wanted(batch.model, batch.dimensions, batch.sends_dimensions, Kind.DOCUMENT)
        )
        for name in ("upload", "create", "get", "download", "delete", "cancel"):
            setattr(client, name, self._watched(name, getattr(client, name)))
        return client

    def _watched(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*arguments: Any) -> Any:
            self.called(name, False)
            answer = call(*arguments)
            self.called(name, True)
            return answer

        return watched

    def batches(self) -> list[dict[str, Any]]:
        return rows(self.admin, "select * from ingest_private.bulk_batches order by created_at, id")

    def states(self) -> list[str]:
        """Of the texts that are not staged."""
        query = "select state from ingest_private.bulk_texts order by id"
        return [row["state"] for row in rows(self.admin, query)]

    def hold(self, job_id: UUID) -> str | None:
        reason = value(self.admin, "select hold_reason from ingest.jobs where id = %s", job_id)
        return None if reason is None else str(reason)

    def spent(self) -> tuple[int, Decimal]:
        """Tokens and dollars in the ledger of all."""
        query = """select coalesce(sum(tokens), 0)::int as tokens, coalesce(sum(usd), 0) as usd
                     from ingest_private.spend"""
        (row,) = rows(self.admin, query)
        return row["tokens"], row["usd"]

    def booked(self, owner: str = OWNER) -> int:
        query = "select coalesce(sum(tokens), 0)::int from ingest.usage where owner_id = %s"
        return int(value(self.admin, query, owner))

    def check(self, *job_ids: UUID) -> None:
        """All is bought once, staged as the provider gives it, booked as it is paid, cleared."""
        for job_id in job_ids:
            assert self.hold(job_id) is None
            run = claimed(self.worker, job_id)
            assert publish(self.worker, run, self.texts[job_id]) == "published"
            found = rows(
                self.admin,
                "select content, embedding::real[] as vector from ingest.chunks"
                " where document_id = %s",
                run.document_id,
            )
            assert sorted(row["content"] for row in found) == sorted(set(self.texts[job_id]))
            for row in found:
                np.testing.assert_allclose(row["vector"], vector_of(row["content"]), atol=1e-3)
        tokens = self.fake.batches.paid_tokens
        assert self.spent() == (tokens, tokens * USD)
        assert len(self.fake.batches.paid) == len(set(self.fake.batches.paid))
        assert self.states() == []
        assert all(batch["cleared_at"] and not batch["held_usd"] for batch in self.batches())
        assert self.fake.batches.files == {}
        assert rows(self.admin, "select from ingest_private.bulk_held") == []
        left = "select count(*) from ingest_private.staged_chunks"
        assert value(self.admin, left) == 0


@pytest.fixture(scope="module")
def provider() -> Iterator[FakeOpenAI]:
    made = FakeOpenAI()
    yield made
    made.close()


@pytest.fixture
def scene(
    admin: Connection,
    worker: Connection,
    wiped: Database,
    provider: FakeOpenAI,
    tmp_path: Path,
) -> Iterator[Scene]:
    admin.execute("update ingest.index_versions set provider = 'openai' where state = 'active'")
    pool = Pool(wiped.url("docmill_worker"), connections=2)
    pool.open()
    books = provider.batches
    books.script = Script()
    for kept in (books.files, books.batches, books.paid, books.deleted):
        kept.clear()
    books.paid_tokens = 0
    provider.respond = lambda _texts: None
    try:
        yield Scene(admin, worker, pool, provider, tmp_path)
    finally:
        pool.close()
        admin.execute("update ingest.index_versions set provider = 'local' where state = 'active'")


def words(subject: str, count: int) -> list[str]:
    return [f"{subject}, passage {number}." for number in range(count)]


def test_only_openai_has_batches_that_docmill_speaks() -> None:
    assert [name for name, one in HTTP_PROVIDERS.items() if one.bulk is not None] == ["openai"]


def test_texts_of_many_jobs_make_one_batch(scene: Scene) -> None:
    jobs = [scene.put(f"{n}.txt", words(f"Of {n}", 3)) for n in range(4)]
    scene.fake.batches.script.is_held = True
    scene.round()
    (batch,) = scene.batches()
    assert (batch["texts"], batch["held_usd"], batch["state"]) == (12, 120 * USD, "submitted")
    assert {scene.hold(job_id) for job_id in jobs} == {"in_batch"}
    scene.fake.batches.script.is_held = False
    scene.round()
    assert scene.booked() == scene.fake.batches.paid_tokens
    scene.check(*jobs)
    assert len(scene.fake.batches.batches) == 1


def test_equal_texts_of_an_owner_are_bought_once(scene: Scene) -> None:
    texts = words("Copy", 3)
    jobs = [scene.put(f"{n}.txt", texts) for n in range(3)]
    scene.fake.batches.script.is_held = True
    scene.round()
    # A copy that comes while the first is at the provider makes no batch of its own.
    jobs.append(scene.put("late.txt", [*texts, "And one more."]))
    scene.round()
    assert [batch["texts"] for batch in scene.batches()] == [3, 1]
    scene.fake.batches.script.is_held = False
    scene.round()
    assert sorted(scene.fake.batches.paid) == sorted([*texts, "And one more."])
    scene.check(*jobs)


def test_an_equal_text_waits_for_one_that_is_sent_again(scene: Scene) -> None:
    jobs = [scene.put(f"{n}.txt", words("Late copy", 4)) for n in range(2)]
    scene.fake.batches.script.ends = ["expired"]
    scene.round()
    assert len(scene.fake.batches.paid) == 2
    scene.round()
    scene.check(*jobs)


def test_another_owner_buys_an_equal_text(scene: Scene) -> None:
    texts = words("Everybody's", 2)
    for name, owner in (("a.txt", OWNER), ("b.txt", "bob"), ("c.txt", None), ("d.txt", None)):
        scene.put(name, texts, owner=owner)
    scene.round()
    assert sorted(scene.fake.batches.paid) == sorted(texts * 4)
    assert scene.states() == []


def test_a_document_that_is_read_again_waits_for_what_is_in_a_batch(scene: Scene) -> None:
    first = job_of(scene.admin, put_object(scene.admin, "a.txt", owner=OWNER))
    run = claimed(scene.worker, first)
    stage(scene.worker, run, ["old"], tokens=0)
    assert publish(scene.worker, run, ["old"]) == "published"
    texts = words("Read again", 3)
    cancelled = scene.put("a.txt", texts)
    scene.fake.batches.script.is_held = True
    scene.round()
    scene.admin.execute("select ingest_private.request_cancel(%s)", [cancelled])
    again = UUID(
        str(
            value(
                scene.admin,
                "select ingest_private.enqueue_again(%s, 'ready', true)",
                run.document_id,
            )
        )
    )
    is_bulk = "select is_bulk from ingest_private.job_queue where job_id = %s"
    assert value(scene.admin, is_bulk, again) is True
    scene.leave(claimed(scene.worker, again), texts)
    scene.texts[again] = texts
    scene.fake.batches.script.is_held = False
    scene.round()
    assert sorted(scene.fake.batches.paid) == texts
    scene.check(again)


def test_what_expires_is_sent_again(scene: Scene) -> None:
    job_id = scene.put("a.txt", words("Late", 6))
    scene.fake.batches.script.ends = ["expired"]
    scene.round()
    assert len(scene.fake.batches.paid) == 3
    assert scene.hold(job_id) == "in_batch"
    scene.round()
    scene.check(job_id)
    assert len(scene.fake.batches.batches) == 2


def test_what_was_cancelled_at_the_provider_is_sent_again(scene: Scene) -> None:
    job_id = scene.put("a.txt", words("Cancelled", 4))
    scene.fake.batches.script.is_held = True
    scene.round()
    scene.fake.batches.respond("POST", "/v1/batches/batch-2/cancel", b"", "")
    scene.fake.batches.script.is_held = False
    scene.round()
    scene.round()
    scene.check(job_id)


def test_after_three_batches_without_an_answer_the_run_asks_itself(scene: Scene) -> None:
    texts = words("Never", 2)
    job_id = scene.put("a.txt", texts)
    script = scene.fake.batches.script
    script.ends, script.share = ["expired"] * 3, 0
    for expected in ("waiting", "waiting", "direct"):
        scene.round()
        assert set(scene.states()) == {expected}
    assert scene.hold(job_id) is None
    run = claimed(scene.worker, job_id)
    found = rows(scene.worker, "select * from ingest_private.direct_hashes(%s)", run.job_id)
    assert {bytes(row["content_hash"]) for row in found} == set(map(hash_of, texts))
    assert scene.spent() == (0, Decimal(0))


def refusing(part: str, status: int) -> Callable[[list[str]], Answer | None]:
    return lambda texts: error(status, "no") if any(part in text for text in texts) else None


def test_a_refused_text_is_left_to_the_run_and_the_others_are_bought(scene: Scene) -> None:
    job_id = scene.put("a.txt", ["good one", "bad one", "good two"])
    other = scene.put("b.txt", ["good three"])
    scene.fake.respond = refusing("bad", 400)
    scene.round()
    assert scene.states() == ["direct"]
    assert sorted(scene.fake.batches.paid) == ["good one", "good three", "good two"]
    run = claimed(scene.worker, job_id)
    (found,) = rows(scene.worker, "select * from ingest_private.direct_hashes(%s)", run.job_id)
    assert bytes(found["content_hash"]) == hash_of("bad one")
    assert publish(scene.worker, run, ["good one", "good two"]) == "published"
    scene.check(other)


def test_a_text_that_meets_a_passing_error_is_sent_again(scene: Scene) -> None:
    job_id = scene.put("a.txt", words("Passing", 5))
    scene.fake.batches.script.failing_lines = [500, 429]
    scene.round()
    assert len(scene.fake.batches.paid) == 3
    scene.round()
    scene.check(job_id)


@pytest.mark.parametrize(("code", "tries"), [("token_limit_exceeded", 0), ("invalid_file", 1)])
def test_a_batch_that_fails_as_a_whole_is_made_anew(scene: Scene, code: str, tries: int) -> None:
    job_id = scene.put("a.txt", words("Failed", 2))
    script = scene.fake.batches.script
    script.ends, script.failed_code = ["failed"], code
    scene.round()
    found = rows(scene.admin, "select distinct state, tries from ingest_private.bulk_texts")
    assert found == [{"state": "waiting", "tries": tries}]
    (batch,) = scene.batches()
    assert (batch["error_code"], batch["held_usd"]) == (code, 0)
    scene.round()
    scene.check(job_id)


def test_a_batch_that_the_provider_does_not_take_is_made_anew(scene: Scene) -> None:
    job_id = scene.put("a.txt", words("Not taken", 2))
    scene.fake.batches.script.refused_creations = [400]
    scene.round()
    assert (scene.batches()[0]["error_code"], scene.states()) == (
        "embedding_rejected",
        ["waiting", "waiting"],
    )
    scene.round()
    scene.check(job_id)


def test_a_provider_that_is_busy_is_asked_again_for_the_same_batch(scene: Scene) -> None:
    job_id = scene.put("a.txt", words("Busy", 2))
    scene.fake.batches.script.refused_creations = [429]
    scene.round()
    (batch,) = scene.batches()
    assert (batch["state"], batch["error_code"]) == ("made", "rate_limited")
    scene.round()
    scene.check(job_id)
    assert len(scene.batches()) == 1


def test_operators_are_told_of_a_batch_that_gets_no_further(scene: Scene) -> None:
    job_id = scene.put("a.txt", words("Stuck", 1))
    scene.fake.batches.script.refused_creations = [401]
    scene.round()
    query = "select seen from ingest_private.troubles() where trouble = 'batches_stand_still'"
    assert rows(scene.admin, query) == []
    scene.admin.execute(
        "update ingest_private.bulk_batches set created_at = created_at - interval '2 hours'"
    )
    assert [row["seen"] for row in rows(scene.admin, query)] == [
        "1 batch(es) of openai get no further: provider_auth"
    ]
    scene.round()
    assert rows(scene.admin, query) == []
    scene.check(job_id)


def test_a_line_that_comes_twice_counts_once(scene: Scene) -> None:
    job_id = scene.put("a.txt", words("Twice", 3))
    scene.fake.batches.script.is_doubled = True
    scene.round()
    scene.check(job_id)


def test_lines_without_sense_stage_nothing(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = scene.put("a.txt", words("Sense", 3))
    books = scene.fake.batches
    write = books._written

    def written(lines: list[dict[str, Any]]) -> bytes:
        wrong = json.loads(json.dumps(lines[0]))
        wrong["custom_id"] = "text-999999999"
        narrow = embeddings(["x"], 128)["data"][0]["embedding"]
        lines[1]["response"]["body"]["data"][0]["embedding"] = narrow
        nonsense = [b"{", b"[]", b"null", b"\xff", b'{"custom_id": 1}', b'{"custom_id": "text-x"}']
        return b"\n".join(nonsense) + b"\n" + write(lines) + json.dumps(wrong).encode() + b"\n"

    monkeypatch.setattr(books, "_written", written)
    scene.round()
    assert scene.states() == ["waiting"]
    staged = value(scene.admin, "select count(*) from ingest_private.staged_chunks")
    assert staged == 2
    monkeypatch.undo()
    scene.round()
    assert scene.hold(job_id) is None


#: What the provider answers instead, by method and path.
Change = Callable[[str, str, "Reply | None"], "Reply | None"]


def answering(scene: Scene, monkeypatch: pytest.MonkeyPatch, change: Change) -> None:
    books = scene.fake.batches
    respond = books.respond

    def changed(method: str, path: str, content: bytes, kind: str) -> Reply | None:
        return change(method, path, respond(method, path, content, kind))

    monkeypatch.setattr(books, "respond", changed)


def test_a_batch_that_was_taken_with_an_answer_without_sense_is_found_again(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = scene.put("a.txt", words("Garbled", 3))
    answering(
        scene,
        monkeypatch,
        lambda method, path, reply: (
            (200, b"<html>") if method == "POST" and path.endswith("/batches") else reply
        ),
    )
    scene.round()
    (batch,) = scene.batches()
    assert (batch["state"], batch["error_code"]) == ("made", "provider_invalid_response")
    monkeypatch.undo()
    scene.round()
    scene.check(job_id)
    assert len(scene.fake.batches.batches) == 1


def test_what_goes_wrong_with_one_batch_is_not_in_the_way_of_others(scene: Scene) -> None:
    scene.most_texts = 2
    odd, other = (scene.put(f"{name}.txt", words(name, 2)) for name in ("odd", "other"))
    surprises = [ValueError("nobody thought of it")]

    def called(name: str, _is_over: bool) -> None:
        if name == "get" and surprises:
            raise surprises.pop()

    scene.called = called
    scene.round()
    assert (scene.hold(odd), scene.hold(other)) == ("in_batch", None)
    assert [batch["error_code"] for batch in scene.batches()] == ["internal_error", None]
    scene.round()
    scene.check(odd, other)


def test_batches_are_fetched_although_none_can_be_made(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = scene.put("a.txt", words("Paid", 2))
    scene.fake.batches.script.is_held = True
    scene.round()
    scene.fake.batches.script.is_held = False

    def slow(*_: object, **__: object) -> UUID:
        raise pg.QueryCanceled

    monkeypatch.setattr(store, "make_batch", slow)
    scene.round()
    scene.check(job_id)


SMALL: Final = Wanted("m", 8, True, Kind.DOCUMENT)


def test_a_list_that_begins_again_and_again_is_given_up(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = [1] * 9

    def repeated(*_request: object) -> Reply:
        item = {"id": "batch-1", "created_at": int(time.time()), "metadata": "none"}
        return (200, {"data": [item], "has_more": bool(pages.pop())}) if pages else (500, {})

    monkeypatch.setattr(scene.fake.batches, "respond", repeated)
    with pytest.raises(JobError) as caught:
        scene.client(SMALL).find("key", since=datetime.now(UTC))
    assert caught.value.code == "provider_invalid_response"


def test_an_answer_without_end_is_given_up(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = scene.put("a.txt", words("Endless", 2))
    monkeypatch.setattr(OpenAI, "bulk", BulkTerms(1, 1, 1.0))
    answering(
        scene,
        monkeypatch,
        lambda _method, path, reply: (200, b"x" * 2**20) if "/content" in path else reply,
    )
    scene.round()
    (batch,) = scene.batches()
    assert (batch["state"], batch["error_code"]) == ("collecting", "provider_invalid_response")
    monkeypatch.undo()
    scene.round()
    scene.check(job_id)


def test_a_line_without_end_is_never_held_as_a_whole(scene: Scene) -> None:
    class Watched(BytesIO):
        def readline(self, size: "int | None" = -1, /) -> bytes:
            line = super().readline(size)
            assert len(line) < 10_000
            return line

    good = b'{"custom_id": "text-1", "error": {}, "response": {"status_code": 400}}\n'
    strange = b'{"custom_id": "text-2", "response": {"status_code": []}}\n'
    lines = list(scene.client(SMALL).lines(Watched(b"x" * 100_000 + b"\n" + strange + good)))
    assert [line.custom_id for line in lines if line is not None] == ["text-1"]


#: Where a worker dies: in which call to the provider, and whether the provider did what it said.
DEATHS: Final = [
    (name, is_over)
    for name in ("upload", "create", "get", "download", "delete")
    for is_over in (False, True)
]


@pytest.mark.parametrize(("name", "is_over"), DEATHS)
def test_a_worker_that_dies_at_any_point_buys_nothing_twice_and_loses_nothing(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, name: str, is_over: bool
) -> None:
    job_id = scene.put("a.txt", words("Dead", 5))
    deaths = [(name, is_over)]

    def called(this: str, over: bool) -> None:
        if (this, over) in deaths:
            deaths.remove((this, over))
            raise Killed

    scene.called = called
    with pytest.raises(Killed):
        scene.round()
    assert deaths == []
    scene.round()
    scene.check(job_id)
    assert len(scene.fake.batches.batches) == 1


def test_a_worker_that_dies_between_two_pages_goes_on_from_there(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk_module, "PAGE", 2)
    job_id = scene.put("a.txt", words("Pages", 7))
    collect = store.collect
    pages: list[tuple[int, int]] = []

    def dying(*arguments: Any, **more: Any) -> Any:
        pages.append(arguments[2])
        if len(pages) == 3:
            raise Killed
        return collect(*arguments, **more)

    monkeypatch.setattr(store, "collect", dying)
    with pytest.raises(Killed):
        scene.round()
    assert value(scene.admin, "select count(*) from ingest_private.staged_chunks") == 4
    scene.round()
    assert pages[3] == pages[2] == (4, 6)
    scene.check(job_id)


def test_a_batch_is_left_alone_while_its_worker_lives(scene: Scene) -> None:
    job_id = scene.put("a.txt", words("Mine", 2))
    scene.fake.batches.script.is_held = True
    scene.round()
    scene.admin.execute(
        """insert into ingest_private.workers (id, slots, version, expires_at)
           values ('busy', 1, '1', clock_timestamp() + interval '1 minute')"""
    )
    scene.admin.execute("update ingest_private.bulk_batches set worker_id = 'busy'")
    scene.fake.batches.script.is_held = False
    scene.round()
    assert [batch["state"] for batch in scene.batches()] == ["submitted"]
    scene.admin.execute("delete from ingest_private.workers where id = 'busy'")
    scene.round()
    scene.check(job_id)


def cancel(scene: Scene, job_id: UUID) -> None:
    query = "select ingest_private.request_cancel(%s)"
    assert value(scene.admin, query, job_id) == "cancelled"


def test_texts_of_a_cancelled_job_are_not_bought(scene: Scene) -> None:
    cancel(scene, scene.put("a.txt", words("Unwanted", 2)))
    kept = scene.put("b.txt", words("Wanted", 2))
    scene.round()
    assert sorted(scene.fake.batches.paid) == sorted(scene.texts[kept])
    scene.check(kept)


def test_a_batch_that_nobody_wants_is_cancelled(scene: Scene) -> None:
    job_id = scene.put("a.txt", words("Regretted", 4))
    scene.fake.batches.script.is_held = True
    scene.round()
    cancel(scene, job_id)
    scene.round()
    (remote,) = scene.fake.batches.batches.values()
    assert remote["status"] == "cancelling"
    scene.fake.batches.script.is_held = False
    scene.round()
    scene.round()
    assert (remote["status"], len(scene.fake.batches.paid)) == ("cancelled", 2)
    # What was paid for is there for a retry, and the rest is not bought.
    assert value(scene.admin, "select count(*) from ingest_private.staged_chunks") == 2
    assert scene.booked() == scene.fake.batches.paid_tokens
    assert scene.states() == []
    assert scene.fake.batches.files == {}


def test_a_batch_of_no_use_any_more_is_not_submitted(scene: Scene) -> None:
    job_id = scene.put("a.txt", words("Too late", 2))

    def called(name: str, _is_over: bool) -> None:
        if name == "upload":
            raise Killed

    scene.called = called
    with pytest.raises(Killed):
        scene.round()
    scene.called = lambda _name, _is_over: None
    cancel(scene, job_id)
    scene.round()
    scene.round()
    assert scene.fake.batches.batches == {}
    assert (scene.states(), scene.batches()[0]["state"]) == ([], "ended")


def mentions(admin: Connection, words: str) -> list[str]:
    tables = rows(
        admin,
        """select format('%I.%I', nspname, relname) as name
             from pg_class join pg_namespace as space on space.oid = relnamespace
            where nspname in ('ingest', 'ingest_private') and relkind = 'r'""",
    )
    query = "select count(*) from {} as t where t::text ~ %s"
    return [table["name"] for table in tables if value(admin, query.format(table["name"]), words)]


def test_what_comes_for_a_deleted_document_is_paid_for_and_dropped(scene: Scene) -> None:
    scene.put("gone.txt", ["marigold one", "marigold two"])
    kept = scene.put("kept.txt", ["rose one"])
    scene.fake.batches.script.is_held = True
    scene.round()
    delete_objects(scene.admin, ["gone.txt"])
    drain_withdrawn(scene.worker)
    assert mentions(scene.admin, "marigold") == []
    scene.fake.batches.script.is_held = False
    scene.round()
    assert mentions(scene.admin, "marigold") == []
    assert scene.booked() == scene.fake.batches.paid_tokens
    scene.check(kept)


def test_nothing_is_bought_for_a_document_that_is_deleted_before(scene: Scene) -> None:
    scene.put("gone.txt", ["marigold one", "marigold two"])
    delete_objects(scene.admin, ["gone.txt"])
    scene.round()
    drain_withdrawn(scene.worker)
    assert mentions(scene.admin, "marigold") == []
    assert scene.fake.batches.paid == []


def test_nothing_is_written_for_an_owner_who_is_erased_meanwhile(
    scene: Scene, wiped: Database
) -> None:
    scene.put("e0e-e0e/secret.txt", ["marigold one", "marigold two"], owner="e0e-e0e")
    kept = scene.put("kept.txt", ["rose one"])
    scene.fake.batches.script.is_held = True
    scene.round()
    delete_objects(scene.admin, ["e0e-e0e/secret.txt"])
    with wiped.connect("postgres") as connection:
        erase_owner(connection, "e0e-e0e")
    assert mentions(scene.admin, "marigold|e0e-e0e") == []
    scene.fake.batches.script.is_held = False
    scene.round()
    assert mentions(scene.admin, "marigold|e0e-e0e") == []
    # The ledger of all has what was paid, under no name.
    assert scene.booked("e0e-e0e") == 0
    scene.check(kept)


def budget(scene: Scene, usd: Decimal, *, scope: str = "owner", key: str = OWNER) -> None:
    scene.admin.execute(
        """insert into ingest_private.budgets (scope, key, period, usd) values (%s, %s, 'day', %s)
               on conflict (scope, key, period) do update set usd = excluded.usd""",
        [scope, key, usd],
    )


@pytest.mark.parametrize(("scope", "key"), [("owner", OWNER), ("everything", "")])
def test_a_budget_is_held_before_texts_are_sent(scene: Scene, scope: str, key: str) -> None:
    job_id = scene.put("a.txt", words("Dear", 5))
    budget(scene, 20 * USD, scope=scope, key=key)  # each is expected to take ten tokens
    scene.fake.batches.script.is_held = True
    scene.round()
    assert sorted(scene.states()) == ["sent", "sent", "waiting", "waiting", "waiting"]
    # What is in the batch counts as spent: the budget is used up.
    used = "select spent from ingest_private.budgets_used(%s, false)"
    assert value(scene.admin, used, OWNER) == 20 * USD
    # And no text is looked at for that: an upload asks for it.
    reads = """select coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0)
                 from pg_stat_xact_user_tables where relname = 'bulk_texts'"""
    with scene.admin.transaction():
        before = value(scene.admin, reads)
        value(scene.admin, used, OWNER)
        assert value(scene.admin, reads) == before
    scene.round()
    assert sorted(scene.states()) == ["sent", "sent", "waiting", "waiting", "waiting"]
    scene.fake.batches.script.is_held = False
    scene.round()
    paid = scene.fake.batches.paid_tokens
    assert value(scene.admin, used, OWNER) == paid * USD
    budget(scene, 1000 * USD, scope=scope, key=key)
    scene.round()
    scene.check(job_id)


def test_an_owner_over_the_budget_is_not_in_the_way_of_others(scene: Scene) -> None:
    scene.most_texts = 2
    scene.put("a.txt", words("Poor", 3))
    budget(scene, Decimal(0))
    other = scene.put("b.txt", words("Rich", 2), owner="bob")
    scene.round()
    assert sorted(scene.fake.batches.paid) == sorted(scene.texts[other])


def test_what_was_bought_is_published_although_the_budget_is_used_up(scene: Scene) -> None:
    job_id = scene.put("a.txt", words("Bought", 2))
    budget(scene, 11 * USD)
    scene.round()
    budget(scene, 10 * USD)
    assert scene.hold(job_id) is None
    assert value(scene.admin, "select ingest_private.over_budget_until(%s, false)", OWNER)
    scene.check(job_id)


@pytest.mark.parametrize("is_paused", [False, True])
def test_what_was_answered_is_bought_before_its_job_is_woken(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, is_paused: bool
) -> None:
    job_id = scene.put("a.txt", words("Bought", 2))
    budget(scene, 11 * USD)
    scene.fake.batches.script.is_held = True
    scene.round()
    if is_paused:
        scene.admin.execute("insert into ingest_private.pauses values ('everything', '')")
        scene.worker.execute("select ingest_private.apply_pauses(null)")
        assert scene.hold(job_id) == "paused"

    def dying(_connection: object) -> int:
        raise Killed

    monkeypatch.setattr(store, "wake", dying)
    scene.fake.batches.script.is_held = False
    with pytest.raises(Killed):
        scene.round()
    monkeypatch.undo()
    budget(scene, Decimal(1))
    scene.admin.execute("delete from ingest_private.pauses")
    scene.worker.execute("select ingest_private.apply_pauses(null)")
    assert scene.hold(job_id) == (None if is_paused else "in_batch")
    scene.round()
    scene.check(job_id)


def test_while_it_is_paused_nothing_is_sent(scene: Scene) -> None:
    job_id = scene.put("a.txt", words("Paused", 2))
    for scope, key in [
        ("everything", ""),
        ("owner", OWNER),
        ("source", value(scene.admin, "select id::text from ingest_private.sources limit 1")),
    ]:
        scene.admin.execute(
            "insert into ingest_private.pauses (scope, key) values (%s, %s)", [scope, key]
        )
        scene.round()
        assert scene.batches() == []
        scene.admin.execute("delete from ingest_private.pauses")
    scene.round()
    scene.check(job_id)


def test_an_upload_goes_before_what_is_bought_in_bulk_however_long_that_waits(
    scene: Scene,
) -> None:
    names = [f"{number}.txt" for number in range(3)]
    scene.admin.execute("select ingest_private.note_bulk_names('docs', %s)", [names])
    for name in names:
        put_object(scene.admin, name, owner=OWNER)
    assert rows(scene.admin, "select from ingest_private.bulk_names") == []
    scene.admin.execute("update ingest_private.job_queue set aged_at = aged_at - interval '1 day'")
    scene.worker.execute("select ingest_private.age_jobs()")
    upload = job_of(scene.admin, put_object(scene.admin, "now.txt", owner=OWNER))
    scene.admin.execute(
        """insert into ingest_private.workers (id, slots, version, expires_at, providers)
           values ('one', 1, '1', clock_timestamp() + interval '1 minute', '{openai}')"""
    )
    assert take(scene.worker) == [upload]


def test_a_lost_lease_puts_nothing(scene: Scene) -> None:
    job_id = job_of(scene.admin, put_object(scene.admin, "a.txt", owner=OWNER))
    run = claimed(scene.worker, job_id)
    put = value(
        scene.worker,
        "select ingest_private.put_bulk_texts(%s, %s, '{}', '{}', '{}', '{}', '{}', '{}')",
        *(run.job_id, run.token + 1),
    )
    assert put is False


def test_a_run_that_puts_texts_again_locks_them_in_order_of_id(
    scene: Scene, wiped: Database
) -> None:
    scene.admin.execute("select ingest_private.note_bulk_names('docs', array['a.txt'])")
    run = claimed(scene.worker, job_of(scene.admin, put_object(scene.admin, "a.txt", owner=OWNER)))
    low, high = sorted(words("Again", 2), key=hash_of)
    for text in (high, low):
        scene.put_texts(run, [text])
    first, second = (
        row["id"]
        for row in rows(scene.admin, "select id from ingest_private.bulk_texts order by 1")
    )
    lock = "select from ingest_private.bulk_texts where id = %s for update nowait"
    with wiped.connect("postgres") as collecting:
        with collecting.transaction():
            collecting.execute(lock, [first])
            putting = Background(lambda: scene.put_texts(run, [low, high]))
            wait_until_blocked(scene.admin, scene.worker.info.backend_pid)
            collecting.execute(lock, [second])
        putting()


def test_an_owner_is_looked_at_once_however_many_texts_wait(scene: Scene) -> None:
    for owner in ("alice", "bob"):
        scene.put(f"{owner}.txt", words(owner, 8), owner=owner)
    query = "select calls from pg_stat_xact_user_functions where funcname = 'budget_left'"
    with scene.admin.transaction():
        scene.admin.execute("set local track_functions = 'all'")
        assert value(scene.admin, "select ingest_private.owners_held(false)") == []
        assert value(scene.admin, query) == 2


def test_texts_of_a_document_without_an_owner_are_bought(scene: Scene) -> None:
    budget(scene, Decimal(0))
    job_id = scene.put("a.txt", words("Of nobody", 2), owner=None)
    scene.round()
    scene.check(job_id)

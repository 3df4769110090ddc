"""What a run has paid for is staged, however the run ends."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from time import monotonic

import numpy as np
import pytest

from docmill.worker.embedding.batcher import Batcher
from docmill.worker.embedding.company import Company
from docmill.worker.errors import CancelledRunError, DrainError, JobError, LeaseLostError
from docmill.worker.models import Chunk
from docmill.worker.pipeline.lease import Run
from docmill.worker.pipeline.progress import ProgressReporter
from docmill.worker.pipeline.stager import Stager, StagingLimits
from docmill.worker.ports import Vectors
from docmill.worker.providers.base import RequestLimits
from docmill.worker.store import jobs
from docmill.worker.store.database import Database as Pool
from tests.schema.actors import DIMENSIONS, MODEL, Connection, job_of, rows, take, vector_of
from tests.support.database import Database, put_object


@dataclass
class Provider:
    """Answers each request when it may, with vectors or an error."""

    model: str = MODEL
    dimensions: int = DIMENSIONS
    request_limits: RequestLimits = field(default=RequestLimits(100, 1000, 1000))
    requests: list[list[str]] = field(default_factory=list)
    may_answer: threading.Event = field(default_factory=threading.Event)
    asked: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    error: Callable[[Sequence[str]], JobError | None] = lambda _texts: None

    def embed(self, texts: Sequence[str]) -> tuple[Vectors, int]:
        self.requests.append(list(texts))
        self.asked.release()
        assert self.may_answer.wait(180)
        if (error := self.error(texts)) is not None:
            raise error
        return np.stack([vector_of(text) for text in texts]), 10 * len(texts)


@dataclass
class Scene:
    admin: Connection
    provider: Provider
    run: Run
    stager: Stager

    def staged(self) -> tuple[int, int]:
        """How many chunks are staged, and how many tokens are booked on the job."""
        (row,) = rows(
            self.admin,
            """select (select count(*)::int from ingest_private.staged_chunks) as chunks,
                      (select tokens_used::int from ingest.jobs where id = %s) as tokens""",
            self.run.claim.job_id,
        )
        return row["chunks"], row["tokens"]


@pytest.fixture
def database(wiped: Database) -> Database:
    return wiped


@pytest.fixture
def scene(database: Database, admin: Connection, worker: Connection) -> Iterator[Scene]:
    job_id = job_of(admin, put_object(admin, "a.txt", owner="alice"))
    take(worker)
    claim = jobs.claim(
        worker, job_id, worker_id="w1", isolated=False, lease_for=timedelta(minutes=5)
    )
    assert claim is not None
    run = Run(claim, monotonic() + 300)
    provider, company = Provider(), Company()
    with ExitStack() as stack:
        pool = Pool(database.url("docmill_worker"), connections=4)
        pool.open()
        stack.callback(pool.close)
        batcher = Batcher(provider, max_texts=2, max_tokens=1000, requests=4, company=company)
        stack.callback(batcher.close)
        stack.callback(provider.may_answer.set)
        member = stack.enter_context(company.join(claim.turn))
        stager = Stager(
            database=pool,
            batcher=batcher,
            member=member,
            limits=StagingLimits(max_chunks=100, batch_size=2, keep_seconds=60),
            run=run,
            progress=ProgressReporter(pool, claim, lambda _stage: None),
        )
        yield Scene(admin, provider, run, stager)


def chunk(number: int) -> Chunk:
    return Chunk(number, f"Passage {number}", (), None, None, 5, {})


def place(scene: Scene, count: int) -> None:
    """Place chunks, and return when each is in a request."""
    for number in range(count):
        scene.stager.place(chunk(number))
    for _ in range(count // 2):
        assert scene.provider.asked.acquire(timeout=180)


@pytest.mark.parametrize(
    ("ends", "staged"),
    [
        (DrainError, (6, 60)),
        (JobError("parse_timeout"), (6, 60)),
        # Another run has the job: this one may write nothing.
        (LeaseLostError, (0, 0)),
    ],
    ids=["drain", "failure", "lost lease"],
)
def test_what_is_under_way_when_a_run_ends_is_kept(
    scene: Scene, ends: type[Exception] | Exception, staged: tuple[int, int]
) -> None:
    def end() -> None:
        with scene.stager.open():
            place(scene, 6)
            scene.provider.may_answer.set()
            raise ends

    with pytest.raises(ends if isinstance(ends, type) else type(ends)):
        end()
    assert scene.staged() == staged


def test_who_cancels_waits_for_no_provider(scene: Scene) -> None:
    def end() -> None:
        with scene.stager.open():
            place(scene, 6)
            raise CancelledRunError

    with pytest.raises(CancelledRunError):
        end()
    assert not scene.provider.may_answer.is_set()
    assert scene.staged() == (0, 0)


def test_what_arrived_beside_a_failure_is_kept(scene: Scene) -> None:
    """One request of three fails: the other two were paid for."""
    scene.provider.error = lambda texts: (
        JobError("provider_unavailable") if "Passage 2" in texts else None
    )

    def read() -> None:
        with scene.stager.open():
            place(scene, 6)
            scene.provider.may_answer.set()
            scene.stager.finish()

    with pytest.raises(JobError) as caught:
        read()
    assert caught.value.code == "provider_unavailable"
    assert scene.staged() == (4, 40)

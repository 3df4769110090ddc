"""From chunks to staged rows: reuse what is known, embed the rest in batches, stage each batch."""

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

import psycopg

from docmill.worker.embedding.batcher import Batcher, Submission
from docmill.worker.errors import CancelledRunError, DocmillError, JobError, LeaseLostError
from docmill.worker.log import get_logger
from docmill.worker.models import Chunk
from docmill.worker.pipeline.lease import Run
from docmill.worker.pipeline.progress import ProgressReporter
from docmill.worker.store import chunks as chunk_store
from docmill.worker.store.chunks import content_hash
from docmill.worker.store.database import Database

log = get_logger(__name__)

_POLL_SECONDS: Final = 0.5


@dataclass(frozen=True)
class StagingLimits:
    """How much one document may have in hand."""

    max_chunks: int
    batch_size: int  #: chunks that are embedded and staged together
    batches_in_flight: int = 4
    #: how long a run that must stop waits for what was asked of the provider: it is paid for
    keep_seconds: float = 20
    usd_per_million_tokens: float = 0


@dataclass(frozen=True)
class _Batch:
    chunks: list[tuple[bytes, Chunk]]
    submission: Submission


class Stager:
    """Takes a document's chunks in order; when it is finished, every one is staged or live."""

    def __init__(
        self,
        *,
        database: Database,
        batcher: Batcher,
        limits: StagingLimits,
        run: Run,
        progress: ProgressReporter,
    ) -> None:
        self._database = database
        self._batcher = batcher
        self._limits = limits
        self._run = run
        self._progress = progress
        self._waiting: list[tuple[bytes, Chunk]] = []
        self._in_flight: deque[_Batch] = deque()
        self._staged = 0
        self.reused = 0
        #: Hash, first and last page of every chunk so far.
        self.placed: list[tuple[bytes, int | None, int | None]] = []
        with database.transaction() as transaction:
            self._known = chunk_store.known_hashes(transaction, run.claim)

    @contextmanager
    def open(self) -> Iterator["Stager"]:
        """When the run ends early, keep what is paid for and withdraw what is not.

        A run that lost its lease may write nothing any more; one that was cancelled waits for
        nothing, because its owner waits for it to stop.
        """
        try:
            yield self
        except BaseException as error:
            for batch in self._in_flight:
                batch.submission.withdraw()
            if not isinstance(error, LeaseLostError):
                patience = 0 if isinstance(error, CancelledRunError) else self._limits.keep_seconds
                self._keep_what_comes(patience)
            raise

    def _keep_what_comes(self, patience: float) -> None:
        deadline = time.monotonic() + patience
        try:
            for batch in self._in_flight:
                batch.submission.wait(max(0, deadline - time.monotonic()))
                self._stage(batch)
        except (DocmillError, psycopg.Error) as error:
            # Why the run ends is known already; a later run embeds these again.
            log.warning("embeddings_not_kept", error=type(error).__name__)

    def place(self, chunk: Chunk) -> None:
        """Take the next chunk. Raises JobError, or what the run's check raises."""
        self._run.check()
        if len(self.placed) >= self._limits.max_chunks:
            raise JobError("too_many_chunks", f"more than {self._limits.max_chunks}")
        digest = content_hash(self._run.claim.index, chunk)
        self.placed.append((digest, chunk.page_start, chunk.page_end))
        if digest in self._known:
            self.reused += 1
            return
        self._known.add(digest)
        self._waiting.append((digest, chunk))
        if len(self._waiting) >= self._limits.batch_size:
            self._submit()
            self._stage_what_is_done()

    def finish(self) -> None:
        """Embed and stage the rest."""
        self._progress.report(
            stage="embedding", chunks_total=len(self.placed), chunks_reused=self.reused
        )
        if self._waiting:
            self._submit()
        while self._in_flight:
            self._stage_next()

    def _submit(self) -> None:
        chunks, self._waiting = self._waiting, []
        submission = self._batcher.submit(
            self._run.claim.turn,
            [chunk.embedded_text for _digest, chunk in chunks],
            [chunk.token_count for _digest, chunk in chunks],
        )
        self._in_flight.append(_Batch(chunks, submission))

    def _stage_what_is_done(self) -> None:
        # Extraction goes on while requests are in flight, but not without bound.
        while self._in_flight and (
            self._in_flight[0].submission.wait(0)
            or len(self._in_flight) >= self._limits.batches_in_flight
        ):
            self._stage_next()

    def _stage_next(self) -> None:
        batch = self._in_flight[0]
        while not batch.submission.wait(_POLL_SECONDS):
            self._run.check()
        self._in_flight.popleft()
        # Paid for, so it is kept, even when the run must stop right after.
        error = self._stage(batch)
        if error is not None:
            raise error
        self._run.check()

    def _stage(self, batch: _Batch) -> JobError | None:
        """Stage what has arrived; why the rest has not. Raises JobError, LeaseLostError."""
        embedded = batch.submission.result(self._run.claim.index.dimensions)
        if embedded.positions:
            usd = Decimal(str(self._limits.usd_per_million_tokens)) * embedded.tokens / 1_000_000
            with self._database.transaction() as transaction:
                chunk_store.stage(
                    transaction,
                    self._run.claim,
                    [batch.chunks[position] for position in embedded.positions],
                    embedded.vectors,
                    tokens=embedded.tokens,
                    usd=usd,
                )
            self._staged += len(embedded.positions)
            self._progress.report(chunks_embedded=self._staged, chunks_reused=self.reused)
        return embedded.error

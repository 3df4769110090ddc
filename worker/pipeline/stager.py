"""From chunks to staged rows: reuse what is known, embed the rest in batches, stage each batch."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from docmill.worker.embedding.batcher import Batcher, EmbeddedBatch
from docmill.worker.errors import JobError
from docmill.worker.models import Chunk
from docmill.worker.pipeline.lease import Run
from docmill.worker.pipeline.progress import ProgressReporter
from docmill.worker.store import chunks as chunk_store
from docmill.worker.store.chunks import content_hash
from docmill.worker.store.database import Database

_POLL_SECONDS: Final = 0.5


@dataclass(frozen=True)
class StagingLimits:
    """How much one document may have in hand."""

    max_chunks: int
    batch_size: int  #: chunks that are embedded and staged together
    batches_in_flight: int = 4
    usd_per_million_tokens: float = 0


@dataclass(frozen=True)
class _Batch:
    chunks: list[tuple[bytes, Chunk]]
    future: "Future[EmbeddedBatch]"


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
        """Withdraw what was not asked of the provider yet when the run ends early."""
        try:
            yield self
        finally:
            for batch in self._in_flight:
                batch.future.cancel()

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
        future = self._batcher.submit(
            self._run.claim.turn,
            [chunk.embedded_text for _digest, chunk in chunks],
            [chunk.token_count for _digest, chunk in chunks],
        )
        self._in_flight.append(_Batch(chunks, future))

    def _stage_what_is_done(self) -> None:
        # Extraction goes on while requests are in flight, but not without bound.
        while self._in_flight and (
            self._in_flight[0].future.done()
            or len(self._in_flight) >= self._limits.batches_in_flight
        ):
            self._stage_next()

    def _stage_next(self) -> None:
        batch = self._in_flight[0]
        embedded = self._result(batch.future)
        self._in_flight.popleft()
        usd = Decimal(str(self._limits.usd_per_million_tokens)) * embedded.tokens / 1_000_000
        # Paid for, so it is kept, even when the run must stop right after.
        with self._database.transaction() as transaction:
            chunk_store.stage(
                transaction,
                self._run.claim,
                batch.chunks,
                embedded.vectors,
                tokens=embedded.tokens,
                usd=usd,
            )
        self._staged += len(batch.chunks)
        self._progress.report(chunks_embedded=self._staged, chunks_reused=self.reused)
        self._run.check()

    def _result(self, future: "Future[EmbeddedBatch]") -> EmbeddedBatch:
        while True:
            try:
                return future.result(timeout=_POLL_SECONDS)
            except FutureTimeoutError:
                self._run.check()
            except CancelledError as error:
                raise JobError("internal_error", "embedding was cancelled") from error

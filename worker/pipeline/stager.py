"""From chunks to staged rows: reuse known chunks, embed the rest in batches, stage each batch.

Known are the chunks that the document has already, and those of other documents of its owner. Texts
that the provider refuses are cut into parts or set aside: see set_aside. A job in the bulk lane
leaves what it must buy for a batch of the provider, and a later run finds it staged.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

import numpy as np
import psycopg

from docmill.worker import tracing
from docmill.worker.embedding.batcher import Batcher
from docmill.worker.embedding.company import Member
from docmill.worker.embedding.submission import EmbeddedBatch, Submission
from docmill.worker.errors import (
    CancelledRunError,
    DocmillError,
    InBatchError,
    JobError,
    LeaseLostError,
)
from docmill.worker.log import get_logger
from docmill.worker.models import Chunk, Placed, SetAside
from docmill.worker.pipeline.lease import Run
from docmill.worker.pipeline.progress import ProgressReporter
from docmill.worker.pipeline.set_aside import Hashed, Refusals, allowed
from docmill.worker.store import bulk
from docmill.worker.store import chunks as chunk_store
from docmill.worker.store.chunks import content_hash
from docmill.worker.store.database import Database
from docmill.worker.store.outage import warn

log = get_logger(__name__)

_POLL_SECONDS: Final = 0.5


@dataclass(frozen=True)
class StagingLimits:
    """Bounds on the chunks of one document."""

    max_chunks: int
    batch_size: int  #: chunks that are embedded and staged together
    batches_in_flight: int = 4
    #: a run that must stop waits this long for requests under way, because they are paid for
    keep_seconds: float = 20
    #: by the names of a provider and a model
    usd_per_million_tokens: Callable[[str, str], float] = lambda _provider, _model: 0
    #: in batches; None: the provider has none
    bulk_usd_per_million_tokens: Callable[[str, str], float | None] = lambda _provider, _model: None


@dataclass(frozen=True, eq=False)
class _Batch:
    chunks: Sequence[Hashed]
    submission: Submission


class Stager:
    """Takes the chunks of a document in order; at the end each is staged, live or set aside."""

    def __init__(
        self,
        *,
        database: Database,
        batcher: Batcher,
        member: Member,
        limits: StagingLimits,
        run: Run,
        progress: ProgressReporter,
    ) -> None:
        self._database = database
        self._batcher = batcher
        self._member = member
        self._limits = limits
        self._run = run
        self._progress = progress
        self._waiting: list[Hashed] = []
        self._in_flight: deque[_Batch] = deque()
        self._staged = 0
        self._may_buy = True  # until a budget is used up
        self.reused = 0
        self._placed: list[Placed] = []
        self._refusals = Refusals(name=self._hash, embed=self._embed_parts)
        with database.statement() as connection:
            self._known = chunk_store.known_hashes(connection, run.claim)
            self._direct = bulk.direct_hashes(connection, run.claim) if run.claim.is_bulk else None

    @contextmanager
    def open(self) -> Iterator["Stager"]:
        """If the run ends early, keep embeddings that are paid for and withdraw other requests.

        A run that lost its lease may write nothing any more. A cancelled run does not wait, because
        its owner waits for it to stop.
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
        finally:
            for batch in self._in_flight:
                self._batcher.release(batch.submission)

    def _keep_what_comes(self, patience: float) -> None:
        deadline = time.monotonic() + patience
        try:
            for batch in self._in_flight:
                batch.submission.wait(max(0, deadline - time.monotonic()))
                self._stage(batch)
        except (DocmillError, psycopg.Error) as error:
            # The reason for the end of the run is already known; a later run embeds these chunks
            # again.
            warn(log, "embeddings_not_kept", error)

    def place(self, chunk: Chunk) -> None:
        """Take the next chunk. Raises JobError, or what the run's check raises."""
        self._run.check()
        if len(self._placed) >= self._limits.max_chunks:
            raise JobError("too_many_chunks", f"more than {self._limits.max_chunks}")
        digest = self._hash(chunk)
        self._placed.append(Placed(digest, chunk.page_start, chunk.page_end, chunk.metadata))
        if digest in self._known:
            self.reused += 1
            return
        self._known.add(digest)
        self._waiting.append((digest, chunk))
        if len(self._waiting) >= self._limits.batch_size:
            self._submit()
            self._stage_what_is_done()

    def finish(self) -> tuple[list[Placed], list[SetAside]]:
        """Embed and stage the rest. Returns the chunks to publish and those set aside, in order.

        Raises JobError: `empty_document` if there is no chunk, `embedding_rejected` if the provider
        refuses more chunks than may be set aside, `owner_budget_exceeded` if there are more texts
        to embed and the budget is used up. Raises InBatchError if texts were left for a batch.
        """
        self._progress.report(
            stage="embedding", chunks_total=len(self._placed), chunks_reused=self.reused
        )
        if not self._placed:
            raise JobError("empty_document")
        if self._waiting:
            self._submit()
        self._member.leave()
        while self._in_flight:
            self._stage_next()
        self._check_batches()
        self._refusals.settle(allowed(len(self._placed)))
        published, aside = self._refusals.outcome(self._placed)
        if aside and not (published and (self._staged or self._batcher.serves())):
            raise JobError("embedding_rejected", "every text")
        return published, aside

    def _hash(self, chunk: Chunk) -> bytes:
        return content_hash(self._run.claim.index, chunk)

    def _embed_parts(self, parts: Sequence[Hashed]) -> Sequence[Hashed]:
        """Embed and stage parts of refused chunks; returns the parts that are refused too."""
        unknown = dict(part for part in parts if part[0] not in self._known)
        self._known.update(unknown)
        return self._staged_when_done(self._ask(list(unknown.items()), alone=True))

    def _submit(self) -> None:
        chunks, self._waiting = self._waiting, []
        with self._batcher.looking():
            unknown = self._without_batches(self._without_reusable(chunks))
            if unknown:
                self._ask(unknown)

    def _without_batches(self, chunks: Sequence[Hashed]) -> Sequence[Hashed]:
        """Leave texts of a job in the bulk lane for a batch; those that batches did not bring."""
        direct = self._direct
        if direct is None:
            return chunks
        left = [hashed for hashed in chunks if hashed[0] not in direct]
        if left:
            index = self._run.claim.index
            price = self._limits.bulk_usd_per_million_tokens(index.provider, index.model)
            if price is None:
                raise JobError("bulk_unsupported", index.provider)
            with self._database.transaction() as transaction:
                bulk.put_texts(transaction, self._run.claim, left, Decimal(str(price)) / 1_000_000)
        return [hashed for hashed in chunks if hashed[0] in direct]

    def _check_batches(self) -> None:
        """Nothing is cut, set aside or published before every batch is answered."""
        if self._direct is None:
            return
        with self._database.transaction() as transaction:
            if bulk.in_batch(transaction, self._run.claim):
                raise InBatchError

    def _without_reusable(self, chunks: Sequence[Hashed]) -> Sequence[Hashed]:
        """Stage what other documents of the owner have; the rest of the chunks."""
        claim = self._run.claim
        if claim.owner_id is None:
            return chunks
        with self._database.statement() as connection:
            found = chunk_store.reusable_embeddings(
                connection, claim, [digest for digest, _chunk in chunks]
            )
        if not found:
            return chunks
        reused = [hashed for hashed in chunks if hashed[0] in found]
        vectors = np.stack([found[digest] for digest, _chunk in reused])
        with self._database.transaction() as transaction:
            chunk_store.stage(transaction, claim, reused, vectors, tokens=0, usd=Decimal(0))
        self.reused += len(reused)
        self._progress.report(chunks_reused=self.reused)
        return [hashed for hashed in chunks if hashed[0] not in found]

    def _ask(self, chunks: Sequence[Hashed], *, alone: bool = False) -> _Batch:
        if not self._may_buy:
            raise JobError("owner_budget_exceeded")
        prefix = self._run.claim.index.document_prefix
        submission = self._batcher.submit(
            self._run.claim.turn,
            [prefix + chunk.embedded_text for _digest, chunk in chunks],
            [chunk.token_count for _digest, chunk in chunks],
            member=self._member,
            alone=alone,
            # Files without an owner share nothing.
            is_shared=self._run.claim.owner_id is not None,
        )
        batch = _Batch(chunks, submission)
        self._in_flight.append(batch)
        return batch

    def _stage_what_is_done(self) -> None:
        # Extraction goes on while requests are in flight, but not without bound.
        while self._in_flight and (
            self._in_flight[0].submission.wait(0)
            or len(self._in_flight) >= self._limits.batches_in_flight
        ):
            self._stage_next()

    def _stage_next(self) -> None:
        self._refusals.add(self._staged_when_done(self._in_flight[0]))
        # The number of chunks is not known yet, so this uses the bound of the longest document.
        bound = allowed(self._limits.max_chunks)
        if len(self._refusals) > bound:
            self._refusals.settle(bound)
        self._run.check()

    def _staged_when_done(self, batch: _Batch) -> list[Hashed]:
        """Wait for a batch and stage it; returns its refused chunks. Raises JobError."""
        with self._member.waiting():
            while not batch.submission.wait(_POLL_SECONDS):
                self._run.check()
        self._in_flight.remove(batch)
        # It is paid for, so it is kept, even if the run must stop right after.
        try:
            embedded = self._stage(batch)
        finally:
            self._batcher.release(batch.submission)
        if embedded.error is not None:
            raise embedded.error
        return [batch.chunks[position] for position in embedded.refused]

    def _stage(self, batch: _Batch) -> EmbeddedBatch:
        """Stage the embeddings that arrived, and return them. Raises JobError, LeaseLostError."""
        embedded = batch.submission.result(self._run.claim.index.dimensions)
        if embedded.positions:
            index = self._run.claim.index
            price = self._limits.usd_per_million_tokens(index.provider, index.model)
            usd = Decimal(str(price)) * embedded.tokens / 1_000_000
            with (
                tracing.step("stage", {"docmill.chunks": len(embedded.positions)}),
                self._database.transaction() as transaction,
            ):
                self._may_buy = chunk_store.stage(
                    transaction,
                    self._run.claim,
                    [batch.chunks[position] for position in embedded.positions],
                    embedded.vectors,
                    tokens=embedded.tokens,
                    usd=usd,
                )
            self._staged += len(embedded.positions) - embedded.shared
            self.reused += embedded.shared
            # With the parts of refused chunks, more may be staged than the number of chunks
            # announced.
            embedded_chunks = min(self._staged, len(self._placed) - self.reused)
            self._progress.report(chunks_embedded=embedded_chunks, chunks_reused=self.reused)
        return embedded

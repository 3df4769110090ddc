"""One run of one job: download, extract, chunk, embed, stage, publish."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Final

from docmill.worker import metrics, tracing
from docmill.worker.embedding.batchers import Batchers
from docmill.worker.embedding.company import Member
from docmill.worker.errors import (
    CancelledRunError,
    DocumentSupersededError,
    InBatchError,
    JobError,
    LeaseLostError,
)
from docmill.worker.log import get_logger
from docmill.worker.models import Chunk, Claim, Placed, SetAside
from docmill.worker.pipeline.lease import Run
from docmill.worker.pipeline.progress import ProgressReporter
from docmill.worker.pipeline.spool import Spool
from docmill.worker.pipeline.stager import Stager, StagingLimits
from docmill.worker.ports import Extraction, Extractor, ObjectStorage, StoredObject
from docmill.worker.store import chunks as chunk_store
from docmill.worker.store import reindex
from docmill.worker.store.chunks import PublishedDocument, PublishResult
from docmill.worker.store.database import Database, cancel_statement
from docmill.worker.store.reindex import ReindexSource
from docmill.worker.store.windows import WindowStore

log = get_logger(__name__)

#: Publishing 20,000 chunks of 3,072 dimensions takes about two minutes (6 ms a row into HNSW).
PUBLISH_TIMEOUT: Final = timedelta(minutes=15)
#: The document names at most this many pages that could not be read.
MAX_UNREAD_NAMED: Final = 1000
#: More formulas without a value are not counted: each of very many sheets may have a million.
MAX_FORMULAS_COUNTED: Final = 1_000_000_000
#: Errors of a download that another version than the job's would explain.
_MAYBE_ANOTHER_VERSION: Final = frozenset({"object_changed", "document_too_large"})


@dataclass(frozen=True)
class IngestLimits:
    """Bounds on one document."""

    max_bytes: int
    staging: StagingLimits


class Ingest:
    """Brings one document to the version that its job names."""

    def __init__(
        self,
        *,
        database: Database,
        storage: ObjectStorage,
        extractor: Extractor,
        batchers: Batchers,
        spool: Spool,
        limits: IngestLimits,
    ) -> None:
        self._database = database
        self._storage = storage
        self._extractor = extractor
        self._batchers = batchers
        self._spool = spool
        self._limits = limits

    def run(self, run: Run, progress: ProgressReporter) -> None:
        """Ingest the claimed document. Safe to repeat: staged chunks are not embedded again.

        A job for an index version beside the active one uses the chunks of the active version, if
        they are cut in the same way, and then reads no file. Raises JobError,
        DocumentSupersededError if Storage now holds another version, InBatchError if its texts are
        in a batch of the provider, and what `run.check()` raises if the run must stop.
        """
        if run.claim.in_batch:
            raise InBatchError
        company = self._batchers.company(run.claim.index, is_reindex=run.claim.kind == "reindex")
        # From here on others wait for what this run will submit.
        with company.join(run.claim.turn) as member:
            if not self._embed_anew(run, member, progress):
                self._read(run, member, progress)

    def _embed_anew(self, run: Run, member: Member, progress: ProgressReporter) -> bool:
        if run.claim.kind != "reindex":
            return False
        with self._database.transaction() as transaction:
            source = reindex.source_of(transaction, run.claim)
        if source is None:
            return False
        progress.report(stage="embedding", pages_total=source.document.page_count)
        placed, aside = self._stage(run, member, self._chunks_of(run.claim, source), progress)
        progress.report(stage="publishing", chunks_total=len(placed))
        self._publish(run, source.document, placed, aside, progress)
        return True

    def _chunks_of(self, claim: Claim, source: ReindexSource) -> Iterator[Chunk]:
        ordinal = 0
        while True:
            with self._database.transaction() as transaction:
                page = reindex.chunks_of(transaction, claim, source, ordinal)
            yield from page
            if len(page) < reindex.PAGE:
                return
            ordinal = page[-1].ordinal + 1

    def _read(self, run: Run, member: Member, progress: ProgressReporter) -> None:
        turn = run.claim.turn
        rules = run.claim.index.rules
        with self._spool.file(self._size(run), owner=turn, check=run.check) as path:
            with tracing.step("download") as span:
                sha256 = self._download(run, path)
                span.set({"docmill.bytes": path.stat().st_size})
            version = self._extractor.version(run.claim.object_name)
            pipeline = f"{version}.{rules.version}"
            if self._publish_unchanged(run.claim, sha256, pipeline):
                return
            progress.report(stage="extracting")
            kept = WindowStore(self._database, run.claim, sha256=sha256, version=pipeline)
            with self._extractor.open(
                path,
                file_name=run.claim.object_name,
                owner=turn,
                check=run.check,
                kept=kept,
                rules=rules,
            ) as extraction:
                reading = _Reading(extraction, progress)
                placed, aside = self._stage(run, member, reading.chunks(), progress)
                document = PublishedDocument(
                    sha256=sha256,
                    pipeline=pipeline,
                    title=extraction.title or reading.first_title,
                    mime_type=extraction.mime_type,
                    page_count=extraction.page_count,
                    unread_pages=reading.unread_pages,
                    unread_page_numbers=reading.unread_page_numbers,
                    hidden_characters=reading.hidden_characters,
                    uncomputed_formulas=reading.uncomputed_formulas,
                )
        progress.report(stage="publishing", chunks_total=len(placed))
        self._publish(run, document, placed, aside, progress)

    def _size(self, run: Run) -> int:
        # Of the job's version, unless Storage did not know it when that was uploaded.
        size = run.claim.size_bytes
        if size is None:
            size = self._current(run).size_bytes
        if size > self._max_bytes(run.claim):
            raise JobError("document_too_large", f"{size} bytes")
        return size

    def _max_bytes(self, claim: Claim) -> int:
        return min(self._limits.max_bytes, claim.max_bytes or self._limits.max_bytes)

    def _current(self, run: Run) -> StoredObject:
        """What Storage has under the name. Raises DocumentSupersededError if not this version."""
        claim = run.claim
        stored = self._storage.info(claim.bucket_id, claim.object_name, check=run.check)
        if stored is None or stored.version != claim.storage_version:
            raise DocumentSupersededError
        return stored

    def _download(self, run: Run, path: Path) -> bytes:
        claim = run.claim
        try:
            sha256 = self._storage.download(
                claim.bucket_id,
                claim.object_name,
                path,
                max_bytes=self._max_bytes(claim),
                check=run.check,
            )
        except JobError as error:
            if error.code in _MAYBE_ANOTHER_VERSION:
                self._current(run)
            raise
        # Storage takes the current version of a name at the moment when it answers. A version that
        # was replaced never comes back. So if the job's version is current after the download, it
        # was current before, and the bytes are its own.
        self._current(run)
        return sha256

    def _publish_unchanged(self, claim: Claim, sha256: bytes, pipeline: str) -> bool:
        if (claim.published_sha256, claim.published_pipeline) != (sha256, pipeline):
            return False
        with (
            tracing.step("publish", {"docmill.unchanged": True}),
            self._database.statement() as connection,
        ):
            result = chunk_store.publish_unchanged(
                connection, claim, sha256=sha256, pipeline=pipeline
            )
        _check_published(result)
        return result == "published"

    def _stage(
        self, run: Run, member: Member, chunks: Iterator[Chunk], progress: ProgressReporter
    ) -> tuple[list[Placed], list[SetAside]]:
        claim = run.claim
        stager = Stager(
            database=self._database,
            batcher=self._batchers.batcher(claim.index, is_reindex=claim.kind == "reindex"),
            member=member,
            limits=self._limits.staging,
            run=run,
            progress=progress,
        )
        with stager.open():
            for chunk in chunks:
                stager.place(chunk)
            return stager.finish()

    def _publish(
        self,
        run: Run,
        document: PublishedDocument,
        placed: list[Placed],
        aside: list[SetAside],
        progress: ProgressReporter,
    ) -> None:
        started = time.monotonic()
        run.check()
        counts = {"docmill.chunks": len(placed), "docmill.quarantined": len(aside)}
        try:
            with (
                tracing.step("publish", counts),
                self._database.transaction(statement_timeout=PUBLISH_TIMEOUT) as transaction,
                # A large document takes minutes here. A user who cancels must not wait for it.
                run.interrupting(lambda: cancel_statement(transaction)),
            ):
                result = chunk_store.publish(transaction, run.claim, document, placed, aside)
        except JobError:
            run.check()
            raise
        _check_published(result)
        metrics.record(metrics.PUBLISHED_CHUNKS, len(placed))
        metrics.record(metrics.PUBLISH_SECONDS, time.monotonic() - started)
        log.info(
            "document_published",
            chunks=len(placed),
            quarantined=len(aside),
            seconds=progress.seconds,
        )


class _Reading:
    """Passes on the chunks of a document and collects the facts about the whole document."""

    def __init__(self, extraction: Extraction, progress: ProgressReporter) -> None:
        self._extraction = extraction
        self._progress = progress
        self.unread_pages = 0
        self.unread_page_numbers: list[int] = []
        self.hidden_characters = 0
        self.uncomputed_formulas = 0
        self.first_title: str | None = None

    def chunks(self) -> Iterator[Chunk]:
        """All chunks in reading order."""
        self._progress.report(pages_total=self._extraction.page_count)
        ordinals = count()
        for window in self._extraction.windows():
            self.first_title = self.first_title or window.title
            for chunk in window.chunks:
                yield replace(chunk, ordinal=next(ordinals))
            self._note_unread(window.unread_pages)
            self.hidden_characters += window.hidden_characters
            counted = self.uncomputed_formulas + window.uncomputed_formulas
            self.uncomputed_formulas = min(counted, MAX_FORMULAS_COUNTED)
            self._progress.report(pages_done=window.pages_done)

    def _note_unread(self, pages: Sequence[int]) -> None:
        self.unread_pages += len(pages)
        self.unread_page_numbers += pages[: MAX_UNREAD_NAMED - len(self.unread_page_numbers)]


def _check_published(result: PublishResult) -> None:
    if result == "lost":
        raise LeaseLostError
    if result == "superseded":
        raise DocumentSupersededError
    if result == "cancelled":
        raise CancelledRunError

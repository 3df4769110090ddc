"""One run of one job: download, extract, chunk, embed, stage, publish."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final, TypeVar

from docmill.worker.embedding.batcher import Batcher
from docmill.worker.errors import (
    CancelledRunError,
    DocumentSupersededError,
    JobError,
    LeaseLostError,
)
from docmill.worker.log import get_logger
from docmill.worker.models import Chunk, Claim, Element
from docmill.worker.pipeline.chunking import CHUNKING_VERSION, chunk_elements
from docmill.worker.pipeline.lease import Run
from docmill.worker.pipeline.progress import ProgressReporter
from docmill.worker.pipeline.spool import Spool
from docmill.worker.pipeline.stager import Stager, StagingLimits
from docmill.worker.ports import Extraction, Extractor, ObjectStorage, TokenSplitter
from docmill.worker.store import chunks as chunk_store
from docmill.worker.store.chunks import PublishedDocument, PublishResult
from docmill.worker.store.database import Database, cancel_statement
from docmill.worker.store.windows import WindowStore

log = get_logger(__name__)

T = TypeVar("T")

#: Publishing 20,000 chunks of 3,072 dimensions takes about two minutes (6 ms a row into HNSW).
PUBLISH_TIMEOUT: Final = timedelta(minutes=15)
MAX_TITLE_CHARACTERS: Final = 300
#: So many pages that could not be read are named on the document.
MAX_UNREAD_NAMED: Final = 1000


@dataclass(frozen=True)
class IngestLimits:
    """Bounds on one document."""

    max_bytes: int
    parse_seconds: float  #: for chunking it; reading it has limits of its own
    chunk_tokens: int
    staging: StagingLimits


class Ingest:
    """Brings one document to the version that its job names."""

    def __init__(
        self,
        *,
        database: Database,
        storage: ObjectStorage,
        extractor: Extractor,
        splitter: TokenSplitter,
        batcher: Batcher,
        spool: Spool,
        limits: IngestLimits,
    ) -> None:
        self._database = database
        self._storage = storage
        self._extractor = extractor
        self._splitter = splitter
        self._batcher = batcher
        self._spool = spool
        self._limits = limits

    def run(self, run: Run, progress: ProgressReporter) -> None:
        """Ingest the claimed document. Safe to repeat: what is staged is not embedded again.

        Raises JobError, DocumentSupersededError when Storage holds another version by now, and
        whatever `run.check()` raises when the run must stop.
        """
        turn = run.claim.turn
        with self._spool.file(self._size(run), owner=turn, check=run.check) as path:
            sha256 = self._download(run, path)
            version = self._extractor.version(run.claim.object_name)
            pipeline = f"{version}.{CHUNKING_VERSION}.{self._limits.chunk_tokens}"
            if self._publish_unchanged(run.claim, sha256, pipeline):
                return
            progress.report(stage="extracting")
            kept = WindowStore(self._database, run.claim, sha256=sha256, version=version)
            with self._extractor.open(
                path, file_name=run.claim.object_name, owner=turn, check=run.check, kept=kept
            ) as extraction:
                reading = _Reading(extraction, progress)
                placed = self._stage(run, reading.elements(), progress)
                document = PublishedDocument(
                    sha256=sha256,
                    pipeline=pipeline,
                    title=extraction.title or reading.first_title,
                    mime_type=extraction.mime_type,
                    page_count=extraction.page_count,
                    unread_pages=reading.unread_pages,
                    unread_page_numbers=reading.unread_page_numbers,
                    hidden_characters=reading.hidden_characters,
                )
        progress.report(stage="publishing", chunks_total=len(placed))
        self._publish(run, document, placed)

    def _size(self, run: Run) -> int:
        size = self._stored_size(run)
        if size > self._max_bytes(run.claim):
            raise JobError("document_too_large", f"{size} bytes")
        return size

    def _max_bytes(self, claim: Claim) -> int:
        return min(self._limits.max_bytes, claim.max_bytes or self._limits.max_bytes)

    def _stored_size(self, run: Run) -> int:
        claim = run.claim
        stored = self._storage.info(claim.bucket_id, claim.object_name, check=run.check)
        if stored is None or stored.version != claim.storage_version:
            raise DocumentSupersededError
        return stored.size_bytes

    def _download(self, run: Run, path: Path) -> bytes:
        claim = run.claim
        sha256 = self._storage.download(
            claim.bucket_id,
            claim.object_name,
            path,
            max_bytes=self._max_bytes(claim),
            check=run.check,
        )
        # Storage resolves a name to its current version while it answers: what arrived is this
        # job's version only if that was current before and after.
        self._stored_size(run)
        return sha256

    def _publish_unchanged(self, claim: Claim, sha256: bytes, pipeline: str) -> bool:
        if (claim.published_sha256, claim.published_pipeline) != (sha256, pipeline):
            return False
        with self._database.transaction() as transaction:
            result = chunk_store.publish_unchanged(
                transaction, claim, sha256=sha256, pipeline=pipeline
            )
        _check_published(result)
        return result == "published"

    def _stage(
        self, run: Run, elements: Iterator[Element], progress: ProgressReporter
    ) -> list[tuple[bytes, int | None, int | None]]:
        stager = Stager(
            database=self._database,
            batcher=self._batcher,
            limits=self._limits.staging,
            run=run,
            progress=progress,
        )
        reading = _Stopwatch()
        chunks = chunk_elements(
            reading.timed(elements), self._splitter, max_tokens=self._limits.chunk_tokens
        )
        with stager.open():
            for chunk in self._in_time(chunks, reading):
                stager.place(chunk)
            stager.finish()
        if not stager.placed:
            raise JobError("empty_document")
        return stager.placed

    def _in_time(self, chunks: Iterator[Chunk], reading: "_Stopwatch") -> Iterator[Chunk]:
        """The chunks, as long as making them takes no longer than reading a document may.

        Text that no language has can take a splitter very long. The time in which the elements
        were read meanwhile has bounds of its own.
        """
        making = _Stopwatch()
        for chunk in making.timed(chunks):
            if making.seconds - reading.seconds > self._limits.parse_seconds:
                raise JobError("parse_timeout", "chunking")
            yield chunk

    def _publish(
        self,
        run: Run,
        document: PublishedDocument,
        placed: list[tuple[bytes, int | None, int | None]],
    ) -> None:
        started = time.monotonic()
        run.check()
        try:
            with (
                self._database.transaction(statement_timeout=PUBLISH_TIMEOUT) as transaction,
                # A large document takes minutes here, which nobody who cancels shall wait for.
                run.interrupting(lambda: cancel_statement(transaction)),
            ):
                result = chunk_store.publish(transaction, run.claim, document, placed)
        except JobError:
            run.check()
            raise
        _check_published(result)
        seconds = round(time.monotonic() - started, 3)
        log.info("document_published", chunks=len(placed), publish_seconds=seconds)


class _Stopwatch:
    """How long was waited for what an iterator yields."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def timed(self, items: Iterator[T]) -> Iterator[T]:
        """The items; waiting for each is timed, using it is not."""
        while True:
            started = time.monotonic()
            try:
                item = next(items)
            except StopIteration:
                return
            finally:
                self.seconds += time.monotonic() - started
            yield item


class _Reading:
    """Hands on the elements of a document and notes what is said of it as a whole."""

    def __init__(self, extraction: Extraction, progress: ProgressReporter) -> None:
        self._extraction = extraction
        self._progress = progress
        self.unread_pages = 0
        self.unread_page_numbers: list[int] = []
        self.hidden_characters = 0
        self.first_title: str | None = None

    def elements(self) -> Iterator[Element]:
        """All elements in reading order."""
        self._progress.report(pages_total=self._extraction.page_count)
        for window in self._extraction.windows():
            for element in window.elements:
                self._note_title(element)
                yield element
            self._note_unread(window.unread_pages)
            self.hidden_characters += window.hidden_characters
            self._progress.report(pages_done=window.pages_done)

    def _note_unread(self, pages: Sequence[int]) -> None:
        self.unread_pages += len(pages)
        self.unread_page_numbers += pages[: MAX_UNREAD_NAMED - len(self.unread_page_numbers)]

    def _note_title(self, element: Element) -> None:
        if self.first_title is None and element.category == "Title":
            self.first_title = " ".join(element.text.split())[:MAX_TITLE_CHARACTERS] or None


def _check_published(result: PublishResult) -> None:
    if result == "lost":
        raise LeaseLostError
    if result == "superseded":
        raise DocumentSupersededError
    if result == "cancelled":
        raise CancelledRunError

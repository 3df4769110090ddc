"""Batches of the provider, step by step: made, submitted, answered, staged, cleared.

Each step is written down before the next one, so that whoever finds a batch after a crash knows
what the provider may have of it: see schema/functions/036_bulk.sql and docs/bulk.md.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Final
from uuid import UUID

import psycopg

from docmill.worker.clients.bulk import FINAL_STATUSES, HttpBulk, Line, RemoteBatch
from docmill.worker.errors import JobError
from docmill.worker.log import get_logger
from docmill.worker.providers.base import BulkTerms
from docmill.worker.store import bulk as store
from docmill.worker.store.bulk import PAGE, Answer, Batch
from docmill.worker.store.database import Database
from docmill.worker.store.outage import warn

log = get_logger(__name__)

_ID: Final = "text-"
#: The provider's word for: as much waits there as it takes. It is nobody's fault.
_FULL: Final = "token_limit_exceeded"
#: What our code says of a file or a batch that the provider does not have.
_GONE: Final = "provider_model_missing"
#: Codes of a provider that takes no batch of these texts, however often it is asked.
_REFUSALS: Final = frozenset({"embedding_rejected", _GONE, "provider_invalid_response"})


@dataclass(frozen=True)
class BulkLimits:
    """When batches are made, and how large they get."""

    wait: timedelta  #: of the first text, for others
    pause: timedelta  #: after a batch came to nothing
    texts: int
    spool_dir: Path


class _TakenOverError(Exception):
    """Another worker is at the batch."""


class Bulk:
    """The provider's batches, for one worker process."""

    def __init__(
        self,
        database: Database,
        *,
        worker_id: str,
        providers: Mapping[str, BulkTerms],
        connect: Callable[[Batch], HttpBulk],
        usd_per_million_tokens: Callable[[str, str], float | None],
        limits: BulkLimits,
        on_ready: Callable[[], None],
    ) -> None:
        """`providers`: those that this worker has the keys of. `on_ready`: jobs may go on."""
        self._database = database
        self._worker_id = worker_id
        self._providers = providers
        self._connect = connect
        self._price = usd_per_million_tokens
        self._limits = limits
        self._on_ready = on_ready
        self._busy = threading.Lock()

    def run(self) -> None:
        """Bring every batch as far as it goes now. Safe to call twice: the second call returns."""
        if not self._providers or not self._busy.acquire(blocking=False):
            return
        try:
            made = self._made()
            seen: set[UUID] = set()
            while (batch := self._claim(seen)) is not None:
                seen.add(batch.id)
                self._attend(batch, is_new=batch.id in made)
            self._wake()
        finally:
            self._busy.release()

    def _made(self) -> set[UUID]:
        made: set[UUID] = set()
        try:
            made.update(self._make())
        except (JobError, psycopg.Error) as error:
            # What is paid for already must be fetched nevertheless.
            warn(log, "bulk_batches_not_made", error)
        return made

    def _make(self) -> Iterator[UUID]:
        # Of several providers, the strictest limits: they differ little.
        terms = self._providers.values()
        while True:
            with self._database.transaction() as transaction:
                made = store.make_batch(
                    transaction,
                    self._providers,
                    wait=self._limits.wait,
                    pause=self._limits.pause,
                    most_texts=min(self._limits.texts, *(one.texts for one in terms)),
                    most_bytes=min(one.file_bytes for one in terms),
                )
            if made is None:
                return
            yield made

    def _claim(self, seen: set[UUID]) -> Batch | None:
        with self._database.transaction() as transaction:
            return store.claim_batch(transaction, self._worker_id, self._providers, seen)

    def _wake(self) -> None:
        woken = 0
        while True:
            with self._database.transaction() as transaction:
                count = store.wake(transaction)
            woken += count
            if not count:
                break
        if woken:
            log.info("bulk_jobs_woken", count=woken)
            self._on_ready()

    def _attend(self, batch: Batch, *, is_new: bool) -> None:
        code: str | None = None
        try:
            with closing(self._connect(batch)) as client:
                _Steps(self, client, batch).go(is_new=is_new)
        except JobError as error:
            # The next round goes on from what is written down.
            code = error.code
            warn(log, "bulk_batch_waits", error, batch=str(batch.id), error_code=code)
        except _TakenOverError:
            log.warning("bulk_batch_taken_over", batch=str(batch.id))
        except Exception as error:  # whatever it is, the other batches go on
            code = "internal_error"
            log.warning("bulk_batch_waits", batch=str(batch.id), error=type(error).__name__)
        with self._database.transaction() as transaction:
            store.leave(transaction, batch.id, self._worker_id, code)

    # What the steps of a batch write down.

    def note(self, batch: Batch, **facts: object) -> Batch:
        """Write facts of a batch; the batch with them."""
        with self._database.transaction() as transaction:
            if not store.note(transaction, batch.id, self._worker_id, **facts):
                raise _TakenOverError
        return replace(batch, **facts)  # type: ignore[arg-type]  # by the names of its fields

    def end(self, batch: Batch, code: str | None, *, counted: bool) -> Batch:
        """Expect nothing more of a batch."""
        with self._database.transaction() as transaction:
            if not store.end(transaction, batch.id, self._worker_id, code, counted=counted):
                raise _TakenOverError
        log.info("bulk_batch_ended", batch=str(batch.id), error_code=code)
        return replace(batch, state="ended")

    def collect(self, batch: Batch, lines: tuple[int, int], answers: Sequence[Answer]) -> int:
        """Stage what a page of lines says; how many embeddings."""
        price = self._price(batch.provider, batch.model) or 0
        with self._database.transaction() as transaction:
            staged = store.collect(
                transaction,
                (batch.id, self._worker_id),
                lines,
                answers,
                usd_a_token=Decimal(str(price)) / 1_000_000,
            )
        if staged is None:
            raise _TakenOverError
        return staged

    def texts(self, batch: Batch) -> Iterator[tuple[int, str]]:
        """The texts of a batch that are still wanted, in order."""
        after = 0
        while True:
            with self._database.transaction() as transaction:
                page = store.texts_of(transaction, batch.id, after)
            yield from page
            if not page:
                return
            after = page[-1][0]

    def file(self) -> IO[bytes]:
        """A file without a name, which ends with this process."""
        return TemporaryFile(dir=self._limits.spool_dir)


class _Steps:
    """One batch, from where it stands on."""

    def __init__(self, bulk: Bulk, client: HttpBulk, batch: Batch) -> None:
        self._bulk = bulk
        self._client = client
        self._batch = batch

    def go(self, *, is_new: bool) -> None:
        """Take every step that can be taken now. `is_new`: nobody has been at it before."""
        if self._batch.state == "made":
            self._submit(is_new=is_new)
        if self._batch.state == "submitted":
            self._look()
        if self._batch.state == "collecting":
            self._collect()
        if self._batch.state == "ended":
            self._clear()

    @property
    def _file_name(self) -> str:
        return f"docmill-{self._batch.id}.jsonl"

    def _submit(self, *, is_new: bool) -> None:
        batch = self._batch
        if batch.submitting_at is not None:
            # The provider may have it: the answer was lost, or the worker with it.
            found = self._client.find(str(batch.id), since=batch.created_at)
            if found is not None:
                log.warning("bulk_batch_found_again", batch=str(batch.id))
                self._submitted(found)
                return
        if not batch.is_wanted:
            self._batch = self._bulk.end(batch, None, counted=False)
            return
        try:
            file_id = self._upload(is_new=is_new)
            self._batch = self._bulk.note(self._batch, submitting_at=datetime.now(UTC))
            remote = self._client.create(file_id, str(batch.id))
        except JobError as error:
            if error.code not in _REFUSALS or self._may_be_there(error):
                raise
            self._batch = self._bulk.end(self._batch, error.code, counted=True)
            return
        self._submitted(remote)

    def _may_be_there(self, error: JobError) -> bool:
        """Whether the provider may have the batch although its answer makes no sense."""
        is_asked = self._batch.submitting_at is not None
        return is_asked and error.code == "provider_invalid_response"

    def _upload(self, *, is_new: bool) -> str:
        if not is_new:
            # Of a try that was interrupted: it may hold what was dropped since.
            for left in self._client.files_named(self._file_name):
                self._client.delete(left)
        with self._bulk.file() as file:
            for text_id, text in self._bulk.texts(self._batch):
                file.write(self._client.line(f"{_ID}{text_id}", text))
            file.seek(0)
            file_id = self._client.upload(self._file_name, file)
        self._batch = self._bulk.note(self._batch, input_file_id=file_id)
        return file_id

    def _submitted(self, remote: RemoteBatch) -> None:
        self._batch = self._bulk.note(
            self._batch, state="submitted", remote_id=remote.id, remote_status=remote.status
        )
        log.info("bulk_batch_submitted", batch=str(self._batch.id), remote_id=remote.id)

    def _look(self) -> None:
        assert self._batch.remote_id is not None
        try:
            remote = self._client.get(self._batch.remote_id)
            if not self._batch.is_wanted and remote.status in ("validating", "in_progress"):
                remote = self._client.cancel(remote.id)
        except JobError as error:
            if error.code != _GONE:
                raise
            self._batch = self._bulk.end(self._batch, "missing", counted=True)
            return
        if remote.status == "failed":
            code = remote.error_code or remote.status
            self._batch = self._bulk.end(self._batch, code, counted=code != _FULL)
        elif remote.status in FINAL_STATUSES:
            self._batch = self._bulk.note(
                self._batch,
                state="collecting",
                remote_status=remote.status,
                output_file_id=remote.output_file_id,
                error_file_id=remote.error_file_id,
            )
        else:
            self._batch = self._bulk.note(self._batch, remote_status=remote.status)

    def _collect(self) -> None:
        staged = 0
        with self._bulk.file() as file:
            for file_id in (self._batch.output_file_id, self._batch.error_file_id):
                if file_id is not None:
                    self._download(file_id, file)
            file.seek(0)
            for lines, answers in _pages(self._client.lines(file), self._batch.read_lines):
                staged += self._bulk.collect(self._batch, lines, answers)
        log.info("bulk_batch_collected", batch=str(self._batch.id), embeddings=staged)
        self._batch = self._bulk.end(self._batch, None, counted=True)

    def _download(self, file_id: str, file: IO[bytes]) -> None:
        try:
            self._client.download(file_id, file)
        except JobError as error:
            if error.code != _GONE:
                raise
            # Its texts have no answer, and are sent again.
            log.warning("bulk_answer_gone", batch=str(self._batch.id))
        file.write(b"\n")

    def _clear(self) -> None:
        batch = self._batch
        files = {batch.input_file_id, batch.output_file_id, batch.error_file_id}
        if batch.input_file_id is None:
            files.update(self._client.files_named(self._file_name))
        for file_id in files - {None}:
            assert file_id is not None
            self._client.delete(file_id)
        self._batch = self._bulk.note(batch, cleared_at=datetime.now(UTC))


def _pages(
    said: Iterable[Line | None], read_lines: int
) -> Iterator[tuple[tuple[int, int], Sequence[Answer]]]:
    """Answers in pages, each with its lines, from the first line that was not dealt with.

    A line without sense, and a second one for the same text, is passed over.
    """
    seen: set[int] = set()
    page: list[Answer] = []
    first = read_lines
    number = 0
    for number, line in enumerate(said, start=1):
        answer = None if line is None else _answer(line)
        if answer is not None and answer.text_id not in seen:
            seen.add(answer.text_id)
            if number > read_lines:
                page.append(answer)
        if number - first >= PAGE:
            yield (first, number), page
            first, page = number, []
    if number > first:
        yield (first, number), page


def _answer(line: Line) -> Answer | None:
    digits = line.custom_id.removeprefix(_ID)
    # A bigint has so many digits at most.
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 18):
        return None
    return Answer(int(digits), line.outcome, line.vector, line.tokens)

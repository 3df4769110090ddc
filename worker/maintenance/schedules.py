"""Work that runs at set times. The row of a schedule has its next time; a run claims the row."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID
from zoneinfo import ZoneInfo

import psycopg

from docmill.worker.cron import next_due, read_cron
from docmill.worker.errors import JobError, LeaseLostError
from docmill.worker.log import get_logger
from docmill.worker.maintenance import samples, sweeps
from docmill.worker.maintenance.sweeps import Transaction
from docmill.worker.queue import Dispatcher
from docmill.worker.settings.processes import WorkerSettings
from docmill.worker.store import maintenance, schedules
from docmill.worker.store.database import Connection, Database
from docmill.worker.store.schedules import Planned, RunOfSchedule

log = get_logger(__name__)

#: A run that begins no transaction for this long has vanished, and another run may begin.
LEASE: Final = timedelta(minutes=5)


@dataclass(frozen=True)
class Outcome:
    """What a run did."""

    documents: int  #: documents that differed, were removed, or will be done again
    jobs: Sequence[UUID] = ()  #: jobs that it made: their cost is the cost of the run


#: The work of a schedule. Each new transaction renews the lease of the run. If another worker has
#: taken over, it raises LeaseLostError.
Work = Callable[[Transaction, WorkerSettings], Outcome]


def reconcile(transaction: Transaction, _settings: WorkerSettings) -> Outcome:
    """Compare everything in Storage with documents."""
    found = sum(1 for _ in sweeps.reconcile(transaction, newest=None, repair=True))
    with transaction() as connection:
        maintenance.orphaned_chunks(connection, repair=True)
        maintenance.note_full_reconcile(connection)
    return Outcome(found)


def prune(transaction: Transaction, settings: WorkerSettings) -> Outcome:
    """Remove finished jobs, staged chunks, workers and index versions that are no longer needed."""
    keep_jobs = timedelta(days=settings.keep_jobs_days)
    keep_staged = timedelta(days=settings.keep_staged_days)
    pruned = None
    while pruned != 0:
        with transaction() as connection:
            pruned = maintenance.prune(connection, keep_jobs=keep_jobs, keep_staged=keep_staged)
        if pruned:
            log.info("rows_pruned", count=pruned)
    _until_none_is_left(transaction, maintenance.end_due_versions)
    return Outcome(0)


def _until_none_is_left(transaction: Transaction, step: Callable[[Connection], int]) -> None:
    """Call it until it returns 0, each time in a transaction of its own."""
    while True:
        with transaction() as connection:
            if not step(connection):
                return


def retry_failed(transaction: Transaction, settings: WorkerSettings) -> Outcome:
    """Try documents again that failed because of a problem that may be over."""
    with transaction() as connection:
        jobs = schedules.retry_failed(
            connection, settings.retry_failed_codes, settings.retry_failed_documents
        )
    return Outcome(len(jobs), jobs)


def reindex_outdated(transaction: Transaction, settings: WorkerSettings) -> Outcome:
    """Read documents again that this release reads better, within the limits of a run."""
    with transaction() as connection:
        active = maintenance.active_index_version(connection)
    if active is None:
        return Outcome(0)
    price = settings.usd_per_million_tokens(active.provider, active.model)
    pages = sweeps.read_again(
        transaction,
        {"outdated": True},
        limit=settings.reindex_outdated_documents,
        max_tokens=_tokens_for(settings.reindex_outdated_dollars, price),
    )
    jobs = [job for page in pages for job in page]
    return Outcome(len(jobs), jobs)


def _tokens_for(dollars: float, usd_per_million_tokens: float) -> int | None:
    """How many tokens this buys; None means no limit, because they cost nothing."""
    return int(dollars / usd_per_million_tokens * 1e6) if usd_per_million_tokens else None


def sample_recall(transaction: Transaction, _settings: WorkerSettings) -> Outcome:
    """Compare a few searches with all passages of their owners."""
    samples.sample_recall(transaction)
    return Outcome(0)


def sample_bloat(transaction: Transaction, _settings: WorkerSettings) -> Outcome:
    """Look for tables and indexes that take too much room."""
    samples.sample_bloat(transaction)
    return Outcome(0)


#: The work of each schedule, by the name in its row.
WORKS: Final[Mapping[str, Work]] = {
    "reconcile": reconcile,
    "prune": prune,
    "sample_recall": sample_recall,
    "sample_bloat": sample_bloat,
    "retry_failed": retry_failed,
    "reindex_outdated": reindex_outdated,
}


def expressions(settings: WorkerSettings) -> dict[str, str | None]:
    """When each of WORKS runs; None: never."""
    said = {
        "reconcile": settings.reconcile_all,
        "prune": settings.prune,
        "sample_recall": settings.sample_recall,
        "sample_bloat": settings.sample_bloat,
        "retry_failed": settings.retry_failed,
        "reindex_outdated": settings.reindex_outdated,
    }
    return {name: said[name] for name in WORKS}


class Schedules:
    """Runs the schedules that are due. Any number of workers may do so at once."""

    def __init__(
        self, database: Database, dispatcher: Dispatcher, settings: WorkerSettings
    ) -> None:
        self._database = database
        self._dispatcher = dispatcher
        self._settings = settings
        self._zone = ZoneInfo(settings.schedule_time_zone)
        self._crons = {
            name: expression and read_cron(expression)
            for name, expression in expressions(settings).items()
        }

    def run_due(self) -> None:
        """Run every schedule that is due, one after the other."""
        for name in self._due():
            run = self._claim(name)
            if run is not None:
                self._run(run)
        with self._database.transaction() as connection:
            maintenance.note_tick(connection, "schedules")

    def _due(self) -> list[str]:
        with self._database.transaction() as connection:
            now = schedules.now(connection)
            planned = [self._planned(name, now) for name in self._crons]
            return schedules.put(connection, planned, time_zone=self._zone.key)

    def _planned(self, name: str, now: datetime) -> Planned:
        cron = self._crons[name]
        if not cron:
            return Planned(name, None, None)
        return Planned(name, cron.expression, next_due(cron, self._zone, now))

    def _claim(self, name: str) -> RunOfSchedule | None:
        with self._database.transaction() as connection:
            planned = self._planned(name, schedules.now(connection))
            if planned.next_due_at is None:
                return None
            return schedules.claim(connection, name, next_due_at=planned.next_due_at, lease=LEASE)

    def _run(self, run: RunOfSchedule) -> None:
        log.info("schedule_started", schedule=run.name)
        try:
            outcome = WORKS[run.name](lambda: self._held(run), self._settings)
        except LeaseLostError:
            log.warning("schedule_lost", schedule=run.name)
            return
        except Exception as error:
            self._note_failure(run, error)
            raise
        with self._database.transaction() as connection:
            schedules.finish(connection, run, documents=outcome.documents, jobs=outcome.jobs)
        log.info("schedule_finished", schedule=run.name, documents=outcome.documents)
        if outcome.documents:
            self._dispatcher.dispatch()

    @contextmanager
    def _held(self, run: RunOfSchedule) -> Iterator[Connection]:
        with self._database.transaction() as connection:
            if not schedules.renew(connection, run, lease=LEASE):
                raise LeaseLostError
            yield connection

    def _note_failure(self, run: RunOfSchedule, error: Exception) -> None:
        code = error.code if isinstance(error, JobError) else type(error).__name__
        # If this cannot be written, the lease of the run expires.
        with suppress(JobError, psycopg.Error), self._database.transaction() as connection:
            schedules.finish(connection, run, error=code)

"""What beat asks for. Every function is safe to run twice, and at once with itself."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from worker.log import get_logger
from worker.queue import Dispatcher
from worker.store import jobs, maintenance
from worker.store.database import Database

log = get_logger(__name__)

#: How far back the frequent reconcile looks: well beyond its period, so that an outage of a few
#: rounds leaves no gap before the daily one.
NEWEST = timedelta(hours=1)


class Maintenance:
    """The scheduled work of an installation."""

    def __init__(
        self,
        database: Database,
        dispatcher: Dispatcher,
        *,
        keep_jobs: timedelta,
        keep_staged: timedelta,
    ) -> None:
        self._database = database
        self._dispatcher = dispatcher
        self._keep_jobs = keep_jobs
        self._keep_staged = keep_staged

    def dispatch(self) -> None:
        """Settle pending events, let old jobs age, send hints for what is ready."""
        with self._database.transaction() as transaction:
            drained = maintenance.drain_pending_events(transaction)
        if drained.settled or drained.failed:
            log.info("pending_events_drained", settled=drained.settled, failed=drained.failed)
        with self._database.transaction() as transaction:
            jobs.age(transaction)
        self._dispatcher.dispatch()

    def rescue(self) -> None:
        """End the leases of vanished workers and send hints for their jobs."""
        with self._database.transaction() as transaction:
            rescued = jobs.rescue(transaction)
        if rescued:
            log.warning("jobs_rescued", count=rescued)
            self._dispatcher.dispatch()

    def reconcile_newest(self) -> None:
        """Compare what was written to Storage lately with documents."""
        self._reconcile(since=datetime.now(UTC) - NEWEST)

    def reconcile_all(self) -> None:
        """Compare all of Storage with all documents."""
        self._reconcile(since=None)

    def _reconcile(self, *, since: datetime | None) -> None:
        after: UUID | None = None
        repaired = 0
        while True:
            with self._database.transaction() as transaction:
                page, after = maintenance.reconcile_page(transaction, after=after, since=since)
            repaired += page
            if after is None:
                break
        if repaired:
            log.warning("documents_reconciled", count=repaired)
            self._dispatcher.dispatch()

    def prune(self) -> None:
        """Remove finished jobs, staged chunks and workers that nobody needs any more."""
        pruned = None
        while pruned != 0:
            with self._database.transaction() as transaction:
                pruned = maintenance.prune(
                    transaction, keep_jobs=self._keep_jobs, keep_staged=self._keep_staged
                )
            if pruned:
                log.info("rows_pruned", count=pruned)

"""What beat asks for. Every function is safe to run twice, and at once with itself."""

from collections.abc import Callable
from datetime import timedelta

from docmill.worker.log import get_logger
from docmill.worker.maintenance import sweeps
from docmill.worker.queue import Dispatcher
from docmill.worker.store import jobs, maintenance
from docmill.worker.store.database import Database
from docmill.worker.store.maintenance import WantedProbe

log = get_logger(__name__)

#: How far back the frequent reconcile looks: well beyond its period, so that an outage of a few
#: rounds leaves no gap before the daily one.
NEWEST = timedelta(hours=1)


#: Whether a dependency serves a request of our own. Never raises.
Probe = Callable[[WantedProbe], bool]


class Maintenance:
    """The scheduled work of an installation."""

    def __init__(
        self,
        database: Database,
        dispatcher: Dispatcher,
        *,
        probe: Probe,
        keep_jobs: timedelta,
        keep_staged: timedelta,
    ) -> None:
        self._database = database
        self._dispatcher = dispatcher
        self._probe = probe
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
        """End the leases of vanished workers and send hints for their jobs.

        Tries what jobs have met without success for long, so that each comes to an end.
        """
        with self._database.transaction() as transaction:
            ended = jobs.end_stalled_sessions(transaction)
        if ended:
            log.warning("stalled_sessions_ended", count=ended)
        with self._database.transaction() as transaction:
            rescued = jobs.rescue(transaction)
        if rescued:
            log.warning("jobs_rescued", count=rescued)
            self._dispatcher.dispatch()
        self._try_dependencies()

    def _try_dependencies(self) -> None:
        # Last, because it may take as long as a request to a provider.
        with self._database.transaction() as transaction:
            wanted = maintenance.probes_wanted(transaction)
        for one in wanted:
            served = self._probe(one)
            log.info("dependency_tried", dependency=one.dependency, served=served)
            with self._database.transaction() as transaction:
                maintenance.note_probe(transaction, one.dependency, served=served)

    def reconcile(self) -> None:
        """Compare what was written to Storage lately with documents; once a day, everything.

        Finishes what `docmill pause` and `docmill resume` began, should they have been interrupted.
        """
        changed = sum(sweeps.apply_pauses(self._database.transaction))
        with self._database.transaction() as transaction:
            is_full = maintenance.full_reconcile_due(transaction)
        newest = None if is_full else NEWEST
        found = list(sweeps.reconcile(self._database.transaction, newest=newest, repair=True))
        if is_full:
            with self._database.transaction() as transaction:
                maintenance.orphaned_chunks(transaction, repair=True)
                maintenance.note_full_reconcile(transaction)
        if found or changed:
            log.warning("documents_reconciled", differences=len(found), pauses=changed)
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

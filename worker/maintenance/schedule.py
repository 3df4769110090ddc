"""The tasks that beat starts. Each is safe to run twice, and safe to run twice at once."""

import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Final

from docmill.worker.log import get_logger
from docmill.worker.maintenance import sweeps
from docmill.worker.queue import Dispatcher
from docmill.worker.store import jobs, maintenance
from docmill.worker.store.database import Database
from docmill.worker.store.maintenance import ChunkCopy, WantedProbe

log = get_logger(__name__)

#: How far back the frequent reconcile looks. This is much longer than its period, so an outage of a
#: few rounds leaves no gap before the next full reconcile.
NEWEST = timedelta(hours=1)

#: How long one dispatch removes the contents of withdrawn documents, and how long it writes the
#: sketches, then the words, then the titles that chunks of an older release lack. Together this is
#: about the time between two dispatches.
DRAIN_SECONDS = 3.0
FILL_SECONDS = 1.0
COPIES: Final[Sequence[ChunkCopy]] = ("sketches", "lexemes", "titles")


#: Whether a dependency answers a request that docmill makes to test it. Never raises.
Probe = Callable[[WantedProbe], bool]


def _sum_for(seconds: float, parts: Iterator[int]) -> int:
    """Do part after part, and begin none after this time; the sum of their results."""
    until = time.monotonic() + seconds
    total = 0
    for part in parts:
        total += part
        if time.monotonic() > until:
            break
    return total


class Maintenance:
    """The tasks that run all the time."""

    def __init__(
        self,
        database: Database,
        dispatcher: Dispatcher,
        *,
        probe: Probe,
        keep_embeddings: timedelta,
    ) -> None:
        """`keep_embeddings`: how long those of deleted files are kept for their owners."""
        self._keep_embeddings = keep_embeddings
        self._database = database
        self._dispatcher = dispatcher
        self._probe = probe

    def begin(self, work: str, period: timedelta | None) -> bool:
        """Whether a work is due: a period has passed since a worker began it last.

        The database decides, because each beat counts from its own start. A work that fails is due
        again after its period, like one that is done.
        """
        with self._database.transaction() as transaction:
            return maintenance.begin_work(transaction, work, period)

    def dispatch(self) -> None:
        """Settle pending events, let old jobs age, send hints for what is ready.

        First makes jobs for the documents that a version which is being filled still lacks.

        Then settles what owners have spent at the same time. At the end removes contents of
        withdrawn documents, for DRAIN_SECONDS, and adds the sketches and words that chunks of an
        older release lack, for FILL_SECONDS each.
        """
        with self._database.transaction() as transaction:
            drained = maintenance.drain_pending_events(transaction)
        if drained.settled or drained.failed:
            log.info("pending_events_drained", settled=drained.settled, failed=drained.failed)
        with self._database.transaction() as transaction:
            jobs.age(transaction)
        with self._database.transaction() as transaction:
            made = maintenance.fill_index_versions(transaction)
        if made:
            log.info("reindex_jobs_made", count=made)
        self._dispatcher.dispatch()
        with self._database.transaction() as transaction:
            maintenance.settle_spend(transaction)
        self._clear_and_fill()
        self._note("dispatch")

    def _clear_and_fill(self) -> None:
        # This comes last, because jobs are more urgent. The rest waits for the next dispatch.
        removed = _sum_for(
            DRAIN_SECONDS,
            sweeps.drain_withdrawn(
                self._database.transaction, keep_embeddings=self._keep_embeddings
            ),
        )
        if removed:
            log.info("withdrawn_drained", rows=removed)
        for copy in COPIES:
            filled = _sum_for(FILL_SECONDS, sweeps.fill_chunks(self._database.transaction, copy))
            if filled:
                log.info("chunks_filled", copy=copy, count=filled)

    def _note(self, work: str) -> None:
        # Only a task that was done to its end leaves a tick: a task that fails each time counts as
        # stopped.
        with self._database.transaction() as transaction:
            maintenance.note_tick(transaction, work)

    def rescue(self) -> None:
        """End the leases of vanished workers and send hints for their jobs.

        Also tests dependencies with which jobs have failed for long, so that each job comes to an
        end.
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
        self._note("rescue")
        self._try_dependencies()

    def _try_dependencies(self) -> None:
        # This comes last, because it may take as long as a request to a provider.
        with self._database.transaction() as transaction:
            wanted = maintenance.probes_wanted(transaction)
        for one in wanted:
            served = self._probe(one)
            log.info("dependency_tried", dependency=one.dependency, served=served)
            with self._database.transaction() as transaction:
                maintenance.note_probe(transaction, one.dependency, served=served)

    def reconcile(self) -> None:
        """Compare files that were lately written to Storage with documents.

        Also completes `docmill pause`, `docmill resume` and `docmill budget`, in case they were
        interrupted.
        """
        changed = sum(sweeps.apply_pauses(self._database.transaction))
        # They are counted one by one: after a long outage every object of the project may differ.
        found = sum(
            1 for _ in sweeps.reconcile(self._database.transaction, newest=NEWEST, repair=True)
        )
        if found or changed:
            log.warning("documents_reconciled", differences=found, pauses=changed)
            self._dispatcher.dispatch()
        self._note("reconcile")

"""Leases of this process: renew them together, stop runs that must stop, give stray leases back.

One thread does this on its own database connection, so a heartbeat never waits for a busy pool or a
long publish.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from typing import Final, Literal
from uuid import UUID

import psycopg

from docmill.worker.errors import CancelledRunError, DrainError, JobError, LeaseLostError
from docmill.worker.log import get_logger
from docmill.worker.models import Claim
from docmill.worker.store import jobs
from docmill.worker.store.database import Connection
from docmill.worker.store.jobs import RunKey, WorkerState
from docmill.worker.store.outage import connection_failure, is_unavailable, outage, warn

log = get_logger(__name__)

#: While any job runs, the database is asked this often whether a run must stop.
STOP_POLL_SECONDS: Final = 1.0

StopReason = Literal["lost", "cancelled", "drain"]

_STOP_ERRORS: Final = {
    "lost": LeaseLostError,
    "cancelled": CancelledRunError,
    "drain": DrainError,
}


@dataclass(eq=False)
class Run:
    """One claimed job of this process, until it ends."""

    claim: Claim
    valid_until: float  #: monotonic time; afterwards another worker may have the lease
    stop_reason: StopReason | None = None
    _interrupt: Callable[[], None] | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def key(self) -> RunKey:
        """Job and token of the lease."""
        return self.claim.job_id, self.claim.token

    def check(self) -> None:
        """Raise if the run must stop; otherwise the lease still holds.

        Raises LeaseLostError, CancelledRunError or DrainError. A process that could not renew in
        time stops here by its own clock: it may have been suspended or cut off from the database.
        """
        if time.monotonic() > self.valid_until:
            raise LeaseLostError
        if self.stop_reason is not None:
            raise _STOP_ERRORS[self.stop_reason]

    def stop(self, reason: StopReason) -> None:
        """Make the run stop at its next check, and end at once what it waits for.

        A draining worker lets work that is under way finish. Only a run whose work is useless is
        interrupted.
        """
        with self._lock:
            self.stop_reason = reason
            if self._interrupt is not None and reason != "drain":
                self._interrupt()

    @contextmanager
    def interrupting(self, interrupt: Callable[[], None]) -> Iterator[None]:
        """While this is open, `interrupt` is called from another thread when the run must stop.

        It must not wait for long: other runs learn it after this one.
        """
        self._interrupt = interrupt
        try:
            yield
        finally:
            with self._lock:
                self._interrupt = None


def _release(connection: Connection, run: RunKey) -> None:
    jobs.release(connection, run, code=None, hold_reason=None, retry_in=timedelta())


class LeaseKeeper:
    """Renews the leases of this process's runs and tells them when to stop."""

    def __init__(
        self,
        connect: Callable[[], Connection],
        worker: WorkerState,
        *,
        lease_for: timedelta,
        on_alive: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_alive` is called about once a second while the database takes the heartbeats."""
        self._connect = connect
        self._worker = worker
        self._lease_seconds = lease_for.total_seconds()
        self._on_alive = on_alive
        self._lock = threading.Lock()
        self._runs: set[Run] = set()
        self._claiming: list[UUID] = []
        self._wake = threading.Event()
        self._closing = False
        self._draining = False
        self._connection: Connection | None = None
        self._thread = threading.Thread(target=self._loop, name="lease-keeper", daemon=True)

    @property
    def worker_id(self) -> str:
        """Name of this process in the tables of leases and workers."""
        return self._worker.worker_id

    def start(self) -> None:
        """Announce this worker and begin to renew."""
        self._thread.start()

    @contextmanager
    def hold(self, job_id: UUID, claim: Callable[[], Claim | None]) -> Iterator[Run | None]:
        """Claim a job and keep its lease alive; None if it cannot be claimed.

        The lease of a job that this process is just claiming is no stray lease, even if it is seen
        before `claim` returns. Two threads may claim a job at once: one of them gets None.
        """
        with self._lock:
            self._claiming.append(job_id)
        try:
            run = self._claimed(claim)
        finally:
            with self._lock:
                self._claiming.remove(job_id)
        try:
            yield run
        finally:
            if run is not None:
                with self._lock:
                    self._runs.discard(run)

    def _claimed(self, claim: Callable[[], Claim | None]) -> Run | None:
        valid_until = time.monotonic() + self._lease_seconds
        claimed = claim()
        if claimed is None:
            return None
        run = Run(claimed, valid_until)
        with self._lock:
            if self._draining:
                run.stop_reason = "drain"
            self._runs.add(run)
        return run

    def drain(self) -> None:
        """Ask every run to stop at its next check, and take no more jobs.

        Safe in a signal handler: sets flags only. Repeatable.
        """
        self._draining = True
        for run in tuple(self._runs):
            run.stop_reason = run.stop_reason or "drain"
        self._wake.set()

    def held(self) -> list[Run]:
        """The runs that have not ended."""
        with self._lock:
            return list(self._runs)

    def close(self) -> None:
        """Stop renewing; remaining leases expire by themselves."""
        self._closing = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(self._lease_seconds)

    def _loop(self) -> None:
        next_renewal = 0.0
        alive = False
        while not self._closing:
            self._wake.clear()
            now = time.monotonic()
            if now >= next_renewal or self._draining != self._worker.draining:
                alive, complete = self._renew(now)
                next_renewal = now + (self._lease_seconds / 4 if complete else 1.0)
            self._poll_stop_flags()
            if alive:
                self._on_alive()
            self._wake.wait(max(0.0, min(STOP_POLL_SECONDS, next_renewal - time.monotonic())))
        self._ask(lambda connection: jobs.forget_worker(connection, self.worker_id))
        self._disconnect()

    def _renew(self, now: float) -> tuple[bool, bool]:
        # Whether the database accepted the heartbeat, and whether it renewed every lease.
        worker = replace(self._worker, draining=self._draining)
        runs = self.held()
        renewed: set[RunKey] = set()
        astray: list[RunKey] = []

        def renew(connection: Connection) -> None:
            found = jobs.renew_leases(
                connection,
                worker,
                [run.key for run in runs],
                lease_for=timedelta(seconds=self._lease_seconds),
            )
            renewed.update(found[0])
            astray.extend(found[1])

        if not self._ask(renew):
            return False, False
        self._worker = worker
        for run in runs:
            if run.key in renewed:
                run.valid_until = now + self._lease_seconds
        self._give_back(astray)
        return True, len(renewed) == len(runs)

    def _give_back(self, astray: list[RunKey]) -> None:
        # Leases of this process that none of its runs has: see renew_leases. The runs are listed
        # after the leases were seen, so every run that such a lease may belong to is known here.
        with self._lock:
            runs = {run.key for run in self._runs}
            claiming = set(self._claiming)
        for key in astray:
            if key not in runs and key[0] not in claiming:
                log.warning("lease_given_back", job_id=str(key[0]))
                self._ask(partial(_release, run=key))

    def _poll_stop_flags(self) -> None:
        runs = {run.claim.job_id: run for run in self.held() if run.stop_reason != "lost"}
        if not runs:
            return
        keys = [run.key for run in runs.values()]
        stops: list[tuple[Run, StopReason]] = []

        def ask(connection: Connection) -> None:
            for job_id, reason in jobs.stop_flags(connection, keys).items():
                stops.append((runs[job_id], reason))

        self._ask(ask)
        for run, reason in stops:
            run.stop(reason)

    def _ask(self, question: Callable[[Connection], None]) -> bool:
        # False: the database cannot be reached. Leases stay valid until they expire, and runs go on
        # until then: each run notices by its own clock.
        try:
            if self._connection is None or self._connection.closed:
                self._connection = self._connect()
            question(self._connection)
        except (psycopg.Error, JobError) as error:
            if is_unavailable(error) and isinstance(error, psycopg.Error):
                outage.failed(connection_failure(error))
            warn(log, "lease_keeper_failed", error)
            self._disconnect()
            return False
        outage.answered()
        return True

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

"""Hints: messages that carry a job id and may be lost, sent twice or late.

Flower also shows the document's name. It is in the headers, and docmill never reads it there.
"""

import threading
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Final

import psycopg
from celery import Celery
from kombu.exceptions import OperationalError

from docmill.worker.errors import JobError
from docmill.worker.log import get_logger
from docmill.worker.store import jobs
from docmill.worker.store.database import Database
from docmill.worker.store.jobs import ReadyJob
from docmill.worker.store.outage import warn

log = get_logger(__name__)

RUN_JOB: Final = "docmill.run_job"
JOBS_QUEUE: Final = "ingest"
ISOLATED_QUEUE: Final = "isolated"
MAINTENANCE_QUEUE: Final = "maintenance"


def job_queues(providers: Sequence[str], *, isolated: bool) -> list[str]:
    """The queues that a worker listens to: see queue_of in schema/functions."""
    common = ISOLATED_QUEUE if isolated else JOBS_QUEUE
    return [common, *(f"{common}.{provider}" for provider in providers)]


#: A name may have a thousand characters; only this many at the end of each part are shown.
_SHOWN_CHARACTERS: Final = 200


def shown_document(job: ReadyJob) -> str:
    """The keyword arguments that Flower shows: a dict, which its search looks into.

    The part that differs between documents comes first, because Flower shows only the beginning.
    """
    folder, _, name = f"{job.bucket_id}/{job.object_name}".rpartition("/")
    return repr({"document": name[-_SHOWN_CHARACTERS:], "folder": folder[-_SHOWN_CHARACTERS:]})


class Dispatcher:
    """Sends hints for ready jobs, as many as live workers have free slots for."""

    def __init__(
        self,
        app: Celery,
        database: Database,
        *,
        resend_after: timedelta,
    ) -> None:
        self._app = app
        self._database = database
        self._resend_after = resend_after

    def dispatch(self) -> int:
        """Mark the jobs that may start as dispatched, then send a hint for each; returns how many.

        A hint that cannot be sent counts as lost: its job is ready again after `resend_after`.
        Raises JobError("database_unavailable").
        """
        with self._database.transaction() as transaction:
            taken = jobs.take_ready(transaction, resend_after=self._resend_after)
        for position, job in enumerate(taken):
            if not self._send(job):
                log.warning("hints_not_sent", count=len(taken) - position)
                return position
        return len(taken)

    def _send(self, job: ReadyJob) -> bool:
        try:
            self._app.send_task(
                RUN_JOB,
                args=[str(job.job_id)],
                argsrepr=str(job.job_id),
                kwargsrepr=shown_document(job),
                queue=job.queue,
                # The sender must not wait; dispatch tries again soon.
                retry=False,
            )
        except (OperationalError, OSError) as error:
            log.warning("broker_unavailable", error=type(error).__name__)
            return False
        return True


class BackgroundDispatcher:
    """Dispatches on a thread of its own each time that something may have changed.

    All calls that come while it works lead to one more round. So a thousand uploads at once cost a
    few rounds, and no caller waits for Redis.
    """

    def __init__(self, dispatch: Callable[[], int]) -> None:
        self._dispatch = dispatch
        self._wanted = threading.Event()
        self._closing = False
        self._thread = threading.Thread(target=self._loop, name="dispatcher", daemon=True)

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()

    def kick(self) -> None:
        """Say that jobs may have become ready or slots free. Returns at once."""
        self._wanted.set()

    def close(self) -> None:
        """Stop after the round that is running."""
        self._closing = True
        self._wanted.set()
        if self._thread.is_alive():
            self._thread.join(timeout=10)

    def _loop(self) -> None:
        while True:
            self._wanted.wait()
            self._wanted.clear()
            if self._closing:
                return
            try:
                self._dispatch()
            except (JobError, psycopg.Error) as error:
                # The schedule dispatches every few seconds, so giving up here loses nothing.
                warn(log, "dispatch_failed", error)

"""Celery entry points. Each decodes its message, calls one function of `worker`, and stops."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final
from uuid import UUID

import psycopg
from celery import Task, shared_task

from docmill.tasks.events import ShownRun
from docmill.worker import metrics
from docmill.worker.errors import JobError
from docmill.worker.log import get_logger
from docmill.worker.processes.runtime import current
from docmill.worker.store.outage import warn

log = get_logger(__name__)

#: Errors that pass by themselves: the task fails in Flower, but Celery writes no traceback.
_PASSING: Final = (JobError, psycopg.Error)


# ShownRun sends the events of runs.
@shared_task(name="docmill.run_job", bind=True, send_events=False)
def run_job(task: "Task[..., Any]", job_id: str) -> None:
    """Run one job. Safe to deliver twice: only one delivery gets the lease."""
    shown = ShownRun(task)
    shown.end(current().runner.run(UUID(job_id), on_stage=shown.stage))


@contextmanager
def _in_one_line(work: str) -> Iterator[None]:
    """Log in one line why a scheduled task failed. The next round tries again."""
    try:
        yield
    except _PASSING as error:
        warn(log, "maintenance_not_done", error, work=work)
        metrics.record(metrics.SCHEDULE_WORKS, work=work, outcome="failed")
        raise
    metrics.record(metrics.SCHEDULE_WORKS, work=work, outcome="done")


# The tasks that run every few seconds send no events, because Flower would then have no room for
# documents.


@shared_task(name="docmill.dispatch", send_events=False, throws=_PASSING)
def dispatch() -> None:
    """Settle pending events and send hints. Safe twice: dispatched jobs are no longer ready."""
    with _in_one_line("dispatch"):
        current().maintenance.dispatch()


@shared_task(name="docmill.rescue", send_events=False, throws=_PASSING)
def rescue() -> None:
    """Take back expired leases. Safe twice: a rescued lease is gone."""
    with _in_one_line("rescue"):
        current().maintenance.rescue()


@shared_task(name="docmill.reconcile", throws=_PASSING)
def reconcile() -> None:
    """Compare Storage with documents. Safe twice: sync is level-triggered."""
    with _in_one_line("reconcile"):
        current().maintenance.reconcile()


@shared_task(name="docmill.bulk", send_events=False, throws=_PASSING)
def bulk() -> None:
    """Send batches and stage what they bring. Safe twice: one worker is at a batch."""
    with _in_one_line("bulk"):
        current().bulk.run()


@shared_task(name="docmill.schedules", send_events=False, throws=_PASSING)
def schedules() -> None:
    """Run the schedules that are due. Safe twice: each run is claimed once."""
    with _in_one_line("schedules"):
        current().schedules.run_due()

"""Celery entry points. Each decodes its message, calls one function of `worker`, and stops."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import psycopg
from celery import Task, shared_task

from docmill.tasks.events import ShownRun
from docmill.worker import metrics
from docmill.worker.app import PERIOD_HEADER
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
    """Log in one line why a scheduled task failed. It is tried again when it is due again."""
    try:
        yield
    except _PASSING as error:
        warn(log, "maintenance_not_done", error, work=work)
        metrics.record(metrics.SCHEDULE_WORKS, work=work, outcome="failed")
        raise


def _do(task: "Task[..., Any]", work: str, function: Callable[[], None]) -> None:
    """Do a work of the schedule, if it is due."""
    seconds = (task.request.headers or {}).get(PERIOD_HEADER)
    with _in_one_line(work):
        if current().maintenance.begin(work, seconds and timedelta(seconds=seconds)):
            function()
            metrics.record(metrics.SCHEDULE_WORKS, work=work, outcome="done")


# These tasks send no events, because Flower would then have no room for documents.


@shared_task(name="docmill.dispatch", bind=True, send_events=False, throws=_PASSING)
def dispatch(task: "Task[..., Any]") -> None:
    """Settle pending events and send hints. Safe twice: dispatched jobs are no longer ready."""
    _do(task, "dispatch", current().maintenance.dispatch)


@shared_task(name="docmill.rescue", bind=True, send_events=False, throws=_PASSING)
def rescue(task: "Task[..., Any]") -> None:
    """Take back expired leases. Safe twice: a rescued lease is gone."""
    _do(task, "rescue", current().maintenance.rescue)


@shared_task(name="docmill.reconcile", bind=True, send_events=False, throws=_PASSING)
def reconcile(task: "Task[..., Any]") -> None:
    """Compare Storage with documents. Safe twice: sync is level-triggered."""
    _do(task, "reconcile", current().maintenance.reconcile)


@shared_task(name="docmill.bulk", bind=True, send_events=False, throws=_PASSING)
def bulk(task: "Task[..., Any]") -> None:
    """Send batches and stage what they bring. Safe twice: one worker is at a batch."""
    _do(task, "bulk", current().bulk.run)


@shared_task(name="docmill.schedules", bind=True, send_events=False, throws=_PASSING)
def schedules(task: "Task[..., Any]") -> None:
    """Run the schedules that are due. Safe twice: each run is claimed once."""
    _do(task, "schedules", current().schedules.run_due)

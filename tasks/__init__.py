"""Celery entry points. Each decodes its message, calls one function of `worker`, and stops."""

from typing import Any
from uuid import UUID

from celery import Task, shared_task

from tasks.events import ShownRun
from worker.runtime import current


@shared_task(name="docmill.run_job", bind=True)
def run_job(task: "Task[..., Any]", job_id: str) -> None:
    """Run one job. Safe to deliver twice: only one delivery gets the lease."""
    shown = ShownRun(task)
    shown.end(current().runner.run(UUID(job_id), on_stage=shown.stage))


# The tasks that run every few seconds send no events: they would leave no room for documents.


@shared_task(name="docmill.dispatch", send_events=False)
def dispatch() -> None:
    """Settle pending events and send hints. Safe twice: dispatched jobs are not ready."""
    current().maintenance.dispatch()


@shared_task(name="docmill.rescue", send_events=False)
def rescue() -> None:
    """Take back expired leases. Safe twice: a rescued lease is gone."""
    current().maintenance.rescue()


@shared_task(name="docmill.reconcile")
def reconcile() -> None:
    """Compare Storage with documents. Safe twice: sync is level-triggered."""
    current().maintenance.reconcile()


@shared_task(name="docmill.prune")
def prune() -> None:
    """Remove old rows. Safe twice: what is gone is gone."""
    current().maintenance.prune()

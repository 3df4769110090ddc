"""The trace of a job: every run of it is a part of the same one."""

from contextlib import AbstractContextManager

import psycopg

from docmill.worker import tracing
from docmill.worker.errors import JobError
from docmill.worker.log import get_logger
from docmill.worker.models import Claim
from docmill.worker.store import jobs
from docmill.worker.store.database import Database
from docmill.worker.store.outage import warn
from docmill.worker.tracing import Span

log = get_logger(__name__)


def traced_run(database: Database, claim: Claim, worker_id: str) -> AbstractContextManager[Span]:
    """The span of a run, below the one that made the job; a run does not need it to succeed."""
    if not tracing.is_on():
        return tracing.step(tracing.PROCESS)
    parent = _trace_of(database, claim)
    attributes = {
        **tracing.of_job("process", claim.job_id),
        "docmill.document.id": str(claim.document_id),
        "docmill.kind": claim.kind,
        "docmill.index_version": claim.index.id,
        "docmill.run": claim.run,
        "docmill.attempt": claim.attempt,
        "docmill.worker.id": worker_id,
    }
    # One message, and nothing around it: its maker is the parent, and linked as of any message.
    span = tracing.start(
        tracing.PROCESS, kind="consumer", parent=parent, links=[parent], attributes=attributes
    )
    return tracing.within(span)


def note_end(span: Span, outcome: str, code: str | None) -> None:
    """Say how the run ended, and end it."""
    span.set({"docmill.outcome": outcome})
    span.end(code)


def _trace_of(database: Database, claim: Claim) -> str:
    """Where the job was made. If no request of the webhook made it, it is made here."""
    try:
        with database.transaction() as transaction:
            kept = jobs.trace(transaction, claim.job_id, None)
            made = kept or _made(claim)
            return kept or jobs.trace(transaction, claim.job_id, made) or made
    except (JobError, psycopg.Error) as error:
        warn(log, "trace_not_kept", error)
        return _made(claim)


def _made(claim: Claim) -> str:
    span = tracing.start(
        tracing.CREATE, kind="producer", attributes=tracing.of_job("create", claim.job_id)
    )
    span.end()
    return span.traceparent

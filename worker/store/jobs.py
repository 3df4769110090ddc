"""Jobs: from ready to a final state. Every write of a run names its fencing token."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Literal, LiteralString, cast
from uuid import UUID

from psycopg.rows import class_row, dict_row, scalar_row

from docmill.worker.models import NO_OFFER, Claim, IndexVersion, Offer, Stage
from docmill.worker.store.database import Connection
from docmill.worker.store.hints import TRACE_JOBS

TAKE_READY: Final[LiteralString] = """
    select job_id, bucket_id, object_name, queue
      from ingest_private.take_ready_jobs(%(resend_after)s)
"""
CLAIM: Final[LiteralString] = """
    select claimed.*, made.*, bulk.*
      from ingest_private.claim_job(%(job_id)s, %(worker_id)s, %(isolated)s, %(lease_for)s)
               as claimed
           cross join lateral ingest_private.embedding_of(claimed.index_version) as made
           cross join lateral ingest_private.bulk_state(claimed.job_id) as bulk
"""
RENEW: Final[LiteralString] = """
    select job_id, token, renewed
      from ingest_private.renew_leases(
        %(worker_id)s, %(slots)s, %(isolated)s, %(draining)s, %(version)s, %(lease_for)s,
        %(job_ids)s, %(tokens)s, %(providers)s, %(reader_rules)s, %(chunk_rules)s, %(extras)s)
"""
FORGET_WORKER: Final[LiteralString] = "select ingest_private.forget_worker(%(worker_id)s)"
STOP_FLAGS: Final[LiteralString] = """
    select job_id, reason from ingest_private.stop_flags(%(job_ids)s, %(tokens)s)
"""
IS_WANTED: Final[LiteralString] = "select ingest_private.is_wanted(%(job_id)s)"
REPORT_PROGRESS: Final[LiteralString] = """
    select ingest_private.report_progress(
        %(job_id)s, %(token)s, %(stage)s, %(pages_total)s, %(pages_done)s,
        %(chunks_total)s, %(chunks_embedded)s, %(chunks_reused)s)
"""
FAIL: Final[LiteralString] = """
    select ingest_private.fail_job(%(job_id)s, %(token)s, %(error_code)s, %(retry_in)s)
"""
RELEASE: Final[LiteralString] = """
    select ingest_private.release_job(
        %(job_id)s, %(token)s, %(error_code)s, %(hold_reason)s, %(retry_in)s)
"""
CANCEL: Final[LiteralString] = "select ingest_private.cancel_run(%(job_id)s, %(token)s)"
HINTS_WAIT: Final[LiteralString] = "select ingest_private.hints_wait(%(isolated)s)"
RESCUE: Final[LiteralString] = "select ingest_private.rescue_jobs()"
END_STALLED_SESSIONS: Final[LiteralString] = "select ingest_private.end_stalled_sessions()"
AGE: Final[LiteralString] = "select ingest_private.age_jobs()"


@dataclass(frozen=True)
class ReadyJob:
    """A job that needs a hint."""

    job_id: UUID
    bucket_id: str
    object_name: str
    queue: str  #: the queue that all workers which may run it listen to


@dataclass(frozen=True)
class WorkerState:
    """What a worker process reports with each heartbeat."""

    worker_id: str
    slots: int
    isolated: bool
    draining: bool
    version: str
    providers: Sequence[str]  #: the providers that it has keys for
    offer: Offer = NO_OFFER  #: how it reads files


@dataclass(frozen=True)
class Progress:
    """Counters of a run; None leaves the value of the row."""

    stage: Stage
    pages_total: int | None = None
    pages_done: int | None = None
    chunks_total: int | None = None
    chunks_embedded: int | None = None
    chunks_reused: int | None = None


def _scalar(connection: Connection, query: LiteralString, parameters: dict[str, Any]) -> Any:
    with connection.cursor(row_factory=scalar_row) as cursor:
        return cursor.execute(query, parameters).fetchone()


def take_ready(connection: Connection, *, resend_after: timedelta) -> list[ReadyJob]:
    """Mark jobs as dispatched, as many as live workers have slots for, and return them."""
    with connection.cursor(row_factory=class_row(ReadyJob)) as cursor:
        return cursor.execute(TAKE_READY, {"resend_after": resend_after}).fetchall()


def claim(
    connection: Connection, job_id: UUID, *, worker_id: str, isolated: bool, lease_for: timedelta
) -> Claim | None:
    """Lease the job to this worker; None if it cannot be claimed (any more)."""
    with connection.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(
            CLAIM,
            {
                "job_id": job_id,
                "worker_id": worker_id,
                "isolated": isolated,
                "lease_for": lease_for,
            },
        ).fetchone()
    if row is None:
        return None
    index = IndexVersion(
        id=row.pop("index_version"),
        model=row.pop("model"),
        dimensions=row.pop("dimensions"),
        chunking=row.pop("chunking"),
        provider=row.pop("provider"),
        sends_dimensions=row.pop("sends_dimensions"),
        document_prefix=row.pop("document_prefix"),
        query_prefix=row.pop("query_prefix"),
    )
    return Claim(index=index, **row)


def trace(connection: Connection, job_id: UUID, traceparent: str | None) -> str | None:
    """Give a job a trace unless it has one, or only ask with None; the one that it has then."""
    parameters = {"job_ids": [job_id], "traceparents": [traceparent]}
    return cast("str | None", _scalar(connection, TRACE_JOBS, parameters)[0])


#: One run of a job: job id and token of its lease.
RunKey = tuple[UUID, int]


def renew_leases(
    connection: Connection, worker: WorkerState, runs: Sequence[RunKey], *, lease_for: timedelta
) -> tuple[set[RunKey], list[RunKey]]:
    """Heartbeat: this worker is alive, and the leases of these runs are extended.

    Returns the runs whose leases were renewed, and the other leases that this worker has. A lease
    is not renewed if it is lost, or if another transaction uses it at this moment.
    """
    rows = connection.execute(
        RENEW,
        {
            "worker_id": worker.worker_id,
            "slots": worker.slots,
            "isolated": worker.isolated,
            "draining": worker.draining,
            "version": worker.version,
            "lease_for": lease_for,
            "providers": list(worker.providers),
            **vars(worker.offer),
            "extras": list(worker.offer.extras),
            **_run_arrays(runs),
        },
    ).fetchall()
    renewed = {(job_id, token) for job_id, token, is_renewed in rows if is_renewed}
    return renewed, [(job_id, token) for job_id, token, is_renewed in rows if not is_renewed]


def _run_arrays(runs: Sequence[RunKey]) -> dict[str, list[Any]]:
    return {"job_ids": [job_id for job_id, _ in runs], "tokens": [token for _, token in runs]}


def forget_worker(connection: Connection, worker_id: str) -> None:
    """Sign off: this worker takes no more jobs and renews no more leases."""
    connection.execute(FORGET_WORKER, {"worker_id": worker_id})


def stop_flags(
    connection: Connection, runs: Sequence[RunKey]
) -> dict[UUID, Literal["lost", "cancelled"]]:
    """Which of these runs must stop, and why."""
    return dict(connection.execute(STOP_FLAGS, _run_arrays(runs)).fetchall())


def is_wanted(connection: Connection, job_id: UUID) -> bool:
    """Whether a job that lost its lease still had a use: not superseded, cancelled or gone."""
    return cast("bool", _scalar(connection, IS_WANTED, {"job_id": job_id}))


def report_progress(connection: Connection, claim: Claim, progress: Progress) -> bool:
    """Write counters for clients that poll the job. False: the lease is lost."""
    parameters = {"job_id": claim.job_id, "token": claim.token, **vars(progress)}
    return cast("bool", _scalar(connection, REPORT_PROGRESS, parameters))


def fail(connection: Connection, claim: Claim, code: str, *, retry_in: timedelta | None) -> bool:
    """End the run with a counted failure. False: the lease was lost before."""
    parameters = {
        "job_id": claim.job_id,
        "token": claim.token,
        "error_code": code,
        "retry_in": retry_in,
    }
    return cast("bool", _scalar(connection, FAIL, parameters))


def release(
    connection: Connection,
    run: RunKey,
    *,
    code: str | None,
    hold_reason: str | None,
    retry_in: timedelta,
) -> bool:
    """Give the job back without a counted failure. False: the lease was lost before."""
    job_id, token = run
    parameters = {
        "job_id": job_id,
        "token": token,
        "error_code": code,
        "hold_reason": hold_reason,
        "retry_in": retry_in,
    }
    return cast("bool", _scalar(connection, RELEASE, parameters))


def cancel(connection: Connection, claim: Claim) -> bool:
    """End the run as cancelled. False: the lease was lost before."""
    parameters = {"job_id": claim.job_id, "token": claim.token}
    return cast("bool", _scalar(connection, CANCEL, parameters))


def hints_wait(connection: Connection, *, isolated: bool) -> bool:
    """Whether a hint was sent that no worker has followed yet."""
    return cast("bool", _scalar(connection, HINTS_WAIT, {"isolated": isolated}))


def rescue(connection: Connection) -> int:
    """End the leases of vanished workers; returns how many jobs went back to the queue."""
    return cast("int", _scalar(connection, RESCUE, {}))


def end_stalled_sessions(connection: Connection) -> int:
    """End sessions of workers that fell silent in the middle of a COPY; returns how many."""
    return cast("int", _scalar(connection, END_STALLED_SESSIONS, {}))


def age(connection: Connection) -> None:
    """Move jobs that have been ready for a long time one priority up."""
    connection.execute(AGE)

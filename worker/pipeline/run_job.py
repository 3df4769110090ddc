"""A job from claim to outcome: claim it, keep its lease, ingest, write how it ended."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Literal
from uuid import UUID

import psycopg
import structlog

from docmill.worker import metrics
from docmill.worker.errors import (
    CancelledRunError,
    DocumentSupersededError,
    DrainError,
    InBatchError,
    JobError,
    LeaseLostError,
)
from docmill.worker.log import get_logger
from docmill.worker.models import Claim, Stage
from docmill.worker.pipeline.ingest import Ingest
from docmill.worker.pipeline.lease import LeaseKeeper, Run
from docmill.worker.pipeline.progress import ProgressReporter
from docmill.worker.pipeline.traced import note_end, traced_run
from docmill.worker.retry import Fail, Release, RetryPolicy, decide
from docmill.worker.store import jobs, maintenance
from docmill.worker.store.database import Connection, Database
from docmill.worker.store.hints import ObjectHint
from docmill.worker.store.outage import CONTENTION, warn

log = get_logger(__name__)

#: How often a worker tries to write the end of a run while the database does not answer.
_REPORT_TRIES: Final = 5
_REPORT_PAUSE_SECONDS: Final = 2.0


#: A job whose texts are in a batch is made ready when they are answered; whatever happens, it looks
#: after this time whether they are.
IN_BATCH: Final = timedelta(days=1)


@dataclass(frozen=True)
class RunnerSettings:
    """Settings of a run that do not belong to a stage."""

    isolated: bool
    lease_for: timedelta
    policy: RetryPolicy


@dataclass(frozen=True)
class RunEnd:
    """How a run ended. A failure may be followed by another run of the same job."""

    outcome: Literal["succeeded", "failed", "released", "cancelled", "superseded", "lost"]
    error_code: str | None = None


class JobRunner:
    """Runs jobs by id. Safe to call twice for one job: only one call gets the lease."""

    def __init__(
        self,
        *,
        database: Database,
        keeper: LeaseKeeper,
        ingest: Ingest,
        settings: RunnerSettings,
        on_hint: Callable[[], None],
        on_finished: Callable[[], None],
    ) -> None:
        self._database = database
        self._keeper = keeper
        self._ingest = ingest
        self._settings = settings
        self._on_hint = on_hint
        self._on_finished = on_finished

    def run(self, job_id: UUID, *, on_stage: Callable[[Stage], None]) -> RunEnd | None:
        """Claim the job and bring it to an end; None if it cannot be claimed.

        `on_stage` is called at the beginning of each stage, and must return at once.
        """
        self._on_hint()
        with self._keeper.hold(job_id, lambda: self._claim(job_id)) as run:
            if run is None:
                return None
            with (
                structlog.contextvars.bound_contextvars(
                    job_id=str(job_id), document_id=str(run.claim.document_id), run=run.claim.run
                ),
                traced_run(self._database, run.claim, self._keeper.worker_id) as span,
            ):
                end = self._run_claimed(run, on_stage)
                note_end(span, end.outcome, end.error_code)
        self._on_finished()
        return end

    def _claim(self, job_id: UUID) -> Claim | None:
        try:
            with self._database.statement() as connection:
                return jobs.claim(
                    connection,
                    job_id,
                    worker_id=self._keeper.worker_id,
                    isolated=self._settings.isolated,
                    lease_for=self._settings.lease_for,
                )
        except (JobError, *CONTENTION) as error:
            # This hint is lost; dispatch sends another one. If the claim was committed
            # nevertheless, the next heartbeat gives the job back.
            warn(log, "claim_failed", error, job_id=str(job_id))
            return None

    def _run_claimed(self, run: Run, on_stage: Callable[[Stage], None]) -> RunEnd:
        log.info("job_started", attempt=run.claim.attempt)
        started = time.monotonic()
        progress = ProgressReporter(self._database, run.claim, on_stage)
        end = self._ended(run, progress)
        progress.end_stage()
        metrics.record(metrics.RUNS, outcome=end.outcome, code=end.error_code or "")
        metrics.record(metrics.RUN_SECONDS, time.monotonic() - started, outcome=end.outcome)
        if end.outcome == "lost" and self._is_wanted(run.claim.job_id):
            metrics.record(metrics.LEASES_LOST)
        return end

    def _is_wanted(self, job_id: UUID) -> bool:
        """Whether a lost job had a use: a delete or a new version takes a lease away too."""
        try:
            with self._database.statement() as connection:
                return jobs.is_wanted(connection, job_id)
        except (JobError, *CONTENTION):  # the lease may be lost because the database is away
            return True

    def _ended(self, run: Run, progress: ProgressReporter) -> RunEnd:
        end = RunEnd("succeeded")
        try:
            self._ingest.run(run, progress)
        except LeaseLostError:
            end = RunEnd("lost")
            log.info("job_lost")
        except CancelledRunError:
            end = RunEnd("cancelled")
            self._end(lambda connection: jobs.cancel(connection, run.claim))
            log.info("job_cancelled")
        except DrainError:
            end = self._release(run.claim, Release("", None, timedelta()))
            log.info("job_drained")
        except InBatchError:
            end = self._release(run.claim, Release("", "in_batch", IN_BATCH))
            log.info("job_in_batch")
        except DocumentSupersededError:
            end = self._follow_storage(run.claim)
        except JobError as error:
            end = self._apply(run.claim, error)
        except (*CONTENTION, psycopg.OperationalError) as error:
            end = self._apply(run.claim, JobError("database_unavailable", type(error).__name__))
        except Exception as error:
            log.exception("job_crashed")
            end = self._apply(run.claim, JobError("internal_error", type(error).__name__))
        else:
            log.info("job_succeeded")
        return end

    def _follow_storage(self, claim: Claim) -> RunEnd:
        # Storage holds another version, and the event of its trigger or webhook may be lost. After
        # this sync the job is superseded; or Storage contradicts itself, and a later run will find
        # out.
        hint = ObjectHint(claim.object_id, claim.bucket_id, claim.object_name)
        self._end(lambda connection: maintenance.sync_object(connection, hint) is not None)
        self._apply(claim, JobError("object_changed"))
        return RunEnd("superseded")

    def _apply(self, claim: Claim, error: JobError) -> RunEnd:
        outcome = decide(
            error,
            run=claim.run,
            policy=self._settings.policy,
            jitter=random.random(),  # noqa: S311 -- spreads retries, protects nothing
        )
        warn(
            log,
            "job_not_done",
            error,
            error_code=error.code,
            detail=str(error),
            outcome=repr(outcome),
        )
        if isinstance(outcome, Fail):
            self._end(
                lambda connection: jobs.fail(
                    connection, claim, outcome.code, retry_in=outcome.retry_in
                )
            )
            return RunEnd("failed", outcome.code)
        return self._release(claim, outcome)

    def _release(self, claim: Claim, outcome: Release) -> RunEnd:
        self._end(
            lambda connection: jobs.release(
                connection,
                (claim.job_id, claim.token),
                code=outcome.code or None,
                hold_reason=outcome.hold_reason,
                retry_in=outcome.retry_in,
            )
        )
        return RunEnd("released", outcome.code or None)

    def _end(self, write: Callable[[Connection], bool]) -> None:
        # If the database is down for longer, the heartbeat gives the job back once it answers.
        for attempt in range(_REPORT_TRIES):
            try:
                with self._database.transaction() as transaction:
                    write(transaction)
            except (JobError, psycopg.Error) as error:
                warn(log, "outcome_not_written", error, attempt=attempt)
                time.sleep(_REPORT_PAUSE_SECONDS)
            else:
                return

"""Progress of a run for clients that poll its job: at each new stage, else once a second."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from docmill.worker import metrics
from docmill.worker.errors import LeaseLostError
from docmill.worker.models import Claim, Stage
from docmill.worker.store import jobs
from docmill.worker.store.database import Database
from docmill.worker.store.jobs import Progress

REPORT_SECONDS: Final = 1.0


class ProgressReporter:
    """Writes the counters of one run, not too often, and passes on its stages."""

    def __init__(self, database: Database, claim: Claim, on_stage: Callable[[Stage], None]) -> None:
        """Begin with the stage that claiming the job wrote. `on_stage` must return at once."""
        self._database = database
        self._claim = claim
        self._on_stage = on_stage
        self._progress = Progress(stage="downloading")
        self._written = self._progress
        self._stage_began = time.monotonic()
        on_stage(self._progress.stage)
        self._began = time.monotonic()
        self._due = self._began + REPORT_SECONDS
        self._seconds: dict[str, float] = {}

    @property
    def seconds(self) -> dict[str, float]:
        """How long each stage took, the last one until now."""
        seconds = {**self._seconds, self._progress.stage: time.monotonic() - self._began}
        return {stage: round(spent, 4) for stage, spent in seconds.items()}

    def end_stage(self, stage: Stage | None = None) -> None:
        """Measure the stage that ends now: the present one unless another is named."""
        now = time.monotonic()
        metrics.record(
            metrics.STAGE_SECONDS, now - self._stage_began, stage=stage or self._progress.stage
        )
        self._stage_began = now

    def report(self, **changes: Any) -> None:
        """Note counters (fields of Progress); None values change nothing.

        Raises LeaseLostError if the row now belongs to another run.
        """
        known = {name: value for name, value in changes.items() if value is not None}
        before = self._progress.stage
        self._progress = replace(self._progress, **known)
        if self._progress.stage != before:
            now = time.monotonic()
            self._seconds[before], self._began = now - self._began, now
        stage_changed = self._progress.stage != self._written.stage
        if not stage_changed and time.monotonic() < self._due:
            return
        if self._progress == self._written:
            return
        with self._database.statement() as connection:
            if not jobs.report_progress(connection, self._claim, self._progress):
                raise LeaseLostError
        if stage_changed:
            self.end_stage(self._written.stage)
            self._on_stage(self._progress.stage)
        self._written = self._progress
        self._due = time.monotonic() + REPORT_SECONDS

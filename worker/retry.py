"""What happens after a run that ended without a result. Pure: no clock, no I/O, no randomness."""

from dataclasses import dataclass
from datetime import timedelta

from docmill.worker.errors import ErrorKind, JobError

#: A provider may ask for a pause of hours; docmill asks again after this time at the latest.
LONGEST_RETRY_AFTER = timedelta(minutes=15)

#: The hold reason for an error; errors without an entry show only their code.
HOLD_REASONS = {
    "rate_limited": "rate_limited",
    "owner_budget_exceeded": "owner_budget_exceeded",
}


@dataclass(frozen=True)
class RetryPolicy:
    """Exponential backoff with jitter, bounded."""

    base: timedelta
    longest: timedelta


@dataclass(frozen=True)
class Fail:
    """Count a failure; the job fails if no attempt is left or `retry_in` is None."""

    code: str
    retry_in: timedelta | None


@dataclass(frozen=True)
class Release:
    """Give the job back without counting anything."""

    code: str
    hold_reason: str | None
    retry_in: timedelta


def backoff(policy: RetryPolicy, *, run: int, jitter: float) -> timedelta:
    """Delay after run number `run`: doubled each time, the upper half random.

    `jitter` is in [0, 1). It spreads the jobs that one outage has sent back at the same time.
    """
    # Thirty doublings do not overflow a timedelta, and are longer than any policy allows.
    doublings = 1 << min(run - 1, 30)
    return min(policy.base * doublings, policy.longest) * (0.5 + jitter / 2)


def decide(error: JobError, *, run: int, policy: RetryPolicy, jitter: float) -> Fail | Release:
    """Decide what happens to a job whose run number `run`, counted from 1, met this error."""
    if error.error.kind is ErrorKind.PERMANENT:
        return Fail(error.code, None)
    # The smaller number first: a timedelta cannot hold every number of seconds.
    asked = min(error.retry_after_seconds or 0, LONGEST_RETRY_AFTER.total_seconds())
    delay = max(backoff(policy, run=run, jitter=jitter), timedelta(seconds=asked))
    if error.counted:
        return Fail(error.code, delay)
    if error.error.kind is ErrorKind.CONFIGURATION:
        return Release(error.code, "breaker_open", max(delay, policy.longest * (0.5 + jitter / 2)))
    return Release(error.code, HOLD_REASONS.get(error.code), delay)

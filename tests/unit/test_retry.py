"""The decision about a job whose run ended without a result."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docmill.worker.errors import ERROR_CODES, ErrorKind, JobError
from docmill.worker.retry import LONGEST_RETRY_AFTER, Fail, Release, RetryPolicy, backoff, decide

POLICY = RetryPolicy(base=timedelta(seconds=5), longest=timedelta(minutes=10))


@pytest.mark.parametrize("code", sorted(ERROR_CODES))
def test_every_code_leads_to_what_its_kind_promises(code: str) -> None:
    outcome = decide(JobError(code), run=1, policy=POLICY, jitter=0.0)
    kind = ERROR_CODES[code].kind
    if kind is ErrorKind.PERMANENT:
        assert outcome == Fail(code, None)
    elif ERROR_CODES[code].counted:
        assert isinstance(outcome, Fail)
        assert outcome.retry_in is not None
    else:
        assert isinstance(outcome, Release)


def test_a_configuration_error_shows_an_open_breaker_and_waits_long() -> None:
    outcome = decide(JobError("provider_auth"), run=1, policy=POLICY, jitter=0.0)
    assert isinstance(outcome, Release)
    assert outcome.hold_reason == "breaker_open"
    assert outcome.retry_in >= POLICY.longest / 2


def test_a_rate_limit_is_obeyed_and_shown() -> None:
    error = JobError("rate_limited", retry_after_seconds=120)
    outcome = decide(error, run=1, policy=POLICY, jitter=0.0)
    assert outcome == Release("rate_limited", "rate_limited", timedelta(seconds=120))


@pytest.mark.parametrize("seconds", [86_400, 1e20, 1e308, float("inf")])
def test_a_provider_that_asks_for_hours_is_asked_again_sooner(seconds: float) -> None:
    error = JobError("rate_limited", retry_after_seconds=seconds)
    outcome = decide(error, run=1, policy=POLICY, jitter=0.0)
    assert isinstance(outcome, Release)
    assert outcome.retry_in == LONGEST_RETRY_AFTER


def test_an_error_may_count_when_its_code_usually_does_not() -> None:
    outcome = decide(JobError("storage_unavailable", counted=True), run=1, policy=POLICY, jitter=0)
    assert isinstance(outcome, Fail)


@given(run=st.integers(1, 10_000), jitter=st.floats(0, 1, exclude_max=True))
def test_backoff_grows_to_its_bound_and_never_beyond(run: int, jitter: float) -> None:
    delay = backoff(POLICY, run=run, jitter=jitter)
    assert POLICY.base / 2 <= delay <= POLICY.longest
    assert backoff(POLICY, run=run + 1, jitter=jitter) >= delay

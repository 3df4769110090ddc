"""A provider's headers about limits, and other texts in these headers."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docmill.worker.clients.rate_headers import (
    MOST,
    Quota,
    read_headers,
)


def test_openais_headers_are_read() -> None:
    said = read_headers(
        {
            "x-ratelimit-limit-requests": "3000",
            "x-ratelimit-remaining-requests": "2999",
            "x-ratelimit-reset-requests": "20ms",
            "x-ratelimit-limit-tokens": "1000000",
            "x-ratelimit-remaining-tokens": "999600",
            "x-ratelimit-reset-tokens": "6m0.5s",
        }
    )
    assert said.requests == Quota(3000, 2999, 0.02)
    assert said.tokens == Quota(1_000_000, 999_600, 360.5)


@pytest.mark.parametrize(
    ("limit", "remaining", "quota"),
    [
        ("0", "0", Quota(None, None, None)),
        ("0.0001", "0", Quota(None, None, None)),
        ("0.999", "0.5", Quota(None, None, None)),
        ("100\x1f", "1\x1c", Quota(100, 1, None)),
        ("1", "0", Quota(1, 0, None)),
        ("-5", "1", Quota(None, None, None)),
        ("1e9", "1", Quota(None, None, None)),
        ("100", "101", Quota(100, None, None)),
        ("100", "-1", Quota(100, None, None)),
    ],
)
def test_what_makes_no_sense_is_not_known(limit: str, remaining: str, quota: Quota) -> None:
    told = {"x-ratelimit-limit-tokens": limit, "x-ratelimit-remaining-tokens": remaining}
    assert read_headers(told).tokens == quota


@given(st.text(max_size=40), st.text(max_size=40), st.text(max_size=200))
def test_whatever_is_written_there_gives_numbers_or_nothing(
    limit: str, remaining: str, reset: str
) -> None:
    names = ("limit", "remaining", "reset")
    told = {
        f"x-ratelimit-{name}-tokens": text
        for name, text in zip(names, (limit, remaining, reset), strict=True)
    }
    for value in vars(read_headers(told).tokens).values():
        assert value is None or (math.isfinite(value) and 0 <= value <= MOST)

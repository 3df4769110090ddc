"""For whom a text waits."""

import math

import pytest

from docmill.worker.embedding.company import SERIES_GAP_SECONDS, Company


class Clock:
    """Goes as it is told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def company(clock: Clock) -> Company:
    return Company(clock=clock)


def come(company: Company, clock: Clock, *pauses: float, owner: str = "anna") -> float:
    """Documents come and are read at once; until when another one is expected after the last."""
    for pause in pauses:
        clock.now += pause
        with company.join(owner) as member:
            pass
    return company.expected_until(member) - clock.now


def test_the_first_document_waits_for_no_other(company: Company, clock: Clock) -> None:
    assert come(company, clock, 0) == -math.inf


def test_a_series_goes_on_until_a_pause_is_twice_as_long_as_any(
    company: Company, clock: Clock
) -> None:
    assert come(company, clock, 0, 0.05, 0.1, 0.02) == pytest.approx(0.2)


def test_a_pause_ends_the_series(company: Company, clock: Clock) -> None:
    come(company, clock, 0, 0.05, 0.1)
    assert come(company, clock, SERIES_GAP_SECONDS * 1.01) == -math.inf
    assert come(company, clock, 0.03) == pytest.approx(0.06)


def test_who_uploads_slowly_is_not_waited_for(company: Company, clock: Clock) -> None:
    assert come(company, clock, *[3.0] * 20) == -math.inf


def test_owners_are_no_company_of_each_other(company: Company, clock: Clock) -> None:
    for number in range(20):
        come(company, clock, 0.01, owner=f"owner {number}")
    with company.join("berta"):
        assert come(company, clock, 0.01, owner="carl") == -math.inf


def test_where_nobody_waits_all_are_company(clock: Clock) -> None:
    company = Company(together=True, clock=clock)
    with company.join("anna"), company.join("berta") as berta:
        assert company.expected_until(berta) == math.inf


def test_one_who_waits_and_goes_on_is_expected_again(company: Company, clock: Clock) -> None:
    with company.join("anna") as long, company.join("anna") as short:
        short.leave()
        assert company.expected_until(short) == math.inf
        with long.waiting():
            clock.now += 10
            come(company, clock, 0, owner="berta")  # what is old is forgotten
            assert company.expected_until(short) < clock.now
        assert company.expected_until(short) == math.inf
    assert company.expected_until(short) < clock.now

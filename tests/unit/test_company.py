"""How long a text waits for other texts."""

import math
from contextlib import ExitStack

import pytest

from docmill.worker.embedding.company import (
    BACKLOG_PATIENCE_SECONDS,
    PATIENCE_SECONDS,
    SERIES_GAP_SECONDS,
    Company,
)


class Clock:
    """A clock that is set by hand."""

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
    """Documents come, are read at once and wait; how long the texts of the last one wait."""
    with ExitStack() as stack:
        for pause in pauses:
            clock.now += pause
            member = stack.enter_context(company.join(owner))
            company.brought(member)
            member.leave()
        return company.due_at(member, clock.now) - clock.now


def test_the_first_document_waits_for_no_other(company: Company, clock: Clock) -> None:
    assert come(company, clock, 0) == -math.inf


def test_a_series_goes_on_until_a_pause_is_twice_as_long_as_any(
    company: Company, clock: Clock
) -> None:
    assert come(company, clock, 0, 0.05, 0.1, 0.02) == pytest.approx(0.2)


def test_a_pause_ends_the_series(company: Company, clock: Clock) -> None:
    series = (0, 0.05, 0.1)
    assert come(company, clock, *series, SERIES_GAP_SECONDS * 1.01) == -math.inf
    assert come(company, clock, *series, 1.01 * SERIES_GAP_SECONDS, 0.03) == pytest.approx(0.06)


def test_who_uploads_the_next_when_the_last_is_done_waits_for_nobody(
    company: Company, clock: Clock
) -> None:
    for _ in range(10):
        assert come(company, clock, 0.1) == -math.inf


def test_when_the_others_are_done_the_last_waits_no_longer(company: Company, clock: Clock) -> None:
    with company.join("anna") as last:
        clock.now += 0.1
        with company.join("anna") as other:
            last.leave()
            other.leave()
            assert company.due_at(last, clock.now) > clock.now
        assert company.due_at(last, clock.now) == -math.inf


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
        assert company.due_at(berta, clock.now) == clock.now + PATIENCE_SECONDS


def test_one_who_waits_and_goes_on_is_expected_again(company: Company, clock: Clock) -> None:
    with company.join("anna") as long, company.join("anna") as short:
        short.leave()
        assert company.due_at(short, clock.now) == clock.now + PATIENCE_SECONDS
        with long.waiting():
            clock.now += 10
            assert company.due_at(short, clock.now) < clock.now
        assert company.due_at(short, clock.now) == clock.now + PATIENCE_SECONDS
    assert company.due_at(short, clock.now) < clock.now


# -- a backlog


def test_in_a_backlog_texts_wait_for_a_full_request_while_others_come(clock: Clock) -> None:
    company = Company(slots=4, clock=clock)
    with ExitStack() as stack:
        first, *others = [stack.enter_context(company.join("anna")) for _ in range(4)]
        came_at = clock.now
        company.brought(first)
        first.leave()
        for other in others[:2]:
            clock.now += PATIENCE_SECONDS * 0.9
            company.brought(other)
            assert company.due_at(first, came_at) == clock.now + PATIENCE_SECONDS
        clock.now = came_at + BACKLOG_PATIENCE_SECONDS
        company.brought(others[2])
        assert company.due_at(first, came_at) == clock.now


def test_without_a_backlog_they_do_not(clock: Clock) -> None:
    company = Company(slots=40, clock=clock)
    with company.join("anna") as first, company.join("anna") as other:
        first.leave()
        clock.now += 1
        company.brought(other)
        assert company.due_at(first, clock.now - 1) == clock.now - 1 + PATIENCE_SECONDS


def test_when_all_slots_wait_nobody_can_come(clock: Clock) -> None:
    company = Company(slots=4, clock=clock)
    with ExitStack() as stack:
        members = [stack.enter_context(company.join("anna")) for _ in range(4)]
        clock.now += 1
        for member in members:
            member.leave()
        for member in members[1:]:
            stack.enter_context(member.waiting())
        # One job publishes, and its slot goes to the next job.
        assert company.due_at(members[1], clock.now) == clock.now - 1 + PATIENCE_SECONDS
        stack.enter_context(members[0].waiting())
        assert company.due_at(members[1], clock.now) < clock.now

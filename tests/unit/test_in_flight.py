"""How many requests run at once."""

import pytest

from docmill.worker.embedding.in_flight import InFlight


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_refusal_halves_them_and_successes_bring_them_back(clock: Clock) -> None:
    in_flight = InFlight(8, clock=clock)
    in_flight.too_much()
    assert in_flight.allowed == 4
    for _ in range(4):
        in_flight.answered(10, 0.2)
    assert in_flight.allowed == 4
    for _ in range(2):
        in_flight.answered(10, 0.2)
    assert in_flight.allowed == 5
    for _ in range(100):
        in_flight.answered(10, 0.2)
    assert in_flight.allowed == 8


def test_what_was_sent_together_is_cut_once_and_one_is_always_left(clock: Clock) -> None:
    in_flight = InFlight(8, clock=clock)
    for _ in range(8):
        in_flight.too_much()
    assert in_flight.allowed == 4
    for _ in range(10):
        clock.now += 2
        in_flight.too_much()
    assert in_flight.allowed == 1
    assert in_flight.has_room()
    in_flight.requests += 1
    assert not in_flight.has_room()


def test_a_request_that_takes_far_longer_than_its_like_is_too_much(clock: Clock) -> None:
    in_flight = InFlight(8, clock=clock)
    for _ in range(10):
        in_flight.answered(4, 0.2)
        in_flight.answered(256, 2.0)
    assert in_flight.allowed == 8
    in_flight.answered(4, 2.0)
    assert in_flight.allowed == 4


def test_a_provider_that_becomes_slow_for_good_is_usual_in_the_end(clock: Clock) -> None:
    in_flight = InFlight(8, clock=clock)
    in_flight.answered(4, 0.2)
    for _ in range(100):
        clock.now += 2
        in_flight.answered(4, 5.0)
    assert in_flight.allowed == 8

"""When a worker that takes no hints must end."""

import threading
from collections.abc import Callable

import pytest

from docmill.worker.processes.liveness import Liveness, Starvation


def test_hints_that_wait_for_longer_than_the_limit_starve_it() -> None:
    starvation = Starvation(10)
    seen = [starvation.observe(now, waiting=True, consumed=False) for now in (0, 5, 10, 10.1)]
    assert seen == [False, False, False, True]


@pytest.mark.parametrize("sign", [{"waiting": False}, {"consumed": True}])
def test_every_sign_of_life_begins_anew(sign: dict[str, bool]) -> None:
    starvation = Starvation(10)
    still = {"waiting": True, "consumed": False}
    assert not starvation.observe(0, **still)
    assert not starvation.observe(9, **(still | sign))
    assert not starvation.observe(10, **still)
    assert not starvation.observe(20, **still)
    assert starvation.observe(21, **still)


def test_an_idle_worker_beside_nothing_lives_for_ever() -> None:
    starvation = Starvation(10)
    assert not any(
        starvation.observe(now, waiting=False, consumed=False) for now in range(0, 1000, 7)
    )


def watched(
    hints_wait: Callable[[], bool], starved: threading.Event, *, busy: bool = False
) -> Liveness:
    return Liveness(
        hints_wait=hints_wait,
        is_busy=lambda: busy,
        on_starved=starved.set,
        limit_seconds=0.2,
    )


def test_it_is_told_once_it_starves() -> None:
    starved = threading.Event()
    liveness = watched(lambda: True, starved)
    liveness.start()
    assert starved.wait(180)


def test_a_busy_worker_and_one_without_a_database_live_on() -> None:
    looks = threading.Semaphore(0)
    starved = threading.Event()

    def away() -> bool:
        looks.release()
        raise ConnectionError

    def waits() -> bool:
        looks.release()
        return True

    for liveness in (watched(away, starved), watched(waits, starved, busy=True)):
        liveness.start()
        for _ in range(10):
            assert looks.acquire(timeout=180)
        liveness.close()
    assert not starved.is_set()

"""An outage is told when it begins and when it is over, once each."""

import threading

import psycopg
import pytest
from psycopg import errors as pg
from structlog.testing import capture_logs

from docmill.worker.errors import JobError
from docmill.worker.log import get_logger
from docmill.worker.store import outage as told_of
from docmill.worker.store.outage import CALM_SECONDS, Outage, is_unavailable, warn


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def told(steps: str, *, seconds: float = 1.0) -> list[str]:
    """What is told of failures (-) and answers (+), a second apart."""
    clock = Clock()
    outage = Outage(clock)
    with capture_logs() as lines:
        for step in steps:
            clock.now += seconds
            if step == "-":
                outage.failed("no server")
            else:
                outage.answered()
    return [line["event"] for line in lines]


BEGAN, OVER = "database_unavailable", "database_back"


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ("+++", []),
        ("-", [BEGAN]),
        ("-----", [BEGAN]),
        ("-+", [BEGAN]),
        ("-++", [BEGAN, OVER]),
        ("-+-+-+", [BEGAN]),
        ("-+-+-++", [BEGAN, OVER]),
        ("-+++++", [BEGAN, OVER]),
        ("-++-++", [BEGAN, OVER, BEGAN, OVER]),
    ],
)
def test_each_outage_is_told_once(steps: str, expected: list[str]) -> None:
    assert CALM_SECONDS == 2
    assert told(steps) == expected


def test_its_length_is_told() -> None:
    clock = Clock()
    outage = Outage(clock)
    with capture_logs() as lines:
        outage.failed("no server")
        clock.now += 61.5
        outage.answered()
    assert lines[0]["reason"] == "no server"
    assert lines[1]["seconds"] == 61.5


def test_threads_that_fail_together_tell_it_once() -> None:
    outage = Outage()
    barrier = threading.Barrier(20)

    def fail() -> None:
        barrier.wait()
        outage.failed("no server")

    with capture_logs() as lines:
        threads = [threading.Thread(target=fail) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(lines) == 1


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (pg.ProtocolViolation("server login has been failing"), True),
        (psycopg.OperationalError("gone"), True),
        (psycopg.InterfaceError("closed"), True),
        (pg.ReadOnlySqlTransaction("standby"), True),
        (JobError("database_unavailable"), True),
        (pg.DeadlockDetected("another has the rows"), False),
        (pg.LockNotAvailable("another has the rows"), False),
        (JobError("provider_unavailable"), False),
        (pg.UndefinedFunction("a function is missing"), False),
    ],
)
def test_only_what_is_no_outage_is_warned_of(
    error: Exception, *, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert is_unavailable(error) == expected
    monkeypatch.setattr(told_of, "outage", Outage())
    with capture_logs() as lines:
        warn(get_logger(__name__), "not_done", error)
        told_of.outage.failed("no server")
        warn(get_logger(__name__), "not_done", error)
    before, _, during = (line["log_level"] for line in lines)
    # Without its own line an outage would be silent.
    assert (before, during) == ("warning", "debug" if expected else "warning")

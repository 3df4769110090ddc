"""All readers of a document share its allowance."""

import threading
import time

import pytest

from docmill.worker.errors import JobError
from docmill.worker.extraction.parent.allowance import Allowance, TimeAllowance


def test_an_amount_can_be_used_up_to_the_last() -> None:
    characters = Allowance(10, code="document_too_large", detail="")
    characters.draw(4)
    characters.draw(6)
    assert characters.left == 0
    with pytest.raises(JobError, match="document_too_large"):
        characters.draw(1)
    assert characters.left == 0


def test_what_is_waited_at_the_same_time_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    seconds = TimeAllowance(30, code="parse_timeout", detail="")
    inside, left = threading.Barrier(2, timeout=180), threading.Event()

    def wait_as_well() -> None:
        with seconds.waiting():
            inside.wait()
            left.wait(180)

    other = threading.Thread(target=wait_as_well)
    other.start()
    with seconds.waiting():
        inside.wait()
        clock[0] += 20
    assert seconds.left == 10
    clock[0] += 5
    left.set()
    other.join()
    assert seconds.left == 5


def test_time_that_is_used_up_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    seconds = TimeAllowance(30, code="parse_timeout", detail="wall clock")
    with pytest.raises(JobError, match="wall clock"), seconds.waiting():
        clock[0] += 31

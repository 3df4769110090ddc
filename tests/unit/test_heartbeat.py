"""The file for health checks."""

import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from docmill.worker.processes.heartbeat import FRESH_SECONDS, Heartbeat


class Clock:
    """A clock that is set by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def touched(path: Path) -> bool:
    """Whether the file was touched since the last call."""
    there = path.exists()
    path.unlink(missing_ok=True)
    return there


def test_it_is_touched_while_every_part_moves(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "heartbeat"
    heartbeat = Heartbeat(path, "left", "right")
    heartbeat.beat("left")
    assert not touched(path)  # the other has not moved yet
    heartbeat.beat("right")
    assert touched(path)
    clock.now += FRESH_SECONDS - 1
    heartbeat.beat("left")
    assert touched(path)
    clock.now += 2
    heartbeat.beat("left")
    assert not touched(path)  # the other does not move
    heartbeat.beat("right")
    assert touched(path)


def test_without_a_file_nothing_happens() -> None:
    Heartbeat(None, "part").beat("part")


def test_a_file_that_cannot_be_written_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(
        "docmill.worker.processes.heartbeat.log",
        SimpleNamespace(warning=lambda event, **_: said.append(event)),
    )
    path = tmp_path / "nowhere" / "heartbeat"
    heartbeat = Heartbeat(path, "part")
    heartbeat.beat("part")
    heartbeat.beat("part")
    assert said == ["heartbeat_not_written"]
    # The obstacle is gone: health checks see the process again.
    path.parent.mkdir()
    heartbeat.beat("part")
    assert path.exists()
    assert said == ["heartbeat_not_written"]

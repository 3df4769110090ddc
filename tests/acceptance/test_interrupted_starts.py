"""Embedded stacks that are told to end, or killed, while they start."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.installation import until
from tests.support.shell import Shell, descendants, is_running

#: Moments of a start, named by the file that then appears in the data folder.
MOMENTS = ("lock", "postgres/postgres.log", "redis/redis.log", "logs/worker.log")


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_start_can_be_interrupted(tmp_path: Path, moment: str) -> None:
    own = Shell(tmp_path)
    with own.terminal("up") as terminal:
        until((tmp_path / ".docmill" / moment).exists, moment)
        terminal.press_ctrl_c()
        terminal.wait_for("docmill: stopping what was started")
        started = descendants(terminal.process.pid)
        terminal.press_ctrl_c()
        said = terminal.ended(130)
        assert "docmill: interrupted; everything that was started is stopped" in said
    assert not any(is_running(pid) for pid in started)
    assert own.run("down").strip() == "nothing is running here"


def test_a_stack_in_the_foreground_says_how_to_stop_it(tmp_path: Path) -> None:
    own = Shell(tmp_path)
    with own.terminal("up") as terminal:
        terminal.wait_for("Stop it with: Ctrl-C")
        started = descendants(terminal.process.pid)
        assert len(started) >= 8
        # Twice in a row, like an impatient user.
        terminal.press_ctrl_c()
        terminal.wait_for("docmill: stopping what was started")
        terminal.press_ctrl_c()
        assert "docmill: interrupted" in terminal.ended(130)
    assert not any(is_running(pid) for pid in started)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_start_in_the_background_can_be_interrupted(
    tmp_path: Path, number: signal.Signals
) -> None:
    own = Shell(tmp_path)
    with own.terminal("up", "--detach") as terminal:
        until((tmp_path / ".docmill" / "postgres" / "postgres.log").exists, "a start")
        started = descendants(terminal.process.pid)
        assert started
        terminal.interrupt(number)
        said = terminal.ended(128 + number)
        assert "docmill: interrupted; everything that was started is stopped" in said
    assert not any(is_running(pid) for pid in started)
    assert own.run("down").strip() == "nothing is running here"


def test_a_stack_that_starts_can_be_stopped_from_elsewhere(tmp_path: Path) -> None:
    own = Shell(tmp_path)
    with own.terminal("up") as terminal:
        until((tmp_path / ".docmill" / "redis" / "redis.log").exists, "a start")
        # It waits for `down`, which may start later than the rest of the stack.
        os.kill(terminal.process.pid, signal.SIGSTOP)
        with ThreadPoolExecutor(1) as pool:
            stopping = pool.submit(own.run, "down")
            until(lambda: waits_for(terminal.process.pid, signal.SIGTERM), "the signal", 60)
            os.kill(terminal.process.pid, signal.SIGCONT)
            assert stopping.result(60).strip() == "stopped"
        terminal.ended(143)


def waits_for(pid: int, number: signal.Signals) -> bool:
    """Whether a signal to a process is still pending."""
    status = Path(f"/proc/{pid}/status").read_text()
    pending = int(status.split("ShdPnd:")[1].split()[0], 16)
    return bool(pending >> (number - 1) & 1)


def test_nothing_outlives_a_killed_stack(tmp_path: Path) -> None:
    own = Shell(tmp_path)
    assert "Flower" in own.run("up", "--detach")
    pid = own.stack_pid()
    children = descendants(pid)
    assert len(children) >= 8
    os.kill(pid, signal.SIGKILL)
    until(lambda: not any(is_running(child) for child in children), "all children gone", 20)
    assert own.run("down").strip() == "nothing is running here"

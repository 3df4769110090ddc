"""A demoted child that starves gets a turn; whoever is not starved costs the others nothing."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from docmill.worker.extraction.zygote.turns import (
    ENOUGH,
    TURN_SECONDS,
    WATCH_SECONDS,
    Turns,
    wants_a_core,
)

SPIN = "print(flush=True)\nwhile True: pass"
SLEEP = "import signal\nprint(flush=True)\nsignal.pause()"
#: A thread beside the first one works.
HELPER = """
import threading
def spin():
    while True: pass
threading.Thread(target=spin, daemon=True).start()
print(flush=True)
threading.Event().wait()
"""
#: Keepers; their families are in the table of the test.
OLD, OLDER, NEW, NEWER = range(4)


class Table:
    """Real processes by keeper, with a clock and CPU times that the test moves."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.used: dict[int, float] = {}
        self.families: dict[int, list[int]] = {}
        self.running: list[subprocess.Popen[bytes]] = []
        self.turns = Turns(
            family=lambda keeper: self.families.get(keeper, []),
            cpu_seconds=lambda pid: self.used.get(pid, 0.0),
            now=lambda: self.now,
        )

    def start(self, keeper: int, *programs: str) -> None:
        for program in programs:
            child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
            assert child.stdout
            child.stdout.readline()
            self.running.append(child)
            self.families.setdefault(keeper, []).append(child.pid)

    def use(self, keeper: int, seconds: float) -> None:
        pid = self.families[keeper][0]
        self.used[pid] = self.used.get(pid, 0.0) + seconds

    def look(self, demoted: set[int], others: set[int], *, after: float = 0.0) -> bool:
        self.now += after
        self.turns.look(demoted, others)
        return self.turns.is_on

    def stopped(self, keeper: int) -> list[bool]:
        return [_state(pid, "T") for pid in self.families[keeper]]


def _state(pid: int, wanted: str) -> bool:
    # A signal is delivered a little later.
    until = time.monotonic() + 5
    while time.monotonic() < until:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        if (state == "T") == (wanted == "T"):
            break
    return state == "T"


@pytest.fixture
def table() -> Iterator[Table]:
    made = Table()
    yield made
    for child in made.running:
        child.kill()
        child.wait()


@pytest.mark.parametrize(("program", "expected"), [(SPIN, True), (SLEEP, False), (HELPER, True)])
def test_who_wants_a_core(table: Table, program: str, *, expected: bool) -> None:
    table.start(OLD, program)
    (pid,) = table.families[OLD]
    until = time.monotonic() + 30
    while wants_a_core(pid) != expected and time.monotonic() < until:
        pass
    assert wants_a_core(pid) == expected


def test_others_stop_for_a_turn_and_then_go_on(table: Table) -> None:
    table.start(OLD, SPIN)
    table.start(NEW, SLEEP, SLEEP)
    assert not table.look({OLD}, {NEW})
    assert not table.look({OLD}, {NEW}, after=WATCH_SECONDS * 0.9)
    assert table.look({OLD}, {NEW}, after=WATCH_SECONDS * 0.2)
    assert table.stopped(NEW) == [True, True]
    assert table.look({OLD}, {NEW}, after=TURN_SECONDS / 2)
    assert not table.look({OLD}, {NEW}, after=TURN_SECONDS)
    assert [_state(pid, "") for pid in table.families[NEW]] == [False, False]
    # The next turn is as far away as the first one.
    assert not table.look({OLD}, {NEW}, after=WATCH_SECONDS * 0.9)
    assert table.look({OLD}, {NEW}, after=WATCH_SECONDS * 0.2)


def test_who_gets_enough_stops_nobody(table: Table) -> None:
    table.start(OLD, SPIN)
    table.start(NEW, SLEEP)
    assert not table.look({OLD}, {NEW})
    for _ in range(5):
        table.use(OLD, WATCH_SECONDS * ENOUGH * 1.1)
        assert not table.look({OLD}, {NEW}, after=WATCH_SECONDS)
    table.use(OLD, WATCH_SECONDS * ENOUGH * 0.9)
    assert table.look({OLD}, {NEW}, after=WATCH_SECONDS)


def test_who_waits_for_something_else_stops_nobody(table: Table) -> None:
    table.start(OLD, SLEEP)
    table.start(NEW, SLEEP)
    assert not table.look({OLD}, {NEW})
    assert not table.look({OLD}, {NEW}, after=WATCH_SECONDS * 1.1)


def test_children_that_are_demoted_later_do_not_take_the_turn_of_an_older_one(
    table: Table,
) -> None:
    table.start(OLD, SPIN)
    table.start(NEW, SLEEP)
    assert not table.look({OLD}, {NEW})
    for number in range(9):  # each is demoted, and ends soon after
        assert not table.look({OLD, 10 + number}, {NEW}, after=WATCH_SECONDS / 10)
    assert table.look({OLD}, {NEW}, after=WATCH_SECONDS / 5)


def test_one_turn_is_for_all_who_are_demoted(table: Table) -> None:
    table.start(OLD, SPIN)
    table.start(OLDER, SPIN)
    table.start(NEW, SLEEP)
    assert not table.look({OLD, OLDER}, {NEW})
    assert table.look({OLD, OLDER}, {NEW}, after=WATCH_SECONDS)
    assert table.stopped(OLD) == table.stopped(OLDER) == [False]
    assert not table.look({OLD, OLDER}, {NEW}, after=TURN_SECONDS)
    assert not table.look({OLD, OLDER}, {NEW}, after=WATCH_SECONDS * 0.9)


def test_who_comes_during_a_turn_runs(table: Table) -> None:
    table.start(OLD, SPIN)
    table.start(NEW, SLEEP)
    table.look({OLD}, {NEW})
    assert table.look({OLD}, {NEW}, after=WATCH_SECONDS)
    table.start(NEWER, SLEEP)
    assert table.look({OLD}, {NEW, NEWER}, after=TURN_SECONDS / 5)
    assert [_state(pid, "") for pid in table.families[NEWER]] == [False]


def test_a_process_that_ends_while_it_is_stopped_is_no_obstacle(table: Table) -> None:
    table.start(OLD, SPIN)
    table.start(NEW, SLEEP)
    table.look({OLD}, {NEW})
    assert table.look({OLD}, {NEW}, after=WATCH_SECONDS)
    os.kill(table.families[NEW][0], signal.SIGKILL)
    table.running[1].wait()
    assert not table.look({OLD}, set(), after=TURN_SECONDS)


def test_without_others_nobody_is_stopped(table: Table) -> None:
    table.start(OLD, SPIN)
    table.look({OLD}, set())
    assert not table.look({OLD}, set(), after=10 * WATCH_SECONDS)


def test_a_zygote_that_ends_lets_all_go_on(table: Table) -> None:
    table.start(OLD, SPIN)
    table.start(NEW, SLEEP)
    table.look({OLD}, {NEW})
    assert table.look({OLD}, {NEW}, after=WATCH_SECONDS)
    table.turns.end()
    assert [_state(pid, "") for pid in table.families[NEW]] == [False]

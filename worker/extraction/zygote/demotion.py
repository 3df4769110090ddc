"""Lowers the priority of children that take long.

Nobody knows before reading how long a document takes: 50 KB of brackets can keep a parser busy for
minutes. A child that has used its share of the CPU runs only when others leave a core free, and in
turns that keep it from waiting for ever. Neither it nor a process that it starts can raise its
priority again, because it has given up the privilege for this.
"""

import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from docmill.worker.extraction.zygote import turns
from docmill.worker.extraction.zygote.turns import Turns

#: CPU time that every child may use before it is demoted. Documents of ordinary size need less.
SHARE_SECONDS = 2.0
#: How often to look while some children are not demoted.
POLL_MILLISECONDS = 500
#: The lowest weight of a group, if the kernel makes a group of each session.
_LOWEST = "19"


class Demotion:
    """Remembers which children are demoted."""

    def __init__(self, readers: Callable[[int], list[int]]) -> None:
        """`readers` tells the processes that read a document, by the pid that stands for it."""
        self._readers = readers
        self._demoted: set[int] = set()
        self._turns = Turns(family=readers, cpu_seconds=cpu_seconds)

    def patience(self, pids: Iterable[int]) -> int | None:
        """Milliseconds until it must look again; None: when other children run than these."""
        if self._turns.is_on:
            return int(turns.TURN_SECONDS * 1000)
        return None if self._demoted >= set(pids) else POLL_MILLISECONDS

    def end(self) -> None:
        """Let all children go on."""
        self._turns.end()

    def look(self, pids: Iterable[int]) -> None:
        """Demote those of these that have used their share."""
        running = set(pids)
        self._demoted &= running
        for pid in running - self._demoted:
            readers = self._readers(pid)
            if sum(map(cpu_seconds, readers)) >= SHARE_SECONDS:
                for member in readers:
                    _demote(member)
                self._demoted.add(pid)
        self._turns.look(self._demoted, running - self._demoted)


def cpu_seconds(pid: int) -> float:
    """CPU time of a process and of its ended descendants; 0 if the process itself has ended."""
    with suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    return 0


def family(pid: int) -> list[int]:
    """A process and all its descendants."""
    found = [pid]
    for member in found:  # grows meanwhile
        with suppress(OSError):
            for thread in Path(f"/proc/{member}/task").iterdir():
                found += map(int, (thread / "children").read_text().split())
    return found


def _demote(pid: int) -> None:
    """Let a process run only when no other wants to. Ignores processes that have ended."""
    with suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            os.sched_setscheduler(int(thread.name), os.SCHED_IDLE, os.sched_param(0))
    with suppress(OSError):
        # The kernel may schedule a session as a group; then the policy of its members does not
        # count outside it.
        Path(f"/proc/{pid}/autogroup").write_text(_LOWEST)

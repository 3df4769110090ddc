"""Children that take long give way to those that do not.

How long a document takes shows only while it is read: 50 KB of brackets hold a parser for minutes.
A child that has used its share of the CPU goes on with what the others leave, and neither it nor
what it starts can raise itself again: that takes a privilege which it has given up.
"""

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

#: What every child may use before it gives way. Documents of ordinary size need less.
SHARE_SECONDS = 2.0
#: How often it is looked while there are children that have not given way.
POLL_MILLISECONDS = 500
#: The lowest weight among groups, where the kernel makes a group of each session.
_LOWEST = "19"


class Demotion:
    """Which children have given way already."""

    def __init__(self) -> None:
        self._demoted: set[int] = set()

    def is_over(self, pids: Iterable[int]) -> bool:
        """Whether none of these children is left to look at."""
        return self._demoted >= set(pids)

    def look(self, pids: Iterable[int]) -> None:
        """Demote what has used its share by now below these keepers, who stay awake."""
        running = set(pids)
        self._demoted &= running
        for pid in running - self._demoted:
            _, *family = _family(pid)
            if sum(map(cpu_seconds, family)) >= SHARE_SECONDS:
                for member in family:
                    _demote(member)
                self._demoted.add(pid)


def cpu_seconds(pid: int) -> float:
    """What a process has used, and those below it that have ended; 0 when it has ended itself."""
    with suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    return 0


def _family(pid: int) -> list[int]:
    """A process and all below it."""
    found = [pid]
    for member in found:  # grows meanwhile
        with suppress(OSError):
            for thread in Path(f"/proc/{member}/task").iterdir():
                found += map(int, (thread / "children").read_text().split())
    return found


def _demote(pid: int) -> None:
    """Let it run only when nobody else wants to. What has ended meanwhile needs it no more."""
    with suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            os.sched_setscheduler(int(thread.name), os.SCHED_IDLE, os.sched_param(0))
    with suppress(OSError):
        # A session is scheduled as a group, so that its members' policy says nothing outside it.
        Path(f"/proc/{pid}/autogroup").write_text(_LOWEST)

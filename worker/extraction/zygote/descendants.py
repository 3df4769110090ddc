"""The descendants of a process, and whether there are too many.

The kernel's own limit counts all processes of a user and does not bind root, and in a container
docmill cannot make a control group. So a process outside must look often enough. Pids here are
those of the worker's /proc. Inside a PID namespace they are useful only for looking there.
"""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

#: More than LibreOffice and pandoc need, even with the threads on a machine with many cores.
MAX_PROCESSES, MAX_THREADS = 32, 512


def below(pid: int) -> list[Path] | None:
    """The threads of all descendants of a process, as folders of /proc; None if too many."""
    waiting = _children_of_all(threads_of(pid))
    processes, threads = 0, []
    while waiting:
        processes += 1
        own = threads_of(waiting.pop())
        threads += own
        waiting += _children_of_all(own)
        if processes + len(waiting) > MAX_PROCESSES or len(threads) > MAX_THREADS:
            return None
    return threads


def threads_of(pid: int) -> list[Path]:
    """The threads of a process, as folders of /proc; empty if it has ended."""
    with suppress(OSError):
        return list(Path(f"/proc/{pid}/task").iterdir())
    return []


def _children_of_all(threads: list[Path]) -> list[int]:
    return [child for thread in threads for child in children_of(thread)]


def children_of(thread: Path) -> list[int]:
    """Pids of the processes that a thread has started or adopted; empty if it has ended."""
    with suppress(OSError):
        return [int(child) for child in (thread / "children").read_text().split()]
    return []


def own_children() -> Iterator[int]:
    """Pids of the processes that this process, which has one thread, has started or adopted."""
    yield from children_of(Path("/proc/thread-self"))

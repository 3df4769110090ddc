"""What a process has below it, and whether that is too much.

The kernel's own limit counts all of a user's processes, and does not bind root; a control group is
not ours to make in a container. So somebody outside has to look, often enough. Pids here are those
of /proc, which is the worker's: in a PID namespace they are good for looking there, for nothing
else.
"""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

#: More than LibreOffice and pandoc have, its threads on a machine of many cores included.
MAX_PROCESSES, MAX_THREADS = 32, 512


def below(pid: int) -> list[Path] | None:
    """The threads of all descendants of a process, as folders of /proc; None if too many."""
    waiting = _children_of_all(_threads(pid))
    processes, threads = 0, []
    while waiting:
        processes += 1
        own = _threads(waiting.pop())
        threads += own
        waiting += _children_of_all(own)
        if processes + len(waiting) > MAX_PROCESSES or len(threads) > MAX_THREADS:
            return None
    return threads


def _threads(pid: int) -> list[Path]:
    """None of a process that has ended meanwhile."""
    with suppress(OSError):
        return list(Path(f"/proc/{pid}/task").iterdir())
    return []


def _children_of_all(threads: list[Path]) -> list[int]:
    return [child for thread in threads for child in children_of(thread)]


def children_of(thread: Path) -> list[int]:
    """Process ids of what a thread has started or adopted; none when it has ended."""
    with suppress(OSError):
        return [int(child) for child in (thread / "children").read_text().split()]
    return []


def own_children() -> Iterator[int]:
    """Process ids of what this process, which has one thread, has started or adopted."""
    yield from children_of(Path("/proc/thread-self"))

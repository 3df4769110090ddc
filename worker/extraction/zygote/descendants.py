"""How many processes and threads a process has below it.

The kernel's own limit counts all of a user's processes, and does not bind root; a control group is
not ours to make in a container. So somebody outside has to look, often enough.
"""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

#: More than LibreOffice and pandoc have, its threads on a machine of many cores included.
MAX_PROCESSES, MAX_THREADS = 32, 512


def are_too_many(pid: int) -> bool:
    """Whether a process and its descendants are more than a program may have."""
    processes, threads, waiting = 0, 0, [pid]
    while waiting:
        processes += 1
        for children in _children_by_thread(waiting.pop()):
            threads += 1
            waiting += children
        if processes + len(waiting) > MAX_PROCESSES or threads > MAX_THREADS:
            return True
    return False


def _children_by_thread(pid: int) -> Iterator[list[int]]:
    """The children of each thread; none of a process that has ended meanwhile."""
    with suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            yield children_of(thread)


def children_of(thread: Path) -> list[int]:
    """Process ids of what a thread has started or adopted; none when it has ended."""
    with suppress(OSError):
        return [int(child) for child in (thread / "children").read_text().split()]
    return []

"""CPU seconds of whole trees of processes, and the most memory that they use at once."""

import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_POLL_SECONDS: Final = 0.2


def children(pid: int) -> list[int]:
    """The running processes that a process has started."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        return [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except OSError:
        return []


def tree(pid: int) -> Iterator[int]:
    """A process and all its descendants."""
    yield pid
    for child in children(pid):
        yield from tree(child)


def _times(pid: int) -> list[float]:
    # Its own user and system time, then the time of ended children that it waited for.
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return [0]
    return [int(ticks) / _TICKS for ticks in fields[11:15]]


def own_cpu_of(pid: int) -> float:
    """CPU seconds of a process."""
    return sum(_times(pid)[:2])


def cpu_of(pid: int) -> float:
    """CPU seconds of a process and of its ended children that it waited for."""
    return sum(_times(pid))


def memory_of(pid: int) -> float:
    """Proportional set size in MB."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1000


class Meter:
    """Watches running processes. A process that ends between two looks is counted by its parent."""

    def __init__(self, *, postgres: Sequence[int]) -> None:
        self.peak_mb = 0.0
        self._roots: dict[str, list[int]] = {"PostgreSQL": list(postgres)}
        self._alone: set[str] = set()
        self._before = {"PostgreSQL": self._sum("PostgreSQL")}
        self._after: dict[str, float] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._loop, daemon=True)
        self._thread.start()

    def follow(self, part: str, pid: int, *, alone: bool = False) -> None:
        """Count this process and its descendants to a part; `alone`: only the process."""
        if alone:
            self._alone.add(part)
        self._roots.setdefault(part, []).append(pid)
        self._before[part] = self._sum(part)

    def stop(self) -> None:
        """Look once more. A process that has ended counts as at the last look."""
        self._stopping.set()
        self._thread.join()

    def cpu(self) -> dict[str, float]:
        """Seconds by part since they were followed."""
        return {part: self._after[part] - self._before[part] for part in self._roots}

    def _loop(self) -> None:
        while True:
            ended = self._stopping.wait(_POLL_SECONDS)
            for part in list(self._roots):
                # A tree that ends takes its figures along, so the highest value counts.
                self._after[part] = max(self._after.get(part, 0), self._sum(part))
            self.peak_mb = max(self.peak_mb, self._memory())
            if ended:
                return

    def _sum(self, part: str) -> float:
        if part in self._alone:
            return sum(map(own_cpu_of, self._roots[part]))
        return sum(cpu_of(one) for root in self._roots[part] for one in tree(root))

    def _memory(self) -> float:
        return sum(
            memory_of(one)
            for part, roots in list(self._roots.items())
            if part != "PostgreSQL"
            for root in roots
            for one in ([root] if part in self._alone else tree(root))
        )

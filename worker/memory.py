"""Memory of the machine, or of the control group that this process is in."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

_GROUPS: Final = Path("/sys/fs/cgroup")
#: For each version of control groups: limit, use, and the part of the use that the kernel can free
#: at once.
_FIGURES: Final = (
    ("memory.max", "memory.current", "memory.stat", "inactive_file"),
    (
        "memory/memory.limit_in_bytes",
        "memory/memory.usage_in_bytes",
        "memory/memory.stat",
        "total_inactive_file",
    ),
)


def total_bytes() -> int:
    """How much memory this process and its children may use at most."""
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min([machine, *(limit for limit, _ in _groups())])


def available_bytes() -> int:
    """How much memory is available now without swapping."""
    machine = _named(Path("/proc/meminfo"), "MemAvailable:") * 1024
    return min([machine, *(limit - used for limit, used in _groups())])


def _groups() -> list[tuple[int, int]]:
    """Limit and use of the control group; empty if there is no group or no limit."""
    found = []
    for limit, used, statistics, cache in _FIGURES:
        with suppress(OSError, ValueError):
            used_bytes = int((_GROUPS / used).read_text())
            freed = _named(_GROUPS / statistics, cache)
            found.append((int((_GROUPS / limit).read_text()), used_bytes - freed))
    return found


def _named(path: Path, name: str) -> int:
    """The figure of this name in a file of names and figures. Raises ValueError without it."""
    for line in path.read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1])
    raise ValueError(name)

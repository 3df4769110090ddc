"""Makes forks cheap: memory that children share with the zygote is in large pages.

A fork copies the table of pages, and the end of a process frees it. A large page has one entry
instead of 512. Where a child writes, the kernel splits a large page into small ones. Each child
needs two forks: its keeper's and its own.
"""

import ctypes
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_MADV_COLLAPSE = 25
_LARGE = 2 * 1024 * 1024


def use_large_pages() -> None:
    """Move this process's own memory into large pages. Does nothing if there are none."""
    libc = ctypes.CDLL(None)
    with suppress(OSError):
        for first, last in _own_memory(Path("/proc/self/maps").read_text()):
            libc.madvise(ctypes.c_void_p(first), ctypes.c_size_t(last - first), _MADV_COLLAPSE)


def _own_memory(maps: str) -> Iterator[tuple[int, int]]:
    """The ranges of writable memory without a file that large pages fit into."""
    for line in maps.splitlines():
        addresses, rights, _, _, inode = line.split()[:5]
        if rights != "rw-p" or inode != "0":
            continue
        begin, end = (int(address, 16) for address in addresses.split("-"))
        first, last = -(-begin // _LARGE) * _LARGE, end // _LARGE * _LARGE
        if first < last:
            yield first, last

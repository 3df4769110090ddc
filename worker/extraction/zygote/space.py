"""How much disk space a child uses, in its folder and in files without a name.

The kernel limits the size of each file, but not their sum, and docmill cannot set quotas. So a
process outside must look often enough.
"""

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path

#: Twice the largest file that a child may write: LibreOffice reads one file and writes another.
MAX_BYTES = 512 * 1024 * 1024
#: Each file counts as at least this much, so 8,192 empty files are too many. A profile of
#: LibreOffice has some hundred.
_ENTRY_BYTES = 64 * 1024
#: Levels of nested folders. A profile of LibreOffice has less than ten.
_MAX_DEPTH = 32
_TOO_MUCH = MAX_BYTES + 1
_BLOCK_BYTES = 512  # unit of st_blocks, on every file system


def is_exceeded(
    folder: str, threads: Iterable[Path], document: os.stat_result, file_bytes: int
) -> bool:
    """Whether the files in a folder, and files without a name that threads hold, take too much.

    `document` is their input; it may have no name, and does not count. `file_bytes` is the limit
    for one file. A mapped file without a name counts as this much, because its size is not known.
    """
    left = MAX_BYTES
    held = (_nameless(thread, folder, document, file_bytes) for thread in threads)
    for taken in chain(_of_folder(folder, 0), *held):
        left -= taken
        if left < 0:
            return True
    return False


def _of_folder(name: str, depth: int, parent: int | None = None) -> Iterator[int]:
    """The size of each file. A folder that cannot be read counts as too much."""
    if depth > _MAX_DEPTH:
        yield _TOO_MUCH
        return
    try:
        opened = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
    except (FileNotFoundError, NotADirectoryError):
        return  # it was removed after its name was read
    except OSError:
        yield _TOO_MUCH
        return
    try:
        with os.scandir(opened) as entries:
            for entry in entries:
                with suppress(OSError):
                    yield max(_ENTRY_BYTES, _bytes_of(entry.stat(follow_symlinks=False)))
                    if entry.is_dir(follow_symlinks=False):
                        yield from _of_folder(entry.name, depth + 1, opened)
    finally:
        os.close(opened)


def _nameless(
    thread: Path, folder: str, document: os.stat_result, file_bytes: int
) -> Iterator[int]:
    """The size of removed files that are still open or mapped."""
    with suppress(OSError):  # it has ended
        for descriptor in (thread / "fd").iterdir():
            with suppress(OSError):
                status = descriptor.stat()
                is_file = stat.S_ISREG(status.st_mode) and status.st_nlink == 0
                if is_file and not os.path.samestat(status, document):
                    yield _bytes_of(status)
    if thread.name == thread.parent.parent.name:  # threads share mapped files
        with suppress(OSError):
            maps = (thread / "maps").read_bytes()
            yield file_bytes * len(_mapped(maps, folder.encode()))


def _mapped(maps: bytes, folder: bytes) -> set[bytes]:
    """Inodes of mapped files that were removed from a folder: one page keeps the whole file."""
    if b" (deleted)\n" not in maps:
        return set()
    lines = [line for line in maps.splitlines() if line.endswith(b" (deleted)")]
    return {line.split()[4] for line in lines if b" " + folder + b"/" in line}


def _bytes_of(status: os.stat_result) -> int:
    return _BLOCK_BYTES * status.st_blocks

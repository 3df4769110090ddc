"""Private folders of children, below one folder that belongs to this worker."""

import fcntl
import itertools
import os
import shutil
import stat
import tempfile
import time
from contextlib import suppress
from pathlib import Path

_PREFIX = "docmill-extraction-"
_LOCK = "lock"
#: The owner of a folder this young may not have locked it yet.
_YOUNG_SECONDS = 5
#: How often to look for orphans.
_SWEEP_SECONDS = 60


class PrivateFolders:
    """Makes and removes folders that only this user can enter.

    A killed worker cannot remove its folders: the next worker that starts here does it.
    """

    def __init__(self, temp_dir: Path) -> None:
        self._temp_dir = temp_dir
        self.root = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=temp_dir))
        # Held until this process ends, however it ends. A process that can take this lock has found
        # an orphan.
        self._lock = os.open(self.root / _LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self._next_sweep = 0.0
        self._sweep()

    def _sweep(self) -> None:
        # Look again from time to time: folders of the previous worker may have been too young.
        self._next_sweep = time.monotonic() + _SWEEP_SECONDS
        for sibling in self._temp_dir.glob(f"{_PREFIX}*"):
            with suppress(OSError):
                _remove_if_orphaned(sibling)

    def make(self) -> Path:
        """A new empty folder."""
        if time.monotonic() > self._next_sweep:
            self._sweep()
        return Path(tempfile.mkdtemp(prefix="child-", dir=self.root))

    def remove(self, folder: Path) -> None:
        """Remove a folder with everything that a child has left in it. Repeatable."""
        _remove_tree(folder)

    def close(self) -> None:
        """Remove everything, also folders of workers that were killed meanwhile. Repeatable."""
        self._sweep()
        _remove_all(self.root)
        if self._lock != -1:
            os.close(self._lock)
            self._lock = -1


def _remove_all(root: Path) -> None:
    """Remove the folders of children, then their parent folder."""
    with suppress(OSError):
        for entry in list(os.scandir(root)):
            if entry.is_dir(follow_symlinks=False):
                _remove_tree(Path(entry))
    shutil.rmtree(root, ignore_errors=True)


def _remove_tree(folder: Path) -> None:
    """Remove a tree that a hostile process may have made hard to remove.

    Folders may be nested deeper than a path or a stack allows, and closed to their owner. So each
    folder is opened for its owner, and moved up beside the uppermost one before its content is
    removed.
    """
    beside = (folder.with_name(f"{folder.name}-{number}") for number in itertools.count())
    waiting = [folder]
    while waiting:
        emptied = waiting.pop()
        with suppress(OSError):
            emptied.chmod(stat.S_IRWXU)
            for entry in list(os.scandir(emptied)):
                if entry.is_dir(follow_symlinks=False):
                    Path(entry).chmod(stat.S_IRWXU)
                    waiting.append(Path(entry).rename(next(beside)))
                else:
                    Path(entry).unlink()
            emptied.rmdir()


def _remove_if_orphaned(folder: Path) -> None:
    status = folder.lstat()
    if status.st_uid != os.geteuid() or time.time() - status.st_mtime < _YOUNG_SECONDS:
        return
    lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _remove_all(folder)
    finally:
        os.close(lock)

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
#: A folder this young may be one whose owner has not locked it yet.
_YOUNG_SECONDS = 5
#: How often orphans are looked for.
_SWEEP_SECONDS = 60


class PrivateFolders:
    """Makes and removes folders that only this user can enter.

    A worker that was killed cannot tidy up: the next one that starts here does it.
    """

    def __init__(self, temp_dir: Path) -> None:
        self._temp_dir = temp_dir
        self.root = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=temp_dir))
        # Held until this process ends, however it ends: who can take it has found an orphan.
        self._lock = os.open(self.root / _LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self._next_sweep = 0.0
        self._sweep()

    def _sweep(self) -> None:
        # Again from time to time: what the one before us left may have been too young.
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
        """Remove a folder with all a child has left in it. Repeatable."""
        _remove_tree(folder)

    def close(self) -> None:
        """Remove everything, and what killed workers have left meanwhile. Repeatable."""
        self._sweep()
        _remove_all(self.root)
        if self._lock != -1:
            os.close(self._lock)
            self._lock = -1


def _remove_all(root: Path) -> None:
    """Remove the folders of children, then what they are in."""
    with suppress(OSError):
        for entry in list(os.scandir(root)):
            if entry.is_dir(follow_symlinks=False):
                _remove_tree(Path(entry))
    shutil.rmtree(root, ignore_errors=True)


def _remove_tree(folder: Path) -> None:
    """Remove what somebody may have made who wants it to stay.

    Folders are deeper than a path or a stack can be, and closed to their owner: so each is opened,
    and moved up beside the uppermost before it is looked into.
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

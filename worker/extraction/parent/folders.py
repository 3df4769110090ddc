"""Private folders of children, below one folder that belongs to this worker."""

import fcntl
import os
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path

_PREFIX = "docmill-extraction-"
_LOCK = "lock"
#: A folder this young may be one whose owner has not locked it yet.
_YOUNG_SECONDS = 60


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
        self._next_sweep = time.monotonic() + 2 * _YOUNG_SECONDS
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
        shutil.rmtree(folder, ignore_errors=True)

    def close(self) -> None:
        """Remove everything. Repeatable."""
        shutil.rmtree(self.root, ignore_errors=True)
        if self._lock != -1:
            os.close(self._lock)
            self._lock = -1


def _remove_if_orphaned(folder: Path) -> None:
    status = folder.lstat()
    if status.st_uid != os.geteuid() or time.time() - status.st_mtime < _YOUNG_SECONDS:
        return
    lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(lock)

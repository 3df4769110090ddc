"""Where downloads lie while they are read: nameless files, and a bound on their total size."""

import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

from worker.errors import NO_SPACE, JobError
from worker.ports import StopCheck

_POLL_SECONDS: Final = 0.5


def _nameless_file(folder: Path) -> IO[bytes]:
    try:
        return tempfile.TemporaryFile(dir=folder)
    except OSError as error:
        if error.errno in NO_SPACE:
            raise JobError("no_space", "the spool folder is full") from error
        raise


class Spool:
    """Hands out files to download into, never more bytes at once than its capacity.

    The files have no name in the file system (O_TMPFILE): when the process dies, however it dies,
    the kernel frees them, and no object's name ever becomes a local path.
    """

    def __init__(self, folder: Path, *, capacity_bytes: int) -> None:
        self._folder = folder
        self._capacity = capacity_bytes
        self._used = 0
        self._freed = threading.Condition()

    @contextmanager
    def file(self, size_bytes: int, check: StopCheck) -> Iterator[Path]:
        """A file for this many bytes; waits while the spool is full, calling `check`."""
        # A document as large as the spool gets it for itself.
        share = min(max(size_bytes, 1), self._capacity)
        self._acquire(share, check)
        try:
            with _nameless_file(self._folder) as file:
                yield Path(f"/proc/{os.getpid()}/fd/{file.fileno()}")
        finally:
            with self._freed:
                self._used -= share
                self._freed.notify_all()

    def _acquire(self, share: int, check: StopCheck) -> None:
        with self._freed:
            while self._used + share > self._capacity:
                check()
                self._freed.wait(_POLL_SECONDS)
            self._used += share

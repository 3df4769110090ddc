"""Files without names that hold downloads while they are read, and a bound on their total size."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from docmill.worker.errors import NO_SPACE, JobError
from docmill.worker.fair_gate import FairGate
from docmill.worker.ports import StopCheck


def _nameless_file(folder: Path) -> IO[bytes]:
    try:
        return tempfile.TemporaryFile(dir=folder)
    except OSError as error:
        if error.errno in NO_SPACE:
            raise JobError("no_space", "the spool folder is full") from error
        raise


class Spool:
    """Hands out files to download into, which together never hold more than its capacity.

    The files have no name in the file system (O_TMPFILE). So the kernel frees them however the
    process dies, and the name of an object never becomes a local path.
    """

    def __init__(self, folder: Path, *, capacity_bytes: int) -> None:
        self._folder = folder
        self._gate = FairGate(capacity_bytes)

    @contextmanager
    def file(self, size_bytes: int, *, owner: str, check: StopCheck) -> Iterator[Path]:
        """A file for this many bytes; waits while the spool is full, calling `check`."""
        # A document as large as the spool gets the whole spool.
        share = self._gate.acquire(owner, max(size_bytes, 1), check)
        try:
            with _nameless_file(self._folder) as file:
                yield Path(f"/proc/{os.getpid()}/fd/{file.fileno()}")
        finally:
            share.release()

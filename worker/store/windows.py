"""Windows of documents: kept as they are read, so that a later run need not read them again."""

from collections.abc import Collection
from typing import Final, LiteralString

from docmill.worker.errors import JobError, LeaseLostError
from docmill.worker.models import Claim
from docmill.worker.store.database import Database

KEPT_WINDOWS: Final[LiteralString] = """
    select number from ingest_private.kept_windows(%(document_id)s, %(sha256)s, %(version)s)
"""
KEPT_WINDOW: Final[LiteralString] = """
    select ingest_private.kept_window(%(document_id)s, %(sha256)s, %(version)s, %(number)s)
"""
KEEP_WINDOW: Final[LiteralString] = """
    select ingest_private.keep_window(
        %(job_id)s, %(token)s, %(sha256)s, %(version)s, %(number)s, %(content)s)
"""


class WindowStore:
    """The kept windows of one version of a document; see ports.KeptWindows."""

    def __init__(self, database: Database, claim: Claim, *, sha256: bytes, version: str) -> None:
        """`version` is the version of the rules by which the bytes with this hash are read."""
        self._database = database
        self._run = {"job_id": claim.job_id, "token": claim.token}
        self._key = {"document_id": claim.document_id, "sha256": sha256, "version": version}

    def numbers(self) -> Collection[int]:
        """Numbers of the kept windows. Raises JobError if the database cannot be asked."""
        with self._database.statement() as connection:
            return [row[0] for row in connection.execute(KEPT_WINDOWS, self._key)]

    def load(self, number: int) -> bytes:
        """Content of a kept window. Raises JobError, also if it was pruned meanwhile."""
        with self._database.statement() as connection:
            row = connection.execute(KEPT_WINDOW, {**self._key, "number": number}).fetchone()
        if row is None or row[0] is None:
            raise JobError("internal_error", "a window is not kept any more", counted=False)
        return bytes(row[0])

    def keep(self, number: int, content: bytes) -> None:
        """Keep a window. Raises LeaseLostError if another run owns the job, JobError."""
        window = {**self._key, **self._run, "number": number, "content": content}
        with self._database.statement() as connection:
            row = connection.execute(KEEP_WINDOW, window).fetchone()
        if row is None or not row[0]:
            raise LeaseLostError

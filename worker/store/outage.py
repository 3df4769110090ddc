"""One line when the database goes away, and one when it is back, whoever of a process notices.

Everything that asks the database fails meanwhile, each in its own way, and is tried again. Lines
for each of them would hide what else happens.
"""

import threading
import time
from collections.abc import Callable
from typing import Final

import psycopg
import structlog
from psycopg import errors as pg
from psycopg_pool import PoolTimeout

from docmill.worker.errors import JobError
from docmill.worker.log import get_logger, redact

log = get_logger(__name__)

#: The database cannot be used now: it is down, it is a standby that accepts no writes, or it ended
#: the session of a process that was suspended.
UNAVAILABLE: Final = (
    PoolTimeout,
    psycopg.OperationalError,
    psycopg.InterfaceError,
    pg.ReadOnlySqlTransaction,
    pg.IdleInTransactionSessionTimeout,
)

#: Errors after which the same statement may succeed: another transaction had the rows.
CONTENTION: Final = (
    pg.LockNotAvailable,
    pg.DeadlockDetected,
    pg.SerializationFailure,
    pg.UniqueViolation,
)

#: An outage is over when the database answers and nothing failed for this long. Else each of many
#: connections that are broken one by one would be an outage.
CALM_SECONDS: Final = 2.0


class Outage:
    """Whether the database is away, as this process sees it. Safe to use from threads."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        """`now` is a clock in seconds."""
        self._now = now
        self._lock = threading.Lock()
        self._since: float | None = None
        self._failed = 0.0

    @property
    def is_on(self) -> bool:
        """Whether an outage was told, and its end was not."""
        return self._since is not None

    def failed(self, reason: str) -> None:
        """Note that the database could not be used; the first time is told."""
        with self._lock:
            self._failed = self._now()
            is_first = self._since is None
            if is_first:
                self._since = self._failed
        if is_first:
            log.warning("database_unavailable", reason=reason)

    def answered(self) -> None:
        """Note that the database was used; the end of an outage is told."""
        if self._since is None:  # nearly always, so without the lock
            return
        with self._lock:
            now = self._now()
            if self._since is None or now - self._failed < CALM_SECONDS:
                return
            seconds, self._since = now - self._since, None
        log.info("database_back", seconds=round(seconds, 1))


#: A process uses one database.
outage = Outage()


def is_unavailable(error: BaseException) -> bool:
    """Whether the database is away, and no statement is to blame."""
    if isinstance(error, JobError):
        return error.code == "database_unavailable"
    return isinstance(error, UNAVAILABLE) and not isinstance(error, CONTENTION)


def warn(
    logger: "structlog.stdlib.BoundLogger", event: str, error: BaseException, **fields: object
) -> None:
    """Warn of what the database did not do, unless an outage was told: that line is enough."""
    code = error.code if isinstance(error, JobError) else type(error).__name__
    write = logger.debug if outage.is_on and is_unavailable(error) else logger.warning
    write(event, error=code, **fields)


def connection_failure(error: psycopg.Error) -> str:
    """Why a connection failed, without secrets."""
    # psycopg repeats each address that it tried, sometimes followed by a question; the last answer
    # counts.
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    answers = [line.rpartition("failed: ")[2] for line in lines if "failed: " in line] or lines
    return redact(answers[-1]) if answers else type(error).__name__

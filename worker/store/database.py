"""Connections to Postgres: pooled, safe behind a transaction pooler, every wait bounded."""

import asyncio
import re
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import psycopg
from psycopg import errors as pg
from psycopg import sql
from psycopg_pool import AsyncConnectionPool, ConnectionPool, PoolTimeout

from docmill.worker.errors import JobError, ServiceError
from docmill.worker.log import get_logger, redact
from docmill.worker.store.hints import FORGET_TICK, NOTE_TICK, SYNC_HINTS, SYNC_OBJECT, ObjectHint

log = get_logger(__name__)

Connection = psycopg.Connection[Any]

#: Time to get a connection from the pool. Longer means that the database is overloaded or gone.
POOL_SECONDS: Final = 30.0

#: Behind a transaction pooler nothing may outlive a transaction: no prepared statements. The
#: keepalives find a peer that vanished without a word within about half a minute.
CONNECT_OPTIONS: Final[dict[str, Any]] = {
    "prepare_threshold": None,
    "connect_timeout": 10,
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
    "application_name": "docmill",
}

#: What asking for the end of a statement may take.
CANCEL_SECONDS: Final = 2.0

#: The database cannot be used now: it is away, it is a standby that takes no writes, or it took a
#: suspended process for one that had vanished.
UNAVAILABLE: Final = (
    PoolTimeout,
    psycopg.OperationalError,
    psycopg.InterfaceError,
    pg.ReadOnlySqlTransaction,
    pg.IdleInTransactionSessionTimeout,
)

#: Errors after which the same statement may succeed: somebody else had the rows.
CONTENTION: Final = (
    pg.LockNotAvailable,
    pg.DeadlockDetected,
    pg.SerializationFailure,
    pg.UniqueViolation,
)


class Database:
    """A pool of connections. Safe to share between threads."""

    def __init__(self, url: str, *, connections: int) -> None:
        self._pool: ConnectionPool[Connection] = ConnectionPool(
            url,
            min_size=1,
            max_size=connections,
            timeout=POOL_SECONDS,
            max_idle=60,
            kwargs=CONNECT_OPTIONS,
            open=False,
            name="docmill",
        )

    def open(self) -> None:
        """Start connecting in the background. Repeatable."""
        self._pool.open()

    def close(self) -> None:
        """Close all connections."""
        self._pool.close()

    @contextmanager
    def transaction(self, *, statement_timeout: timedelta | None = None) -> Iterator[Connection]:
        """One transaction; committed at the end, rolled back on an exception.

        The role's own statement timeout applies unless another is given. Raises
        JobError("database_unavailable") when the connection cannot be had, breaks or cannot write.
        """
        try:
            with self._pool.connection() as connection:
                if statement_timeout is not None:
                    milliseconds = int(statement_timeout.total_seconds() * 1000)
                    connection.execute(
                        sql.SQL("set local statement_timeout = {}").format(milliseconds)
                    )
                yield connection
        except UNAVAILABLE as error:
            if isinstance(error, CONTENTION):
                raise
            raise JobError("database_unavailable", type(error).__name__) from error


def cancel_statement(connection: Connection) -> None:
    """Have the server end what this connection waits for, from another thread. Never raises.

    Some poolers do not pass it on: then the statement goes on to its end.
    """
    try:
        connection.cancel_safe(timeout=CANCEL_SECONDS)
    except psycopg.Error as error:
        log.warning("statement_not_cancelled", error=type(error).__name__)


def require_database(url: str, *, patience_seconds: float = 30) -> None:
    """Return once the database answers a query with this URL. For the start of a process.

    A database that is not up yet is waited for. Raises ServiceError with the reason when it refuses
    the login, or when patience ends.
    """
    deadline = time.monotonic() + patience_seconds
    while failure := _failure_to_answer(url):
        if failure.is_final or time.monotonic() > deadline:
            raise ServiceError(
                f"cannot connect with DATABASE_URL ({failure.reason}): check its host, user and "
                "password; docmill schema apply prints the line that sets the password"
            )
        log.warning("database_not_ready", reason=failure.reason)
        time.sleep(1)


@dataclass(frozen=True)
class _Failure:
    reason: str
    is_final: bool  #: the same will be said again


def _failure_to_answer(url: str) -> _Failure | None:
    try:
        connection = psycopg.connect(url, autocommit=True, **CONNECT_OPTIONS)
    except psycopg.OperationalError as error:
        reason = connection_failure(error)
        # What answers with FATAL is up, and will say the same again; unless it starts or ends.
        passing = r"starting up|shutting down|recovery|not yet accepting|too many|remaining"
        return _Failure(reason, "FATAL" in reason and not re.search(passing, reason))
    with closing(connection):
        try:
            # A pooler takes the login itself: only a query shows whether Postgres is behind it.
            connection.execute("select 1")
        except psycopg.OperationalError as error:
            return _Failure(connection_failure(error), is_final=False)
    return None


def connection_failure(error: psycopg.Error) -> str:
    """Why a connection failed, without what must not be shown."""
    # psycopg repeats each address it tried, some with a question after it; the last answer counts.
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    answers = [line.rpartition("failed: ")[2] for line in lines if "failed: " in line] or lines
    return redact(answers[-1]) if answers else type(error).__name__


def single_connection(url: str) -> Connection:
    """An autocommit connection outside any pool. Raises JobError("database_unavailable")."""
    try:
        return psycopg.connect(url, autocommit=True, **CONNECT_OPTIONS)
    except psycopg.OperationalError as error:
        raise JobError("database_unavailable", type(error).__name__) from error


class AsyncDatabase:
    """A pool for the webhook, which does one thing: sync an object."""

    #: An answer must come fast: whoever waits for the pool longer than this gets a 503, and the
    #: schedule does the work.
    POOL_SECONDS: Final = 4.0
    TRIES: Final = 3
    #: Events that are settled in one transaction at most, and such transactions at a time: one that
    #: waits for a lock does not stop the others.
    TOGETHER: Final = 100
    TRANSACTIONS: Final = 4

    def __init__(self, url: str, *, connections: int) -> None:
        self._waiting: deque[tuple[ObjectHint, asyncio.Future[UUID | None]]] = deque()
        self._syncing: set[asyncio.Task[None]] = set()
        self._pool: AsyncConnectionPool[psycopg.AsyncConnection[Any]] = AsyncConnectionPool(
            url,
            min_size=1,
            max_size=connections,
            timeout=self.POOL_SECONDS,
            kwargs=CONNECT_OPTIONS | {"autocommit": True},
            open=False,
            name="webhook",
        )

    async def open(self) -> None:
        """Start connecting in the background."""
        await self._pool.open()

    async def close(self) -> None:
        """Close all connections."""
        await self._pool.close()

    async def ping(self) -> None:
        """Raise when the database does not answer."""
        async with self._pool.connection() as connection:
            await connection.execute("select 1")

    async def note_tick(self) -> None:
        """Say that the receiver is there. Raises when the database does not answer."""
        async with self._pool.connection() as connection:
            await connection.execute(NOTE_TICK)

    async def forget_tick(self) -> None:
        """Say that the receiver ends in order. Raises when the database does not answer."""
        async with self._pool.connection() as connection:
            await connection.execute(FORGET_TICK)

    async def sync_object(self, hint: ObjectHint) -> UUID | None:
        """`maintenance.sync_object`, committed: alone, or with others that wait at this moment.

        Tried again when somebody held the rows.
        """
        answer: asyncio.Future[UUID | None] = asyncio.get_running_loop().create_future()
        self._waiting.append((hint, answer))
        if len(self._syncing) < self.TRANSACTIONS:
            task = asyncio.create_task(self._sync_what_waits())
            self._syncing.add(task)
            task.add_done_callback(self._syncing.discard)
        return await answer

    async def _sync_what_waits(self) -> None:
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), self.TOGETHER))]
            if len(batch) > 1 and await self._answer_together(batch):
                continue
            await asyncio.gather(*(self._answer_alone(hint, answer) for hint, answer in batch))

    async def _answer_together(
        self, batch: "Sequence[tuple[ObjectHint, asyncio.Future[UUID | None]]]"
    ) -> bool:
        """Settle all at once. False: one of them is in the way, and each is to be tried alone."""
        try:
            jobs = await self._sync_together([hint for hint, _ in batch])
        except CONTENTION:
            return False
        except UNAVAILABLE as error:
            for _, answer in batch:
                _settle(answer, error)
        except psycopg.Error:
            return False
        else:
            for (_, answer), job_id in zip(batch, jobs, strict=True):
                _settle(answer, job_id)
        return True

    async def _sync_together(self, hints: Sequence[ObjectHint]) -> list[UUID | None]:
        together = {
            "object_ids": [hint.object_id for hint in hints],
            "bucket_ids": [hint.bucket_id for hint in hints],
            "names": [hint.name for hint in hints],
        }
        async with self._pool.connection() as connection:
            row = await (await connection.execute(SYNC_HINTS, together)).fetchone()
        assert row is not None
        return list(row[0])

    async def _answer_alone(self, hint: ObjectHint, answer: "asyncio.Future[UUID | None]") -> None:
        try:
            _settle(answer, await self._sync_alone(hint))
        except Exception as error:  # the caller is told
            _settle(answer, error)

    async def _sync_alone(self, hint: ObjectHint) -> UUID | None:
        for attempt in range(self.TRIES):
            try:
                async with self._pool.connection() as connection:
                    cursor = await connection.execute(SYNC_OBJECT, vars(hint))
                    row = await cursor.fetchone()
            except CONTENTION:
                if attempt == self.TRIES - 1:
                    raise
                await asyncio.sleep(0.05 * (attempt + 1))
            else:
                assert row is not None
                job_id: UUID | None = row[0]
                return job_id
        raise AssertionError


def _settle(answer: "asyncio.Future[UUID | None]", outcome: UUID | Exception | None) -> None:
    if answer.done():  # whoever waited has hung up
        return
    if isinstance(outcome, Exception):
        answer.set_exception(outcome)
    else:
        answer.set_result(outcome)

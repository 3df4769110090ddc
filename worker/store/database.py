"""Connections to Postgres: pooled, safe behind a transaction pooler, with bounds on each wait."""

import asyncio
import re
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, TypeVar
from uuid import UUID

import psycopg
from psycopg import sql
from psycopg_pool import AsyncConnectionPool, ConnectionPool

from docmill.worker.errors import JobError, ServiceError
from docmill.worker.log import get_logger
from docmill.worker.store.hints import (
    FORGET_TICK,
    NOTE_TICK,
    SYNC_HINTS,
    SYNC_OBJECT,
    TRACE_JOBS,
    ObjectHint,
)
from docmill.worker.store.outage import CONTENTION, UNAVAILABLE, connection_failure, outage

log = get_logger(__name__)

Connection = psycopg.Connection[Any]
T = TypeVar("T", UUID, str)

#: Longest wait for a connection of the pool. After it the database counts as overloaded or down.
POOL_SECONDS: Final = 30.0

#: Behind a transaction pooler nothing may stay after a transaction, so there are no prepared
#: statements. Keepalives notice within about half a minute that the other side is gone.
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

#: How long a request to cancel a statement may take.
CANCEL_SECONDS: Final = 2.0


class Database:
    """A pool of connections. Safe to share between threads."""

    def __init__(self, url: str, *, connections: int) -> None:
        self._pool: ConnectionPool[Connection] = ConnectionPool(
            url,
            min_size=1,
            max_size=connections,
            timeout=POOL_SECONDS,
            max_idle=60,
            kwargs=CONNECT_OPTIONS | {"autocommit": True},
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
    def statement(self) -> Iterator[Connection]:
        """A connection for a single statement, which is a transaction of its own: one round trip.

        Raises as `transaction` does.
        """
        try:
            with self._pool.connection() as connection:
                yield connection
        except UNAVAILABLE as error:
            if isinstance(error, CONTENTION):
                raise
            outage.failed(connection_failure(error))
            raise JobError("database_unavailable", type(error).__name__) from error
        outage.answered()

    @contextmanager
    def transaction(self, *, statement_timeout: timedelta | None = None) -> Iterator[Connection]:
        """One transaction; committed at the end, rolled back on an exception.

        The role's own statement timeout applies unless another is given. Raises
        JobError("database_unavailable") if there is no connection, or it breaks or cannot write.
        """
        with self.statement() as connection, connection.transaction():
            if statement_timeout is not None:
                milliseconds = int(statement_timeout.total_seconds() * 1000)
                connection.execute(sql.SQL("set local statement_timeout = {}").format(milliseconds))
            yield connection


def cancel_statement(connection: Connection) -> None:
    """Cancel the statement that this connection waits for, from another thread. Never raises.

    Some poolers do not pass the request on; then the statement runs to its end.
    """
    try:
        connection.cancel_safe(timeout=CANCEL_SECONDS)
    except psycopg.Error as error:
        log.warning("statement_not_cancelled", error=type(error).__name__)


def require_database(url: str, *, patience_seconds: float = 30) -> None:
    """Return as soon as the database answers a query with this URL. For the start of a process.

    Waits for a database that is not up yet. Raises ServiceError with the reason if it refuses the
    login, or after `patience_seconds`. A pooler that took the login shows that the URL is right, so
    the database behind it is waited for as long as it takes, if there is any patience.
    """
    deadline = time.monotonic() + patience_seconds
    told = ""
    while failure := _failure_to_answer(url):
        is_over = time.monotonic() > deadline and not (failure.is_behind and patience_seconds)
        if failure.is_final or is_over:
            raise ServiceError(
                f"cannot connect with DATABASE_URL ({failure.reason}): check its host, user and "
                "password; docmill schema apply prints the line that sets the password"
            )
        if failure.reason != told:
            log.warning("database_not_ready", reason=failure.reason)
            told = failure.reason
        time.sleep(1)


@dataclass(frozen=True)
class _Failure:
    reason: str
    is_final: bool = False  #: another try would get the same answer
    is_behind: bool = False  #: a pooler took the login, and the database behind it is away


def _failure_to_answer(url: str) -> _Failure | None:
    try:
        connection = psycopg.connect(url, autocommit=True, **CONNECT_OPTIONS)
    except psycopg.OperationalError as error:
        reason = connection_failure(error)
        # A server that answers with FATAL is up, and will answer the same again, unless it is just
        # starting or stopping.
        passing = r"starting up|shutting down|recovery|not yet accepting|too many|remaining"
        return _Failure(reason, "FATAL" in reason and not re.search(passing, reason))
    with closing(connection):
        try:
            # A pooler accepts the login itself. Only a query shows whether Postgres is behind it.
            connection.execute("select 1")
        except psycopg.OperationalError as error:
            return _Failure(connection_failure(error), is_behind=True)
    return None


def single_connection(url: str) -> Connection:
    """An autocommit connection outside any pool. Raises JobError("database_unavailable")."""
    try:
        return psycopg.connect(url, autocommit=True, **CONNECT_OPTIONS)
    except psycopg.OperationalError as error:
        outage.failed(connection_failure(error))
        raise JobError("database_unavailable", type(error).__name__) from error


#: A job, the trace that it is to have, and who waits for the one that it has then.
_Untraced = tuple[UUID, str, "asyncio.Future[str | None]"]


class AsyncDatabase:
    """A pool for the webhook, which only syncs objects."""

    #: Answers must be fast: a request that waits longer than this for the pool gets a 503, and the
    #: schedule does the work.
    POOL_SECONDS: Final = 4.0
    TRIES: Final = 3
    #: At most this many events are settled in one transaction, and at most this many such
    #: transactions run at a time. One that waits for a lock does not stop the others.
    TOGETHER: Final = 100
    TRANSACTIONS: Final = 4

    def __init__(self, url: str, *, connections: int) -> None:
        self._waiting: deque[tuple[ObjectHint, asyncio.Future[UUID | None]]] = deque()
        self._syncing: set[asyncio.Task[None]] = set()
        self._untraced: list[_Untraced] = []
        self._tracing: asyncio.Task[None] | None = None
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

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator["psycopg.AsyncConnection[Any]"]:
        try:
            async with self._pool.connection() as connection:
                yield connection
        except UNAVAILABLE as error:
            if not isinstance(error, CONTENTION):
                outage.failed(connection_failure(error))
            raise
        outage.answered()

    async def ping(self) -> None:
        """Raise if the database does not answer."""
        async with self._connection() as connection:
            await connection.execute("select 1")

    async def note_tick(self) -> None:
        """Note that the receiver is running. Raises if the database does not answer."""
        async with self._connection() as connection:
            await connection.execute(NOTE_TICK)

    async def forget_tick(self) -> None:
        """Note that the receiver stops normally. Raises if the database does not answer."""
        async with self._connection() as connection:
            await connection.execute(FORGET_TICK)

    async def trace_job(self, job_id: UUID, traceparent: str) -> str | None:
        """Give a job a trace unless it has one; the one that it has then, None without a job.

        Alone, or with others that wait at this moment. Raises psycopg.Error or PoolTimeout.
        """
        answer: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        self._untraced.append((job_id, traceparent, answer))
        if self._tracing is None or self._tracing.done():
            self._tracing = asyncio.create_task(self._trace_what_waits())
        return await answer

    async def _trace_what_waits(self) -> None:
        while self._untraced:
            batch, self._untraced = self._untraced, []
            try:
                kept = await self._trace_together(batch)
            except Exception as error:  # the callers are told
                for _, _, answer in batch:
                    _settle(answer, error)
            else:
                for (_, _, answer), traceparent in zip(batch, kept, strict=True):
                    _settle(answer, traceparent)

    async def _trace_together(self, batch: "Sequence[_Untraced]") -> list[str | None]:
        together = {
            "job_ids": [job_id for job_id, _, _ in batch],
            "traceparents": [traceparent for _, traceparent, _ in batch],
        }
        async with self._connection() as connection:
            row = await (await connection.execute(TRACE_JOBS, together)).fetchone()
        assert row is not None
        return list(row[0])

    async def sync_object(self, hint: ObjectHint) -> UUID | None:
        """`maintenance.sync_object`, committed: alone, or with others that wait at this moment.

        Tries again if another transaction held the rows.
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
        """Settle all at once. False: one of them failed, so each must be tried alone."""
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
        async with self._connection() as connection:
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
                async with self._connection() as connection:
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


def _settle(answer: "asyncio.Future[T | None]", outcome: T | Exception | None) -> None:
    if answer.done():  # the client closed the connection
        return
    if isinstance(outcome, Exception):
        answer.set_exception(outcome)
    else:
        answer.set_result(outcome)

"""Does the work of pg_net's worker: sends the committed requests in net.http_request_queue.

It works like pg_net 0.20. It takes a batch of up to 200 out of the queue and sends all at once,
each request exactly once, whatever the result. The next batch waits for the slowest of this one.
There are no retries and no order. Results are kept for six hours.
"""

import asyncio
from collections.abc import Sequence
from typing import Final, LiteralString

import httpx
import psycopg

from docmill.embedded.part import Row
from docmill.embedded.storage.database import StorageDatabase
from docmill.worker.log import get_logger

log = get_logger(__name__)

BATCH: Final = 200
#: A request queued by plain SQL may wait this long, because nothing tells the app of such commits.
POLL_SECONDS: Final = 0.5
#: The pause before another try if the database does not answer.
OUTAGE_SECONDS: Final = 2.0
USER_AGENT: Final = "pg_net/0.20.4"

_TAKE: Final[LiteralString] = """
    delete from net.http_request_queue
     where id = any(array(select id from net.http_request_queue order by id limit %s
                             for update skip locked))
    returning id, method, url, headers, body, timeout_milliseconds
"""
_NOTE: Final[LiteralString] = """
    with old as (delete from net._http_response where created < now() - interval '6 hours')
    insert into net._http_response (id, status_code, timed_out, error_msg)
    select * from unnest(%s::bigint[], %s::integer[], %s::boolean[], %s::text[])
"""


#: Id of a request, its status, whether it timed out, and its error.
_Answer = tuple[int, int | None, bool, str | None]


class Poster:
    """One sender. Runs as a task of the app's event loop until it is stopped."""

    def __init__(self) -> None:
        self._awake = asyncio.Event()
        self._stopping = False

    def wake(self) -> None:
        """Look at the queue now: a transaction has committed."""
        self._awake.set()

    def stop(self) -> None:
        """End `run` after the current batch is sent."""
        self._stopping = True
        self._awake.set()

    async def run(self, database: StorageDatabase) -> None:
        """Send until stopped. Requests still queued then wait for the next start."""
        async with _client() as client:
            while not self._stopping:
                self._awake.clear()
                batch = await self._take(database)
                answers = await asyncio.gather(*(_send(client, row) for row in batch))
                await self._note(database, answers)
                if len(batch) < BATCH:
                    await self._wait(POLL_SECONDS)

    async def _take(self, database: StorageDatabase) -> list[Row]:
        try:
            async with database.unscoped() as connection:
                return await (await connection.execute(_TAKE, [BATCH])).fetchall()
        except psycopg.Error as error:
            log.warning("webhook_queue_unreadable", sqlstate=error.sqlstate)
            await self._wait(OUTAGE_SECONDS)
            return []

    async def _note(self, database: StorageDatabase, answers: Sequence[_Answer]) -> None:
        if not answers:
            return
        columns = [list(column) for column in zip(*answers, strict=True)]
        try:
            async with database.unscoped() as connection:
                await connection.execute(_NOTE, columns)
        except psycopg.Error as error:
            log.warning("webhook_answers_not_kept", sqlstate=error.sqlstate)

    async def _wait(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._awake.wait()
        except TimeoutError:
            return


def _client() -> httpx.AsyncClient:
    client = httpx.AsyncClient(
        headers={"User-Agent": USER_AGENT},
        follow_redirects=True,  # like curl, and like it httpx turns a POST into a GET at a 302
        limits=httpx.Limits(max_connections=None),
        timeout=None,  # noqa: S113 -- each request has its own, as a whole
        trust_env=False,
    )
    for name in ("accept-encoding", "connection"):
        del client.headers[name]
    return client


async def _send(client: httpx.AsyncClient, row: Row) -> _Answer:
    """Send once. Logs neither the receiver's body nor the request's headers: they hold secrets."""
    status, error_name = None, None
    try:
        async with asyncio.timeout(row["timeout_milliseconds"] / 1000):
            response = await client.request(
                row["method"], row["url"], headers=row["headers"], content=row["body"]
            )
        status = response.status_code
    except Exception as error:
        # The headers and url of a row may hold anything; an error must not stop the rest of the
        # batch.
        error_name = type(error).__name__
    if status is None or status >= 300:
        log.warning("webhook_lost", request_id=row["id"], status=status, error=error_name)
    return row["id"], status, error_name == "TimeoutError", error_name

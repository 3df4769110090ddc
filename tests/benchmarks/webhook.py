"""How fast the receiver answers: one event at a time, 200 at once, 5,000 in a row.

`make bench-webhook`. The receiver is the real process with a real PostgreSQL and fsync on; each
event is about another object, so each makes a document and a job. For comparison the same process
answers /healthz, which shows the cost of HTTP alone, with the client. Each request has a new
connection, as in pg_net.
"""

import asyncio
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from uuid import UUID

from docmill.embedded.postgres import start_postgres
from docmill.embedded.redis import start_redis
from tests.benchmarks.figures import Figures, machine, print_table
from tests.support.database import make_database, make_template
from tests.support.installation import WEBHOOK_SECRET, Installation, install

ROUNDS = 10
AT_ONCE = 200
SINGLE = 500
MANY = 5_000

HEALTH = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def event_request(object_id: UUID, name: str) -> bytes:
    """The bytes of a webhook in pg_net's form."""
    record = {
        "id": str(object_id),
        "bucket_id": "docs",
        "name": name,
        "owner_id": "bench",
        "version": str(object_id),
        "metadata": {"size": 1000, "mimetype": "text/plain", "eTag": '"0"'},
    }
    body = json.dumps(
        {
            "type": "INSERT",
            "table": "objects",
            "record": record,
            "schema": "storage",
            "old_record": None,
        }
    ).encode()
    head = (
        "POST /webhooks/storage HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n"
        f"Content-Type: application/json\r\nx-webhook-secret: {WEBHOOK_SECRET}\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body


async def ask(port: int, request: bytes) -> tuple[int, float]:
    """Status and milliseconds of one request on its own connection."""
    started = time.perf_counter()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    answer = await reader.read()
    writer.close()
    return int(answer.split(b" ", 2)[1]), (time.perf_counter() - started) * 1000


async def one_by_one(port: int, requests: Sequence[bytes]) -> list[tuple[int, float]]:
    """Each request after the answer to the one before."""
    return [await ask(port, request) for request in requests]


async def at_once(port: int, requests: Sequence[bytes]) -> list[tuple[int, float]]:
    """All requests together."""
    return list(await asyncio.gather(*(ask(port, request) for request in requests)))


def new_objects(running: Installation, count: int) -> list[bytes]:
    """Store objects that no trigger sees; return a request for each."""
    with running.database.connect() as connection:
        stored = connection.execute(
            """insert into storage.objects (bucket_id, name, version, owner_id, metadata)
               select 'docs', gen_random_uuid()::text, gen_random_uuid()::text, 'bench',
                      '{"size": 1000}' from generate_series(1, %s) returning id, name""",
            [count],
        ).fetchall()
    return [event_request(object_id, name) for object_id, name in stored]


def measure(running: Installation) -> list[Figures]:
    """Figures of every case, both sides in turn."""
    port = running.webhook_port
    figures = {
        name: Figures(name, "ms")
        for many in ("1 at a time", f"{AT_ONCE} at once")
        for name in (f"{many}, HTTP alone", f"{many}, event")
    }

    def take(name: str, answers: list[tuple[int, float]], status: int) -> None:
        assert {code for code, _ in answers} == {status}, {code for code, _ in answers}
        figures[name].values += [milliseconds for _, milliseconds in answers]

    asyncio.run(at_once(port, new_objects(running, AT_ONCE)))  # warm up
    for _ in range(ROUNDS):
        part = SINGLE // ROUNDS
        take("1 at a time, HTTP alone", asyncio.run(one_by_one(port, [HEALTH] * part)), 200)
        events = new_objects(running, part)
        take("1 at a time, event", asyncio.run(one_by_one(port, events)), 202)
        alone = asyncio.run(at_once(port, [HEALTH] * AT_ONCE))
        take(f"{AT_ONCE} at once, HTTP alone", alone, 200)
        events = new_objects(running, AT_ONCE)
        take(f"{AT_ONCE} at once, event", asyncio.run(at_once(port, events)), 202)
    return list(figures.values())


def lose_none(running: Installation) -> str:
    """5,000 events in bursts of 200: each must make its document and its job."""
    requests = new_objects(running, MANY)
    started = time.perf_counter()
    for start in range(0, MANY, AT_ONCE):
        answers = asyncio.run(at_once(running.webhook_port, requests[start : start + AT_ONCE]))
        assert {code for code, _ in answers} == {202}
    seconds = time.perf_counter() - started
    [counted] = running.rows(
        """select count(*) as objects, count(document.id) as documents, count(job.id) as jobs
             from storage.objects as object
                  left join ingest.documents as document on document.object_id = object.id
                  left join ingest.jobs as job on job.document_id = document.id"""
    )
    assert len(set(counted.values())) == 1, counted
    return f"{MANY} events in bursts of {AT_ONCE}: {MANY / seconds:,.0f} a second, none lost"


def with_installation(action: Callable[[Installation], None]) -> None:
    """Run with a receiver whose triggers on storage.objects are off, so events do everything."""
    with tempfile.TemporaryDirectory(prefix="docmill-bench-") as name:
        folder = Path(name)
        postgres = start_postgres(folder / "postgres")
        redis = start_redis(folder / "redis")
        try:
            make_template(postgres)
            with (
                make_database(postgres, "project") as database,
                install(database, redis, folder) as running,
            ):
                with database.connect() as connection:
                    connection.execute("alter table storage.objects disable trigger user")
                running.start_webhook()
                action(running)
        finally:
            redis.stop()
            postgres.stop()


def main() -> None:
    """Measure and print."""

    def report(running: Installation) -> None:
        print(machine())
        print_table(measure(running))
        print(lose_none(running))

    with_installation(report)


if __name__ == "__main__":
    main()

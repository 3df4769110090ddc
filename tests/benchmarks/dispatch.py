"""The time to choose what runs next, with 5,000 queued jobs and with 1,000,000.

`make bench-dispatch`. Half of the queue is not due, and comes first in the order: jobs that wait
for a retry. Each call fills a window of eight slots on a PostgreSQL with its usual settings; then
the jobs that it took are ended. The two sizes take turns, each with its own database.
"""

import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg

from docmill.embedded.postgres import start_postgres
from tests.benchmarks.figures import Figures, machine, print_table
from tests.support.database import Database, make_database, make_template

SIZES = (5_000, 1_000_000)
ROUNDS = 200
SLOTS = 8

FILL = """
    with documents as (
        insert into ingest.documents (object_id, bucket_id, object_name, owner_id, storage_version)
        select gen_random_uuid(), 'docs', n::text, 'owner ' || n %% 100, 'v'
          from generate_series(1, %(size)s) as n
        returning *),
    jobs as (
        insert into ingest.jobs (document_id, bucket_id, object_name, owner_id, index_version,
                                 storage_version)
        select id, bucket_id, object_name, owner_id, 1, 'v' from documents
        returning *)
    insert into ingest_private.job_queue (job_id, provider, phase, due_at, priority, rank,
                                          fairness_key)
    select id, 'openai', case when n <= %(size)s / 2 then 'waiting' else 'ready' end,
           case when n <= %(size)s / 2 then now() + interval '1 day' end, 5, n, owner_id
      from (select id, owner_id, object_name::bigint as n from jobs) as numbered
"""
HEARTBEAT = """
    select ingest_private.renew_leases('bench', %s, false, false, 'bench', '1 day', '{}', '{}',
                                        '{local,openai}')
"""
#: As if the dispatched jobs had been claimed and had ended: the window is free again.
END = "delete from ingest_private.job_queue where phase = 'dispatched'"


def fill(database: Database, size: int) -> psycopg.Connection[Any]:
    """A queue of this many jobs, and a connection to it."""
    connection = database.connect("postgres")
    connection.execute(FILL, {"size": size})
    connection.execute("vacuum analyze")
    connection.execute(HEARTBEAT, [SLOTS])
    return connection


def measure(connection: psycopg.Connection[Any], case: Figures) -> None:
    """One call, in milliseconds."""
    started = time.perf_counter()
    taken = connection.execute(
        "select * from ingest_private.take_ready_jobs(interval '1 minute')"
    ).fetchall()
    case.values.append((time.perf_counter() - started) * 1000)
    assert len(taken) == SLOTS
    connection.execute(END)


def main() -> None:
    """Measure and print."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="docmill-bench-")))
        server = start_postgres(folder / "postgres")
        stack.callback(server.stop)
        make_template(server)
        cases = []
        for size in SIZES:
            database = stack.enter_context(make_database(server))
            connection = stack.enter_context(fill(database, size))
            cases.append((connection, Figures(f"{SLOTS} jobs of {size:,} queued", "ms")))
        # The first calls plan, and read data into memory for the others.
        for connection, _ in cases:
            measure(connection, Figures("first", "ms"))
        for _ in range(ROUNDS):
            for connection, case in cases:
                measure(connection, case)
        print(machine())
        print_table([case for _, case in cases])


if __name__ == "__main__":
    main()

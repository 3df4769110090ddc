"""What each alert is for: it is made, lasts while its generator waits, and is mended."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import psycopg

from tests.faults.alerts.stand import Stand
from tests.faults.processes import small_disk
from tests.support.database import Database
from tests.support.fake_openai import error
from tests.support.installation import ALICE, BOB, BUCKET, FAST, until
from tests.support.slow import PARAGRAPH, SLOW_MARKDOWN

SLOTS: Final = int(FAST["DOCMILL_SLOTS"])
#: Documents of one chunk each, as many as the alerts for heaps of them need.
HEAP: Final = 1001
UPLOAD_HEAP: Final = f"""
    insert into storage.objects (bucket_id, name, version, owner_id)
    select '{BUCKET}', 'heap/' || n, 'heap-' || n, '{ALICE}' from generate_series(1, {HEAP}) as n
"""
DELETE_HEAP: Final = """
    set local storage.allow_delete_query = 'true';
    delete from storage.objects where name like 'heap/%'
"""
#: What goes on while a trouble lasts, at each scrape.
Meanwhile = Callable[[], object]


def nothing() -> None:
    """Nothing more has to happen."""


def every(scrapes: int, action: Callable[[], object]) -> Meanwhile:
    """Do something at each of so many scrapes."""
    turns = iter(range(1_000_000))

    def meanwhile() -> None:
        if next(turns) % scrapes == 0:
            action()

    return meanwhile


def no_isolated_worker(stand: Stand) -> Iterator[Meanwhile]:
    stand.kill("isolated")
    yield nothing
    stand.start("isolated")


def no_worker_at_all(stand: Stand) -> Iterator[Meanwhile]:
    stand.kill("worker", "isolated")
    yield nothing
    stand.start("worker", "isolated")


def database_away(stand: Stand) -> Iterator[Meanwhile]:
    database = stand.installation.database
    _let_connect(database, "false")
    try:
        yield nothing
    finally:
        _let_connect(database, "true")
    stand.wait_until_sound()


def _let_connect(database: Database, answer: str) -> None:
    with psycopg.connect(database.server.url("postgres"), autocommit=True) as server:
        server.execute(f"alter database {database.name} allow_connections {answer}".encode())
        server.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = %s",
            [database.name],
        )


def more_work_than_slots(stand: Stand) -> Iterator[Meanwhile]:
    provider = stand.installation.openai
    provider.gate.clear()
    try:
        names = [stand.upload() for _ in range(SLOTS + 2)]
        running = "ingest_private.job_queue where phase = 'running'"
        until(lambda: stand.count(running) == SLOTS, "all slots in use")
        stand.execute(
            """update ingest.jobs as job set created_at = job.created_at - interval '31 min'
                 from ingest_private.job_queue as entry
                where entry.job_id = job.id and entry.phase <> 'running'"""
        )
        yield nothing
    finally:
        provider.gate.set()
    for name in names:
        stand.installation.wait_for_job(name)


def beat_stopped(stand: Stand) -> Iterator[Meanwhile]:
    stand.kill("beat")
    # Two minutes that nobody has to wait for.
    stand.execute("update ingest_private.ticks set ticked_at = ticked_at - interval '2 min'")
    yield nothing
    stand.start("beat")


def key_refused(stand: Stand) -> Iterator[Meanwhile]:
    provider = stand.installation.openai
    provider.respond = lambda _texts: error(401, "invalid_api_key")
    try:
        name = stand.upload()
        until(lambda: stand.count("ingest_private.breakers"), "an open breaker")
        yield nothing
    finally:
        provider.respond = lambda _texts: None
    stand.stop("worker")
    stand.start("worker")
    stand.installation.wait_for_job(name, "succeeded")


def most_documents_fail(stand: Stand) -> Iterator[Meanwhile]:
    yield every(4, lambda: stand.upload_bytes(b" "))


def worker_frozen(stand: Stand) -> Iterator[Meanwhile]:
    provider = stand.installation.openai
    provider.gate.clear()
    names = [stand.upload() for _ in range(SLOTS)]
    until(lambda: stand.count("ingest_private.leases") == SLOTS, "all slots in use")
    frozen = stand.places["worker"]
    crashed = "ingest_private.attempts where outcome = 'crashed'"
    before = stand.count(crashed)
    os.kill(frozen.pid, signal.SIGSTOP)
    try:
        # The schedule runs in ordinary workers: another one takes the jobs back.
        other = stand.installation.start_worker()
        until(lambda: stand.count(crashed) >= before + SLOTS, "jobs taken back", 120)
    finally:
        provider.gate.set()
        os.kill(frozen.pid, signal.SIGCONT)
    for name in names:
        stand.installation.wait_for_job(name, "succeeded", timeout=120)
    yield nothing
    other.stop()
    stand.wait_until_sound()


def dead_worker_and_no_rescue(stand: Stand) -> Iterator[Meanwhile]:
    provider = stand.installation.openai
    provider.gate.clear()
    name = stand.upload()
    until(lambda: stand.count("ingest_private.leases") == 1, "a job that runs")
    stand.kill("beat", "worker")
    provider.gate.set()
    yield nothing
    stand.start("beat", "worker")
    stand.installation.wait_for_job(name, "succeeded")


def children_killed(stand: Stand) -> Iterator[Meanwhile]:
    for _ in range(14):
        stand.upload_bytes(SLOW_MARKDOWN.encode())
    killed = "ingest.jobs where error_code = 'parse_memory'"
    before = stand.count(killed)

    def kill_readers() -> bool:
        for child in stand.readers():
            os.kill(child, signal.SIGKILL)
        return stand.count(killed) >= before + 12

    until(kill_readers, "children killed", 120)
    yield nothing


def one_owner_takes_the_children(stand: Stand) -> Iterator[Meanwhile]:
    other = stand.installation.upload(BOB, "stands.md", SLOW_MARKDOWN.encode())
    (reader,) = until(lambda: stand.readers() or None, "a child of another owner")
    # It stands still: it is there all the time, and uses nothing.
    os.kill(reader, signal.SIGSTOP)
    try:
        yield every(4, lambda: stand.upload_bytes((PARAGRAPH * 6_000).encode()))
    finally:
        os.kill(reader, signal.SIGKILL)
    stand.installation.wait_for_job(other, "failed", "succeeded")


def provider_limits(stand: Stand) -> Iterator[Meanwhile]:
    provider = stand.installation.openai
    turns = iter(range(1_000_000))
    provider.respond = lambda _texts: (
        error(429, "rate_limit_exceeded", retry_after="1") if next(turns) % 2 == 0 else None
    )
    try:
        yield every(2, stand.upload)
    finally:
        provider.respond = lambda _texts: None


def dear_tokens(stand: Stand) -> Iterator[Meanwhile]:
    with stand.worker_with(DOCMILL_EMBEDDING_USD_PER_MILLION_TOKENS="1000000"):
        stand.watch.scrape()
        for name in [stand.upload() for _ in range(5)]:
            stand.installation.wait_for_job(name, "succeeded")
        yield nothing


def requests_of_one_text(stand: Stand) -> Iterator[Meanwhile]:
    with stand.worker_with(DOCMILL_EMBEDDING_BATCH_SIZE="2048"):
        yield stand.upload


def worker_grows(stand: Stand) -> Iterator[Meanwhile]:
    ballast = "import runpy; kept = bytearray(420_000_000); kept[::4096] = b'x' * len(kept[::4096])"
    program = stand.installation.program
    stand.stop("worker")
    stand.installation.program = (
        *(sys.executable, "-c"),
        f"{ballast}; runpy.run_module('docmill', run_name='__main__')",
    )
    try:
        stand.start("worker")
    finally:
        stand.installation.program = program
    yield nothing
    stand.stop("worker")
    stand.start("worker")


def documents_locked(stand: Stand) -> Iterator[Meanwhile]:
    with stand.held_session("lock table ingest.documents in share row exclusive mode"):
        stand.execute(UPLOAD_HEAP)
        assert stand.count("ingest_private.pending_events") >= HEAP
        yield nothing
        stand.execute(f"begin; {DELETE_HEAP}; commit")


def drain_held_up(stand: Stand) -> Iterator[Meanwhile]:
    stand.stop("beat")
    # Nobody has time to begin with one of them.
    stand.execute(f"begin; {UPLOAD_HEAP}; {DELETE_HEAP}; commit")
    assert stand.count("ingest_private.withdrawn") >= HEAP
    with stand.held_session("select from ingest_private.withdrawn for update"):
        stand.start("beat")
        yield nothing


def disk_full(stand: Stand) -> Iterator[Meanwhile]:
    disk = small_disk(stand.installation.folder / "tiny")
    program = stand.installation.program
    stand.stop("worker")
    stand.installation.program = (*disk.command, *program)
    try:
        stand.start("worker", DOCMILL_SPOOL_DIR=str(disk.folder))
    finally:
        stand.installation.program = program
    filler = Path(f"/proc/{stand.places['worker'].pid}/root{disk.folder}") / "filler"
    filler.write_bytes(b"x" * 60_000)
    stand.watch.scrape()
    name = stand.upload("It rains. " * 2000)
    yield nothing
    filler.unlink()
    stand.installation.wait_for_job(name, "succeeded")
    stand.stop("worker")
    stand.start("worker")

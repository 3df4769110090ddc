"""How full requests for embeddings are, and how much of a provider's limit is used.

`make bench-engine`; OPTIONS='--only queued --documents 500 --runs 1' for less. Each run has an
installation of its own with its real processes and usual settings; the provider is a program that
answers after 200 ms.

    queued    one owner's documents of a page wait before the worker begins
    trickle   they are uploaded twenty a second
    limit     two workers, long documents, and a provider of 1,000,000 tokens a minute
"""

import argparse
import math
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

from docmill.embedded.postgres import start_postgres
from docmill.embedded.redis import start_redis
from tests.benchmarks.figures import machine
from tests.support.database import make_database, make_template
from tests.support.installation import BOB, BUCKET, FAST, Installation, install
from tests.support.provider_program import RunningProvider, provider_program

RUNS: Final = 3
DOCUMENTS: Final = 2000
BATCH: Final = 256  #: the default of DOCMILL_EMBEDDING_BATCH_SIZE
LATENCY_MS: Final = 200
UPLOADS_A_SECOND: Final = 20
TOKENS_A_MINUTE: Final = 1_000_000
#: The limit is looked at for so long, after what may be used at once is gone.
LIMIT_SECONDS: Final = 120.0
PAGE: Final = "A page of somebody who uploads one document after another. " * 25


@contextmanager
def fresh(**behaviour: float) -> Iterator[tuple[Installation, RunningProvider]]:
    """An installation without a worker, and its provider."""
    with tempfile.TemporaryDirectory(prefix="docmill-bench-") as name:
        folder = Path(name)
        postgres = start_postgres(folder / "postgres")
        redis = start_redis(folder / "redis")
        try:
            make_template(postgres)
            with (
                make_database(postgres, "project") as database,
                install(database, redis, folder) as running,
                provider_program(folder, **behaviour) as provider,
            ):
                for setting in FAST:
                    del running.settings[setting]
                running.settings["OPENAI_BASE_URL"] = provider.url
                running.start("beat")
                running.start_webhook()
                yield running, provider
        finally:
            redis.stop()
            postgres.stop()


def finished(running: Installation) -> int:
    """How many jobs have ended."""
    (row,) = running.rows("select count(*) from ingest.jobs where finished_at is not null")
    return int(row["count"])


def memory_mb(pid: int) -> float:
    """Resident memory of a process."""
    status = Path(f"/proc/{pid}/status").read_text().split()
    return int(status[status.index("VmRSS:") + 1]) / 1000


@dataclass
class Filled:
    """What came of some documents."""

    requests: float
    chunks: int
    seconds: float
    memory: list[float]  #: of the worker, at each quarter of the documents

    @property
    def share(self) -> float:
        """Requests, as a multiple of full ones."""
        return self.requests / math.ceil(self.chunks / BATCH)


def page(number: int) -> bytes:
    """A document of one chunk."""
    return f"Document {number}. {PAGE}".encode()


def upload_pages(running: Installation, documents: int, pause: float) -> None:
    """As one owner: at fixed times, or as fast as it goes without a pause."""
    folder = running.client(BOB).storage.from_(BUCKET)
    started = time.monotonic()

    def upload(number: int) -> None:
        folder.upload(f"{BOB}/{number}.txt", page(number))

    with ThreadPoolExecutor(4) as pool:
        uploads = []
        for number in range(documents):
            time.sleep(max(0.0, started + number * pause - time.monotonic()))
            uploads.append(pool.submit(upload, number))
        for one in uploads:
            one.result()


def follow(running: Installation, documents: int, pid: int) -> list[float]:
    """Wait until all are done; the worker's memory at each quarter."""
    memory: list[float] = []
    while (done := finished(running)) < documents:
        if done >= documents * (len(memory) + 1) / 4:
            memory.append(memory_mb(pid))
        time.sleep(0.25)
    return [*memory, memory_mb(pid)]


def queued(documents: int) -> Filled:
    """All wait before the worker begins."""
    with fresh(latency_ms=LATENCY_MS) as (running, provider):
        upload_pages(running, documents, 0)
        started = time.monotonic()
        worker = running.start_worker()
        memory = follow(running, documents, worker.pid)
        return filled(running, provider, time.monotonic() - started, memory)


def trickle(documents: int) -> Filled:
    """They come at a steady rate."""
    with fresh(latency_ms=LATENCY_MS) as (running, provider):
        worker = running.start_worker()
        started = time.monotonic()
        uploads = threading.Thread(
            target=upload_pages, args=(running, documents, 1 / UPLOADS_A_SECOND)
        )
        uploads.start()
        memory = follow(running, documents, worker.pid)
        uploads.join()
        return filled(running, provider, time.monotonic() - started, memory)


def filled(
    running: Installation, provider: RunningProvider, seconds: float, memory: list[float]
) -> Filled:
    """What the provider and the database say in the end."""
    (row,) = running.rows("select count(*) from ingest.chunks")
    books = provider.books()
    assert books["texts"] == row["count"], "every chunk is embedded once"
    return Filled(books["requests"], int(row["count"]), seconds, memory)


def print_filled(name: str, measure: Callable[[int], Filled], documents: int, runs: int) -> None:
    """One row for each run, then the median."""
    print("| case | chunks | requests | times full ones | docs/s | worker RSS by quarters, MB |")
    print("| --- | --- | --- | --- | --- | --- |")
    shares = []
    for _ in range(runs):
        one = measure(documents)
        shares.append(one.share)
        memory = ", ".join(f"{value:.0f}" for value in one.memory)
        print(
            f"| {name} | {one.chunks} | {one.requests:.0f} | {one.share:.2f} |"
            f" {documents / one.seconds:.1f} | {memory} |",
            flush=True,
        )
    print(f"{name}: median {median(shares):.2f}, {min(shares):.2f} to {max(shares):.2f}\n")


CASES: Final = {"queued": queued, "trickle": trickle}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Requests and limits.")
    parser.add_argument("--only", choices=CASES, action="append")
    parser.add_argument("--documents", type=int, default=DOCUMENTS)
    parser.add_argument("--runs", type=int, default=RUNS)
    options = parser.parse_args()
    print(machine())
    for name in options.only or CASES:
        print_filled(name, CASES[name], options.documents, options.runs)


if __name__ == "__main__":
    main()

"""How full requests for embeddings are, and how much of a provider's limit is used.

`make bench-engine`; OPTIONS='--only queued --documents 500 --runs 1' for less. Each run has its own
installation with real processes and usual settings; the provider is a program that answers after
200 ms.

    queued    one owner's documents of a page wait before the worker begins
    trickle   they are uploaded twenty a second
    limit     two workers, long documents, and a provider of 1,000,000 tokens a minute
"""

import argparse
import math
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

from docmill.worker.admin.schema import apply_schema
from docmill.worker.models import IndexSettings
from tests.benchmarks.figures import machine
from tests.benchmarks.installations import fresh_installation
from tests.support.database import Database
from tests.support.fake_openai import DIMENSIONS, MODEL
from tests.support.installation import BOB, BUCKET, FAST, Installation
from tests.support.provider_program import RunningProvider, provider_program

RUNS: Final = 3
DOCUMENTS: Final = 2000
BATCH: Final = 256  #: the default of DOCMILL_EMBEDDING_BATCH_SIZE
LATENCY_MS: Final = 200
UPLOADS_A_SECOND: Final = 20
TOKENS_A_MINUTE: Final = 1_000_000
#: A provider allows this much of a minute's tokens at once; the use of the limit is measured after
#: that.
BURST_SECONDS: Final = 10
LIMIT_SECONDS: Final = 120.0
#: Large chunks, so that the provider's limit is the bottleneck and not the database.
LONG_CHUNK_TOKENS: Final = 4000
LONG_DOCUMENT: Final = 100_000  #: characters, about 25,000 tokens
#: Requests should be small enough that the log shows one refusal in a hundred.
LIMIT_BATCH_TOKENS: Final = 16_384
PAGE: Final = "A page of somebody who uploads one document after another. " * 25


def apply_with(chunk_tokens: int) -> Callable[[Database], None]:
    """The schema of docmill, with chunks of this many tokens."""

    def apply(database: Database) -> None:
        with database.connect("postgres") as connection:
            apply_schema(connection, IndexSettings(MODEL, DIMENSIONS, {"max_tokens": chunk_tokens}))

    return apply


@contextmanager
def fresh(
    chunk_tokens: int = 400, **behaviour: float
) -> Iterator[tuple[Installation, RunningProvider]]:
    """An installation without a worker, and its provider."""
    with (
        fresh_installation(apply_with(chunk_tokens)) as running,
        provider_program(running.folder, **behaviour) as provider,
    ):
        for setting in FAST:
            del running.settings[setting]
        running.settings["OPENAI_BASE_URL"] = provider.url
        running.start("beat")
        running.start_webhook()
        yield running, provider


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
    """The result for some documents."""

    requests: float
    chunks: int
    seconds: float
    memory: list[float]  #: of the worker, after each quarter of the documents

    @property
    def share(self) -> float:
        """Requests, divided by the number of full ones."""
        return self.requests / math.ceil(self.chunks / BATCH)


def page(number: int) -> bytes:
    """A document of one chunk."""
    return f"Document {number}. {PAGE}".encode()


def upload_pages(running: Installation, documents: int, pause: float) -> None:
    """Upload as one owner: at fixed times, or without a pause as fast as possible."""
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
    """Wait until all are done; return the worker's memory after each quarter."""
    memory: list[float] = []
    while (done := finished(running)) < documents:
        if done >= documents * (len(memory) + 1) / 4:
            memory.append(memory_mb(pid))
        time.sleep(0.25)
    return [*memory, memory_mb(pid)]


def queued(documents: int) -> Filled:
    """All documents wait before the worker begins."""
    with fresh(latency_ms=LATENCY_MS) as (running, provider):
        upload_pages(running, documents, 0)
        started = time.monotonic()
        worker = running.start_worker()
        memory = follow(running, documents, worker.pid)
        return filled(running, provider, time.monotonic() - started, memory)


def trickle(documents: int) -> Filled:
    """The documents come at a steady rate."""
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
    """The final figures of the provider and the database."""
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


FILLED: Final = {"queued": queued, "trickle": trickle}


@dataclass
class Used:
    """How two workers used a limit."""

    used: float  #: share of the tokens that became available while the limit was the bottleneck
    requests: float
    refused: float  #: share of the requests
    wasted: float  #: share of the tokens that were embedded again
    tokens_a_request: float


def long_document(number: int) -> bytes:
    """About 25,000 tokens."""
    lines = (f"Line {line} of document {number}. {PAGE[:300]}\n\n" for line in range(400))
    return "".join(lines)[:LONG_DOCUMENT].encode()


def limit() -> Used:
    """Two workers, with more documents than the limit allows in the time."""
    tokens = TOKENS_A_MINUTE * (LIMIT_SECONDS + BURST_SECONDS + 30) / 60
    documents = math.ceil(tokens * 4 / LONG_DOCUMENT)
    behaviour = {"tokens_a_minute": TOKENS_A_MINUTE, "burst_seconds": BURST_SECONDS}
    with fresh(LONG_CHUNK_TOKENS, latency_ms=LATENCY_MS, **behaviour) as (running, provider):
        folder = running.client(BOB).storage.from_(BUCKET)
        for number in range(documents):
            folder.upload(f"{BOB}/{number}.txt", long_document(number))
        for _ in range(2):
            running.start_worker(DOCMILL_EMBEDDING_BATCH_TOKENS=str(LIMIT_BATCH_TOKENS))
        at_once = TOKENS_A_MINUTE * BURST_SECONDS / 60
        while provider.books()["tokens"] < at_once:
            time.sleep(0.1)
        # From one request to another, so that no part of a request is counted wrongly.
        before = provider.books()
        time.sleep(LIMIT_SECONDS)
        after = provider.books()
    seconds = after["last_at"] - before["last_at"]
    used = (after["tokens"] - before["tokens"]) / seconds
    return Used(
        used=60 * used / TOKENS_A_MINUTE,
        requests=after["requests"],
        refused=after["refused"] / after["requests"],
        wasted=after["paid_twice"] / after["tokens"],
        tokens_a_request=after["tokens"] / (after["requests"] - after["refused"]),
    )


def print_limit(runs: int) -> None:
    """One row for each run, then the median."""
    print("| case | requests | tokens a request | used | refused | paid for twice |")
    print("| --- | --- | --- | --- | --- | --- |")
    found = []
    for _ in range(runs):
        one = limit()
        found.append(one.used)
        print(
            f"| limit | {one.requests:.0f} | {one.tokens_a_request:,.0f} | {one.used:.3f} |"
            f" {one.refused:.1%} | {one.wasted:.1%} |",
            flush=True,
        )
    print(f"limit: median {median(found):.3f}, {min(found):.3f} to {max(found):.3f}\n")


CASES: Final = (*FILLED, "limit")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Requests and limits.")
    parser.add_argument("--only", choices=CASES, action="append")
    parser.add_argument("--documents", type=int, default=DOCUMENTS)
    parser.add_argument("--runs", type=int, default=RUNS)
    options = parser.parse_args()
    print(machine())
    for name in options.only or CASES:
        if name in FILLED:
            print_filled(name, FILLED[name], options.documents, options.runs)
        else:
            print_limit(options.runs)


if __name__ == "__main__":
    main()

"""Whether a document takes longer, or a worker more memory, when more is stored.

`make bench-growth`; OPTIONS='--runs 1 --documents 40' for less, OPTIONS='--most 1000000' for a
million. One installation with real processes and usual settings, whose provider answers at once.
Chunks of 256 dimensions are put into it in the form that uploads leave, without a graph: 0, 1,000,
10,000 and so on. At each size one of the owners of those chunks uploads notes of a page as fast as
they are taken, several times.

The exponent k says how a figure grows with what is stored: as stored^k, fitted over all sizes but
the empty one. 0: not at all; 1: in proportion.
"""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from docmill.embedded.process import ChildProcess
from tests.benchmarks.engine import PAGE, fresh
from tests.benchmarks.peers.processes import memory_of, tree
from tests.benchmarks.records import Case, Record, Target, arguments, finish, slope, versions_of
from tests.benchmarks.reindex import PER_DOCUMENT, add_chunks
from tests.schema.actors import value
from tests.support.installation import ALICE, BUCKET, Installation

MOST: Final = 100_000
DOCUMENTS: Final = 200
FIRST: Final = 1000
PAGE_OF_CHUNKS: Final = 20_000  #: in one statement
WARM_UP: Final = 20
#: Of the rate of an empty installation.
LEAST_RATE: Final = 0.8
#: An exponent that only noise explains.
FLAT: Final = 0.1


def sizes(most: int, first: int = FIRST) -> list[int]:
    """0, then ten times as many each time."""
    found = [0, first]
    while found[-1] * 10 <= most:
        found.append(found[-1] * 10)
    return found


class Uploads:
    """One owner, whose every note is another text."""

    def __init__(self, running: Installation) -> None:
        self._running = running
        self._made = 0
        self._folders = threading.local()

    def rate(self, documents: int) -> float:
        """Documents a second, from the first upload until the last can be found."""
        names = [f"{ALICE}/note {self._made + number}.txt" for number in range(documents)]
        self._made += documents
        began = time.monotonic()
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(self._upload, names))
        with self._running.database.connect() as connection:
            while self._left(connection, names):
                time.sleep(0.05)
        return documents / (time.monotonic() - began)

    def _upload(self, name: str) -> None:
        if not hasattr(self._folders, "own"):
            self._folders.own = self._running.client(ALICE).storage.from_(BUCKET)
        self._folders.own.upload(name, f"{name}. {PAGE}".encode())

    def _left(self, connection: object, names: list[str]) -> int:
        return len(names) - int(
            value(
                connection,  # type: ignore[arg-type]
                "select count(*) from ingest.documents where object_name = any(%s) and searchable",
                names,
            )
        )


def memory_mb(worker: ChildProcess) -> float:
    """Proportional memory of a worker and its children."""
    return sum(map(memory_of, tree(worker.pid)))


def measure(most: int, documents: int, runs: int, first: int = FIRST) -> Record:
    """At each size some rounds of uploads."""
    record = Record(
        "growth",
        "More and more chunks",
        f"{documents} notes of a page, uploaded as fast as they are taken, where so many chunks of "
        "256 dimensions are stored; no graph, the provider answers at once.",
    )
    rates: list[Case] = []
    memory: list[Case] = []
    with fresh(latency_ms=0) as (running, _provider), running.database.connect() as admin:
        record.versions = versions_of(admin)
        worker = running.start_worker()
        uploads = Uploads(running)
        uploads.rate(WARM_UP)
        stored = 0
        for size in sizes(most, first):
            while stored < size:
                stored += add_chunks(admin, min(PAGE_OF_CHUNKS, size - stored)) * PER_DOCUMENT
            rates.append(record.case("rate", f"{size:,} chunks stored", "documents/s"))
            memory.append(record.case("worker's memory", f"{size:,} chunks stored", "MB"))
            for _ in range(runs):
                rates[-1].values.append(uploads.rate(documents))
                memory[-1].values.append(memory_mb(worker))
    stored_sizes = sizes(most, first)[1:]
    record.targets = [
        Target(
            f"exponent of the time of a document, at most {FLAT}",
            slope([(n, 1 / case.median) for n, case in zip(stored_sizes, rates[1:], strict=True)]),
            most=FLAT,
        ),
        Target(
            f"exponent of memory, at most {FLAT}",
            slope([(n, case.median) for n, case in zip(stored_sizes, memory[1:], strict=True)]),
            most=FLAT,
        ),
        Target(
            f"rate with {stored_sizes[-1]:,} chunks stored, at least 0.8 of the empty one",
            rates[-1].median / rates[0].median,
            least=LEAST_RATE,
        ),
    ]
    return record


def main() -> None:
    """Measure and print."""
    options = arguments("Time and memory while more is stored.", most=MOST, documents=DOCUMENTS)
    finish(measure(options.most, options.documents, options.runs), options)


if __name__ == "__main__":
    main()

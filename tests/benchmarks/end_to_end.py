"""Mixed documents from queue to search, against what the stages alone allow.

`make bench-end-to-end`; OPTIONS='--files 40 --runs 1' for less. Each run has its own installation
with real processes and usual settings, and a provider that answers after 200 ms. First each stage
does all documents alone, with the program's own parts: nothing waits for another. Then everything
is uploaded while the queue is paused, and goes at once: the clock runs from the first claim to the
last publish.

    download  through Storage's API, four at a time
    read      in as many children as a worker has: read and chunk
    embed     all texts at once, in full requests
    write     stage and publish, on four connections; PostgreSQL's time counts

The limit model: all stages but `embed` want the same cores, so their CPU seconds add up:

    R_max = min(1 / seconds of embed, cores / CPU seconds of all stages) documents a second

The serial sum is what a program would reach that does one stage after the other.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Final
from uuid import uuid4

from docmill.worker.clients.embedder import HttpEmbedder
from docmill.worker.clients.storage import SupabaseStorage
from docmill.worker.embedding.batchers import Batchers, BatchLimits
from docmill.worker.models import Chunk, Claim, IndexVersion, Placed
from docmill.worker.ports import Vectors
from docmill.worker.processes.reading import extraction_limits
from docmill.worker.providers.base import Kind, Wanted
from docmill.worker.providers.openai import OpenAI
from docmill.worker.settings.parts import EmbedderSettings, ExtractionSettings
from docmill.worker.store import chunks as chunk_store
from docmill.worker.store import jobs
from docmill.worker.store.chunks import PublishedDocument, content_hash
from docmill.worker.store.database import Database as Pool
from tests.benchmarks.engine import LATENCY_MS, fresh
from tests.benchmarks.extractors import extractor
from tests.benchmarks.peers.processes import cpu_of, tree
from tests.benchmarks.records import Record, Target, arguments, finish, versions_of
from tests.benchmarks.simulate.measure import Bench, File
from tests.support.fake_openai import MODEL
from tests.support.installation import Installation
from tests.support.provider_program import RunningProvider

FILES: Final = 300
LEAST: Final = 0.9
CONNECTIONS: Final = 4
KINDS: Final = ("pdf", "docx", "html", "md", "txt")
STAGES: Final = ("download", "read", "embed", "write")


def mixed(files: int) -> list[File]:
    """Documents of five kinds, of one to eight pages; every fifth is a note of one page."""
    return [
        (KINDS[number % 5], 1 if number % 5 == 4 else 1 + number % 8) for number in range(files)
    ]


@dataclass
class Alone:
    """What a stage took for all documents, alone."""

    seconds: float
    cpu: float  #: of all processes but the provider


class Meter:
    """CPU seconds of this program and all that it started, without the provider."""

    def __init__(self, without: Sequence[int]) -> None:
        self._without = without

    def cpu(self) -> float:
        """Until now."""
        ours = sum(map(cpu_of, tree(os.getpid())))
        return ours - sum(cpu_of(pid) for root in self._without for pid in tree(root))

    @contextmanager
    def measured(self, found: dict[str, Alone], stage: str) -> Iterator[None]:
        """Note what a stage takes."""
        cpu, began = self.cpu(), time.monotonic()
        yield
        found[stage] = Alone(time.monotonic() - began, self.cpu() - cpu)


class Stages:
    """Does the work of runs, one stage of all documents after the other."""

    def __init__(self, bench: Bench, folder: Path) -> None:
        self._running: Installation = bench.running
        self._provider: RunningProvider = bench.provider
        self._folder = folder
        self._paths: dict[str, Path] = {}
        self._chunks: dict[str, list[Chunk]] = {}
        self._vectors: dict[str, Vectors] = {}

    def measure(self, files: Sequence[File]) -> dict[str, Alone]:
        """Upload as one load does, then each stage; what they leave is deleted with the run."""
        bench = self._running
        pool = Pool(bench.database.url("docmill_worker"), connections=CONNECTIONS)
        pool.open()
        with closing(pool):
            claims = self._claims(pool, len(files))
            found: dict[str, Alone] = {}
            meter = Meter([self._provider.pid])
            with meter.measured(found, "download"), ThreadPoolExecutor(4) as threads:
                list(threads.map(self._download, claims))
            self._read(claims, found, meter)
            self._embed(claims, found, meter)
            with meter.measured(found, "write"), ThreadPoolExecutor(CONNECTIONS) as threads:
                list(threads.map(lambda claim: self._write(pool, claim), claims))
        return found

    def _claims(self, pool: Pool, files: int) -> list[Claim]:
        claims = []
        for row in self._running.rows("select id from ingest.jobs where state = 'queued'"):
            with pool.transaction() as transaction:
                claim = jobs.claim(
                    transaction,
                    row["id"],
                    worker_id="bench",
                    isolated=False,
                    lease_for=timedelta(hours=1),
                )
            assert claim is not None
            claims.append(claim)
        assert len(claims) == files
        return claims

    def _download(self, claim: Claim) -> None:
        path = self._folder / str(uuid4())
        storage = _storage(self._running)
        storage.info(claim.bucket_id, claim.object_name, check=_go_on)
        storage.download(claim.bucket_id, claim.object_name, path, max_bytes=1 << 30, check=_go_on)
        self._paths[claim.object_name] = path

    def _read(self, claims: Sequence[Claim], found: dict[str, Alone], meter: Meter) -> None:
        children = ExtractionSettings().extraction_children
        limits = extraction_limits(ExtractionSettings(), children=children)
        with extractor(self._folder, limits) as ready:

            def read(claim: Claim) -> None:
                with ready.open(
                    self._paths[claim.object_name],
                    file_name=claim.object_name,
                    check=_go_on,
                    owner=claim.turn,
                    kept=_Nothing(),
                    rules=claim.index.rules,
                ) as extraction:
                    windows = list(extraction.windows())
                self._chunks[claim.object_name] = [
                    chunk for window in windows for chunk in window.chunks
                ]

            with meter.measured(found, "read"), ThreadPoolExecutor(children) as threads:
                list(threads.map(read, claims))

    def _embed(self, claims: Sequence[Claim], found: dict[str, Alone], meter: Meter) -> None:
        settings = EmbedderSettings()
        batchers = Batchers(
            self._embedder,
            providers=["openai"],
            limits=BatchLimits(
                max_texts=settings.embedding_batch_size,
                max_tokens=settings.embedding_batch_tokens,
                requests=settings.embedding_requests,
            ),
        )
        with closing(batchers), meter.measured(found, "embed"):
            asked = []
            for claim in claims:
                chunks = self._chunks[claim.object_name]
                batcher = batchers.batcher(claim.index, is_reindex=False)
                texts = [chunk.embedded_text for chunk in chunks]
                counts = [chunk.token_count for chunk in chunks]
                asked.append((claim, batcher.submit(claim.turn, texts, counts)))
            for claim, submission in asked:
                assert submission.wait(600)
                self._vectors[claim.object_name] = submission.result(claim.index.dimensions).vectors

    def _embedder(self, index: IndexVersion) -> HttpEmbedder:
        return HttpEmbedder(
            OpenAI(),
            {"api_key": "k", "base_url": self._provider.url},
            Wanted(MODEL, index.dimensions, index.sends_dimensions, Kind.DOCUMENT),
            timeout_seconds=60,
        )

    def _write(self, pool: Pool, claim: Claim) -> None:
        chunks = self._chunks[claim.object_name]
        vectors = self._vectors[claim.object_name]
        named = [(content_hash(claim.index, chunk), chunk) for chunk in chunks]
        places = {digest: place for place, (digest, _) in enumerate(named)}
        once = [named[place] for place in places.values()]
        with pool.transaction() as transaction:
            chunk_store.stage(
                transaction,
                claim,
                once,
                vectors[list(places.values())],
                tokens=1,
                usd=Decimal(0),
            )
        document = PublishedDocument(b"s" * 32, "1.1", None, "text/plain", None, 0, [], 0, 0)
        placed = [
            Placed(digest, chunk.page_start, chunk.page_end, chunk.metadata)
            for digest, chunk in named
        ]
        with pool.transaction() as transaction:
            assert chunk_store.publish(transaction, claim, document, placed, []) == "published"


class _Nothing:
    """No window was kept, and none is."""

    def numbers(self) -> Sequence[int]:
        return ()

    def load(self, number: int) -> bytes:
        raise LookupError(number)

    def keep(self, number: int, content: bytes) -> None:
        pass


def _go_on() -> None:
    pass


_storages = threading.local()


def _storage(running: Installation) -> SupabaseStorage:
    if getattr(_storages, "url", None) != running.settings["SUPABASE_URL"]:
        _storages.url = running.settings["SUPABASE_URL"]
        _storages.made = SupabaseStorage(_storages.url, running.settings["SUPABASE_SECRET_KEY"])
    made: SupabaseStorage = _storages.made
    return made


@dataclass
class Run:
    """One run: each stage alone, then all of them."""

    stages: dict[str, Alone]
    rate: float
    cpu: float  #: a document, of the whole installation

    def most(self, files: int) -> float:
        """R_max of the limit model."""
        cores = os.cpu_count() or 1
        cpu = sum(self.stages[stage].cpu for stage in STAGES)
        return min(files / self.stages["embed"].seconds, cores * files / cpu)

    def serial(self, files: int) -> float:
        """One stage after the other."""
        return files / sum(one.seconds for one in self.stages.values())


def run(files: Sequence[File], about: Callable[[Installation], None]) -> Run:
    """Measure in two installations, so that neither finds anything of the other."""
    with fresh(latency_ms=LATENCY_MS) as (running, provider):
        about(running)
        bench = Bench(running, provider)
        bench.upload(files)
        stages = Stages(bench, running.folder).measure(files)
    with fresh(latency_ms=LATENCY_MS) as (running, provider):
        bench = Bench(running, provider)
        bench.use_worker({})
        load = bench.load(files)
    return Run(stages, load.rate, sum(load.run_cpu.values()) / len(files))


def measure(files: int, runs: int) -> Record:
    """All runs."""
    record = Record(
        "end_to_end",
        "End to end",
        f"{files} documents of five kinds and one to eight pages, uploaded before the clock "
        f"starts; the provider answers after {LATENCY_MS} ms.",
    )

    def about(running: Installation) -> None:
        with running.database.connect() as admin:
            record.versions = versions_of(admin)

    ratios = []
    for _ in range(runs):
        one = run(mixed(files), about)
        ratios.append(one.rate / one.most(files))
        for stage in STAGES:
            alone = one.stages[stage]
            record.case("each stage alone", stage, "documents/s").values.append(
                files / alone.seconds
            )
            record.case("CPU a document", stage, "ms").values.append(1000 * alone.cpu / files)
        record.case("CPU a document", "all, as it runs", "ms").values.append(1000 * one.cpu)
        together = "all stages"
        record.case(together, "one after the other", "documents/s").values.append(one.serial(files))
        record.case(together, "R_max of the limit model", "documents/s").values.append(
            one.most(files)
        )
        record.case(together, "docmill", "documents/s").values.append(one.rate)
    ratio = sorted(ratios)[len(ratios) // 2]
    record.targets = [Target("throughput, at least 0.90 of R_max", ratio, least=LEAST)]
    return record


def main() -> None:
    """Measure and print."""
    options = arguments("From queue to search.", files=FILES)
    finish(measure(options.files, options.runs), options)


if __name__ == "__main__":
    main()

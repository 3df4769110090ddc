"""Short loads on a real installation: what each part of it took, and how fast it was.

All of a load's documents are uploaded while everything is paused. Then they may go, and the clock
runs from the first claim to the last publish.
"""

import random
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from math import log
from pathlib import Path
from typing import Final

from docmill.embedded.process import ChildProcess
from docmill.worker.extraction.child.chunking.chunker import chunk_elements
from docmill.worker.extraction.child.chunking.tokens import counter_for
from docmill.worker.extraction.child.kinds.base import Source
from docmill.worker.extraction.child.kinds.registry import open_reading
from docmill.worker.extraction.zygote import warm
from docmill.worker.models import Element
from docmill.worker.settings.parts import ExtractionSettings
from tests.benchmarks.engine import fresh
from tests.benchmarks.made_documents import Writer, make_docx, make_html, make_pdf
from tests.benchmarks.peers.processes import Meter, children, own_cpu_of
from tests.support.installation import BOB, BUCKET, Installation
from tests.support.provider_program import RunningProvider

LATENCY_MS: Final = 200
#: How the provider behaves unless a load says otherwise.
USUAL: Final = {"latency_ms": LATENCY_MS, "tokens_a_minute": 0.0, "burst_seconds": 60.0}
#: Kinds that are made here, and how many pages the time of one page is taken from.
KINDS: Final = ("pdf", "docx", "html", "md", "txt")
_SLOPE_PAGES: Final = (2, 16)
#: Rows of an HNSW index before those whose time is taken; and how many of those there are.
_HNSW_ROWS: Final = (500, 2000, 8000)
_HNSW_MORE: Final = 200

_numbers = count()
File = tuple[str, int]  #: kind, pages


@dataclass(frozen=True)
class Load:
    """What was measured of some documents."""

    files: tuple[File, ...]
    seconds: float
    chunks: int
    chunks_by_kind: dict[str, int]
    tokens: float
    requests: float
    run_cpu: dict[str, float]  #: seconds by part, from the first claim to the last publish
    upload_cpu: dict[str, float]
    early_cpu: dict[str, float]  #: as `run_cpu`, until the first request for embeddings

    @property
    def rate(self) -> float:
        """Documents a second."""
        return len(self.files) / self.seconds

    @property
    def cores(self) -> float:
        """Cores that all parts used on average."""
        return sum(self.run_cpu.values()) / self.seconds


def make(kind: str, pages: int, writer: Writer) -> bytes:
    """A document of words by chance."""
    if kind == "pdf":
        return make_pdf(pages, writer)
    if kind == "docx":
        return make_docx(pages, writer)
    if kind == "html":
        return make_html(pages, writer)
    return "\n\n".join(
        f"# {writer.words(3, 5)}\n\n" + "\n\n".join(writer.paragraph() for _ in range(6))
        for _ in range(pages)
    ).encode()


class Bench:
    """An installation that takes loads one after another."""

    def __init__(self, running: Installation, provider: RunningProvider) -> None:
        self.running = running
        self.provider = provider
        self._writer = Writer()
        self._worker: ChildProcess | None = None
        self._settings: dict[str, str] = {}
        self._pause()

    def use_worker(self, settings: dict[str, str]) -> None:
        """A worker with these settings, warm; the one that runs, if it has them."""
        if self._worker is not None:
            if settings == self._settings:
                return
            self._worker.stop()
            self.running.children.remove(self._worker)
        worker = self.running.start_worker(isolated=False, **settings)
        while "zygote_ready" not in worker.log_path.read_text():
            time.sleep(0.1)
        self._worker, self._settings = worker, settings
        self.load([("txt", 1)] * 16)  # whatever is only slow the first time

    def load(self, files: Sequence[File], **behaviour: float) -> Load:
        """Upload all of it, then let it go, while the provider behaves so."""
        self.provider.tell(**(USUAL | behaviour))
        folder = f"load-{next(_numbers)}"
        uploading = self._meter()
        self._upload(folder, files)
        uploading.stop()
        self.provider.tell()  # empty books
        running = self._meter()
        self._resume()
        early = self._wait(folder, len(files), running)
        running.stop()
        self._pause()
        return self._read(folder, files, running.cpu(), uploading.cpu(), early)

    def _meter(self) -> Meter:
        assert self._worker is not None
        running = self.running
        meter = Meter(postgres=[running.database.server.child.pid])
        meter.follow("around", running.storage.child.pid)
        meter.follow("around", running.redis.child.pid)
        for child in running.children:
            part = {"webhook": "receiver", "worker": "worker"}.get(
                child.name.partition("-")[0], "around"
            )
            meter.follow(part, child.pid, alone=True)
        for pid in children(self._worker.pid):
            meter.follow("reading", pid)
        return meter

    def upload(self, files: Sequence[File]) -> None:
        """Upload, and let all of it go: without a worker, to whoever claims the jobs."""
        self._upload(f"load-{next(_numbers)}", files)
        self._resume()

    def _upload(self, folder: str, files: Sequence[File]) -> None:
        made = [
            (f"{BOB}/{folder}/{number}.{kind}", make(kind, pages, self._writer))
            for number, (kind, pages) in enumerate(files)
        ]
        bucket = self.running.client(BOB).storage.from_(BUCKET)
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda one: bucket.upload(*one), made))

    def _pause(self) -> None:
        self.running.rows(
            "insert into ingest_private.pauses (scope, key) values ('everything', '') returning 1"
        )

    def _resume(self) -> None:
        self.running.rows("delete from ingest_private.pauses returning 1")
        self.running.rows("select changed from ingest_private.apply_pauses(null)")

    def _wait(self, folder: str, files: int, meter: Meter) -> dict[str, float]:
        early: dict[str, float] | None = None
        query = """select count(*) filter (where document.status = 'ready') as ready,
                          count(*) filter (where document.status = 'failed') as failed
                     from ingest.documents as document where document.object_name like %s"""
        # One connection: to begin a session costs the server more than to answer.
        with self.running.database.connect() as connection:
            while True:
                [(ready, failed)] = connection.execute(query, [f"{BOB}/{folder}/%"]).fetchall()
                assert failed == 0, self.running.logs()[-4000:]
                if early is None and self.provider.books()["requests"]:
                    early = meter.cpu()
                if ready == files:
                    return early or meter.cpu()
                time.sleep(0.1)

    def _read(
        self,
        folder: str,
        files: Sequence[File],
        run_cpu: dict[str, float],
        upload_cpu: dict[str, float],
        early_cpu: dict[str, float],
    ) -> Load:
        [times] = self.running.rows(
            """select extract(epoch from max(job.finished_at) - min(run.started_at)) as seconds
                 from ingest.documents as document
                      join ingest.jobs as job on job.document_id = document.id
                      join ingest_private.attempts as run on run.job_id = job.id
                where document.object_name like %s""",
            f"{BOB}/{folder}/%",
        )
        by_kind = self.running.rows(
            """select substring(document.object_name from '[a-z]+$') as kind,
                      sum(document.chunk_count)::integer as chunks
                 from ingest.documents as document
                where document.object_name like %s group by 1""",
            f"{BOB}/{folder}/%",
        )
        chunks = {row["kind"]: row["chunks"] for row in by_kind}
        books = self.provider.books()
        return Load(
            tuple(files),
            float(times["seconds"]),
            sum(chunks.values()),
            chunks,
            books["tokens"],
            books["requests"],
            run_cpu,
            upload_cpu,
            early_cpu,
        )

    def rows_of_index(self) -> int:
        """Chunks that are published."""
        [row] = self.running.rows("select count(*) from ingest.chunks")
        return int(row["count"])

    def stored_bytes(self) -> int:
        """What docmill's tables and their indexes take."""
        [row] = self.running.rows(
            """select sum(pg_relation_size(oid))::bigint as bytes from pg_class
                where relnamespace in ('ingest'::regnamespace, 'ingest_private'::regnamespace)"""
        )
        return int(row["bytes"])

    @property
    def children(self) -> int:
        """Processes in which a worker reads at once."""
        return ExtractionSettings().extraction_children

    def use_hnsw(self, *, used: bool) -> None:
        """Build the index, or drop it."""
        self.running.docmill("index", "hnsw", "on" if used else "off")


@contextmanager
def bench() -> Iterator[Bench]:
    """A fresh installation, without a worker."""
    with fresh(latency_ms=LATENCY_MS) as (running, provider):
        yield Bench(running, provider)


# -- single costs


@dataclass(frozen=True)
class Alone:
    """CPU seconds to read and chunk a document in one's own process."""

    first: float  #: whatever its pages
    page: float


def read_alone(folder: Path) -> dict[str, Alone]:
    """What each kind takes in this program; a child takes more."""
    warm.warm_up()
    return {kind: _alone(folder, kind) for kind in KINDS}


def _alone(folder: Path, kind: str) -> Alone:
    few, many = _SLOPE_PAGES
    times = []
    for pages in _SLOPE_PAGES:
        path = folder / f"{pages}.{kind}"
        path.write_bytes(make(kind, pages, Writer()))
        times.append(min(_read_seconds(path) for _ in range(3)))
    page = max(1e-6, (times[1] - times[0]) / (many - few))
    return Alone(max(1e-6, times[0] - few * page), page)


def _read_seconds(path: Path) -> float:
    began = time.process_time()
    with path.open("rb") as file:
        parts = open_reading(Source(file=file, file_name=path.name))[1].parts
        elements = (part for part in parts if isinstance(part, Element))
        for _ in chunk_elements(elements, counter_for("openai"), max_tokens=400):
            pass
    return time.process_time() - began


def hnsw_costs(running: Installation, dimensions: int) -> list[tuple[int, float, float]]:
    """Rows that an HNSW index has, CPU seconds of PostgreSQL for one more, bytes of each."""
    found = []
    with running.database.connect() as connection:
        connection.execute(
            f"""set search_path = public, extensions;
                create table vectors as
                select (select array_agg(random() - 0.5 + 0 * number * element)
                          from generate_series(1, {dimensions}) as element)::vector({dimensions})
                       ::halfvec({dimensions}) as embedding
                  from generate_series(1, {max(_HNSW_ROWS) + _HNSW_MORE}) as number;
                alter table vectors add column number serial""".encode()
        )
        pid = connection.info.backend_pid
        for rows in _HNSW_ROWS:
            connection.execute(
                f"""create table indexed (embedding halfvec({dimensions}));
                    alter table indexed alter column embedding set storage plain;
                    insert into indexed select embedding from vectors where number <= {rows};
                    create index on indexed using hnsw (embedding halfvec_cosine_ops)""".encode()
            )
            before = own_cpu_of(pid)
            connection.execute(
                f"""insert into indexed select embedding from vectors
                     where number > {rows} and number <= {rows + _HNSW_MORE}""".encode()
            )
            seconds = (own_cpu_of(pid) - before) / _HNSW_MORE
            [size] = connection.execute(
                "select pg_relation_size('indexed_embedding_idx')::float"
            ).fetchall()
            found.append((rows, seconds, size[0] / (rows + _HNSW_MORE)))
            connection.execute("drop table indexed")
        connection.execute("drop table vectors")
    return found


def fit_log(points: Sequence[tuple[int, float, float]]) -> tuple[float, float]:
    """Constant and slope of y = a + b ln(n) for points (n, y, anything), by least squares."""
    xs, ys = [log(n) for n, _, _ in points], [y for _, y, _ in points]
    mean_x, mean_y = sum(xs) / len(xs), sum(ys) / len(ys)
    spread = sum((x - mean_x) ** 2 for x in xs)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True)) / spread
    return mean_y - slope * mean_x, slope


def mixed(number: int, pages: Sequence[int], chance: random.Random) -> list[File]:
    """Documents of all kinds."""
    return [(KINDS[place % len(KINDS)], chance.choice(pages)) for place in range(number)]

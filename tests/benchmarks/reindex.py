"""How fast another index version is filled, what others notice of it, and how it takes over.

    python -m tests.benchmarks.reindex [--chunks 100000] [--latency-ms 50] [--idle-seconds 30]

`make bench-reindex`. One installation with its real processes and usual settings. Chunks of 256
dimensions lie there, in documents of 20; a second model of 1,536 dimensions is filled from their
rows by a provider that answers each request after the same time.

    rate      chunks a second, alone in the first half of the load and beside clients in the second;
              against what the stages, each measured alone, allow together
    clients   one uploads a small document after another, one searches: before the load, and in its
              second half
    flip      the statement that makes a version active, back and forth
    outdated  documents that are read again and found unchanged: requests, rows that were written
"""

import argparse
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar
from uuid import UUID, uuid4

import numpy as np

from docmill.embedded.postgres import start_postgres
from docmill.embedded.process import ChildProcess
from docmill.embedded.redis import start_redis
from docmill.worker.admin import reindex
from docmill.worker.clients.embedder import HttpEmbedder
from docmill.worker.embedding.batchers import Batchers, BatchLimits
from docmill.worker.models import Chunk, Claim, IndexVersion, Placed
from docmill.worker.ports import Vectors
from docmill.worker.providers.base import Kind, Wanted
from docmill.worker.providers.openai import OpenAI
from docmill.worker.store import chunks as chunk_store
from docmill.worker.store import jobs
from docmill.worker.store import reindex as reindex_store
from docmill.worker.store.chunks import content_hash
from docmill.worker.store.database import Database
from docmill.worker.store.reindex import ReindexSource
from tests.benchmarks.figures import Figures, machine, print_table
from tests.benchmarks.search import AS_CALLER, WORDS
from tests.schema.actors import Connection, literal, new_version, value
from tests.schema.corpora import ChunkRow, copy_chunks, place_chunks
from tests.support.database import make_database, make_template
from tests.support.fake_openai import DIMENSIONS, MODEL, FakeOpenAI, Raw, embeddings
from tests.support.installation import ALICE, BOB, BUCKET, FAST, Installation, install, until

OTHER_DIMENSIONS: Final = 1536
OTHER: Final = {"p_provider": "second", "p_model": "second-model", "p_dimensions": OTHER_DIMENSIONS}
PER_DOCUMENT: Final = 20
PER_OWNER: Final = 1000
WORDS_PER_CHUNK: Final = 100
#: A worker's defaults.
CONNECTIONS: Final = 8
LIMITS: Final = BatchLimits(max_texts=256, max_tokens=100_000, requests=4)
#: Each stage alone: the number of repetitions, and of documents in each.
ROUNDS: Final = 5
SAMPLE: Final = 100
FLIPS: Final = 20
SEARCH_PAUSE: Final = 0.05
PAGE: Final = "A page of somebody who uploads. " * 20
T = TypeVar("T")


# -- the existing documents


@contextmanager
def installed(latency: float) -> Iterator[tuple[Installation, FakeOpenAI]]:
    """An installation with usual settings and two providers, without running processes."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="docmill-bench-")))
        postgres = start_postgres(folder / "postgres")
        stack.callback(postgres.stop)
        redis = start_redis(folder / "redis")
        stack.callback(redis.stop)
        make_template(postgres)
        database = stack.enter_context(make_database(postgres, "project"))
        running = stack.enter_context(install(database, redis, folder))
        second = FakeOpenAI(respond=answers_after(latency, OTHER_DIMENSIONS))
        stack.callback(second.close)
        running.openai.respond = answers_after(latency, DIMENSIONS)
        for name in FAST:
            del running.settings[name]
        providers = {"second": {"base_url": second.url, "api_key": "key-of-second"}}
        running.settings["DOCMILL_PROVIDERS"] = json.dumps(providers)
        yield running, second


def answers_after(latency: float, dimensions: int) -> Callable[[list[str]], Raw]:
    """The same vectors for each request, after a fixed time, so that making them takes no time."""
    made = embeddings([str(number) for number in range(LIMITS.max_texts)], dimensions)
    items = [json.dumps(item).encode() for item in made["data"]]
    form = b'{"object": "list", "model": "m", "usage": {"total_tokens": %d}, "data": [%s]}'

    def answer(texts: list[str]) -> Raw:
        time.sleep(latency)
        return Raw(form % (len(texts), b",".join(items[: len(texts)])))

    return answer


def fill(admin: Connection, chunks: int) -> int:
    """Documents of the active version, in the form that uploads leave; returns how many."""
    documents = add_chunks(admin, chunks)
    admin.execute("vacuum analyze")
    return documents


def add_chunks(admin: Connection, chunks: int) -> int:
    """So many more chunks of the active version; returns how many documents."""
    generator = np.random.default_rng()
    documents = [(uuid4(), uuid4(), _owner_of(row)) for row in range(chunks // PER_DOCUMENT)]
    add_documents(admin, documents, [1], PER_DOCUMENT)
    copy_chunks(admin, 1, _chunks(documents, generator))
    place_chunks(admin, 1, [document for document, _, _ in documents])
    return len(documents)


def _owner_of(document: int) -> str:
    number = document * PER_DOCUMENT // PER_OWNER
    return f"owner {number}" if number else ALICE


def _chunks(
    documents: Sequence[tuple[UUID, UUID, str]], generator: np.random.Generator
) -> Iterator[ChunkRow]:
    for document, item, owner in documents:
        for _ in range(PER_DOCUMENT):
            text = " ".join(generator.choice(WORDS, size=WORDS_PER_CHUNK))
            vector = generator.standard_normal(DIMENSIONS).astype(np.float16)
            yield ChunkRow(uuid4(), document, item, owner, "owner", text, vector)


def add_documents(
    admin: Connection,
    documents: Sequence[tuple[UUID, UUID, str]],
    versions: Sequence[int],
    chunk_count: int,
) -> None:
    """Write rows of documents, their published versions, and their objects in Storage."""
    admin.execute("create temporary table made (id uuid, object_id uuid, owner text)")
    with admin.cursor().copy("copy made from stdin") as copy:
        for row in documents:
            copy.write_row(row)
    admin.execute("set session_replication_role = replica")
    admin.execute(
        """insert into storage.objects (id, bucket_id, name, owner_id, version)
           select object_id, 'docs', owner || '/' || id || '.txt', owner, 'v' from made"""
    )
    admin.execute("reset session_replication_role")
    admin.execute(
        """insert into ingest.documents (id, object_id, bucket_id, object_name, owner_id,
                       storage_version, status, searchable, mime_type, chunk_count, token_count)
           select id, object_id, 'docs', owner || '/' || id || '.txt', owner, 'v', 'ready', true,
                  'text/plain', %s, %s from made""",
        [chunk_count, chunk_count * WORDS_PER_CHUNK],
    )
    admin.execute(
        """insert into ingest_private.published_versions (document_id, index_version,
                       storage_version, content_sha256, pipeline_version, chunk_count, token_count,
                       quarantined_chunks, published_at)
           select id, version, 'v', sha256(id::text::bytea), '1.1', %s, %s, 0,
                  now() - interval '1 day'
             from made cross join unnest(%s::integer[]) as version""",
        [chunk_count, chunk_count * WORDS_PER_CHUNK, list(versions)],
    )
    admin.execute("drop table made")


# -- each stage alone


@dataclass
class Work:
    """One document on its way through the stages."""

    claim: Claim
    source: ReindexSource
    chunks: list[tuple[bytes, Chunk]]
    vectors: Vectors


class Stages:
    """Does the work of a run, one stage of many documents after the other."""

    NAMES: Final = ("claim", "read", "embed", "stage", "publish")

    def __init__(self, running: Installation, second: FakeOpenAI, version: int) -> None:
        self._version = version
        self._running = running
        self._database = Database(running.database.url("docmill_worker"), connections=CONNECTIONS)
        self._batchers = Batchers(
            partial(_embedder, second.url), providers=["second"], limits=LIMITS
        )
        self.figures = {name: Figures(f"{name}, alone", "ms a chunk") for name in self.NAMES}

    @contextmanager
    def open(self) -> Iterator["Stages"]:
        """Connect; at the end disconnect."""
        self._database.open()
        try:
            yield self
        finally:
            self._batchers.close()
            self._database.close()

    def measure(self, documents: int) -> None:
        """Measure a value for each stage."""
        self._running.rows(
            "select ingest_private.fill_index_versions(%s, %s)", documents, documents
        )
        waiting = self._running.rows(
            "select id from ingest.jobs where index_version = %s and state = 'queued'",
            self._version,
        )
        spent: dict[str, float] = {}
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            claims = _timed(spent, "claim", pool, self._claim, [row["id"] for row in waiting])
            work = _timed(spent, "read", pool, self._read, claims)
            started = time.perf_counter()
            self._embed(work)
            spent["embed"] = time.perf_counter() - started
            _timed(spent, "stage", pool, self._stage, work)
            _timed(spent, "publish", pool, self._publish, work)
        chunks = sum(len(one.chunks) for one in work)
        for name, seconds in spent.items():
            self.figures[name].values.append(1000 * seconds / chunks)

    def _claim(self, job_id: UUID) -> Claim:
        with self._database.transaction() as transaction:
            claim = jobs.claim(
                transaction,
                job_id,
                worker_id="bench",
                isolated=False,
                lease_for=timedelta(minutes=10),
            )
        assert claim is not None
        return claim

    def _read(self, claim: Claim) -> Work:
        with self._database.transaction() as transaction:
            source = reindex_store.source_of(transaction, claim)
        assert source is not None
        with self._database.transaction() as transaction:
            chunk_store.known_hashes(transaction, claim)
        chunks: list[Chunk] = []
        while True:
            with self._database.transaction() as transaction:
                page = reindex_store.chunks_of(transaction, claim, source, len(chunks))
            if not page:
                break
            chunks += page
        named = [(content_hash(claim.index, chunk), chunk) for chunk in chunks]
        return Work(claim, source, named, np.empty((0, 0), dtype=np.float32))

    def _embed(self, work: Sequence[Work]) -> None:
        asked = []
        for one in work:
            batcher = self._batchers.batcher(one.claim.index, is_reindex=True)
            texts = [chunk.embedded_text for _, chunk in one.chunks]
            tokens = [chunk.token_count for _, chunk in one.chunks]
            asked.append((one, batcher.submit(one.claim.turn, texts, tokens)))
        for one, submission in asked:
            assert submission.wait(60)
            one.vectors = submission.result(one.claim.index.dimensions).vectors

    def _stage(self, one: Work) -> None:
        with self._database.transaction() as transaction:
            chunk_store.stage(
                transaction, one.claim, one.chunks, one.vectors, tokens=1, usd=Decimal(0)
            )

    def _publish(self, one: Work) -> None:
        placed = [
            Placed(digest, chunk.page_start, chunk.page_end, chunk.metadata)
            for digest, chunk in one.chunks
        ]
        with self._database.transaction() as transaction:
            result = chunk_store.publish(transaction, one.claim, one.source.document, placed, [])
        assert result == "published"

    def allowed(self) -> float:
        """Chunks per second that these stages allow together.

        Stages in the database share the cores; embeddings arrive at the same time.
        """
        spent = {name: figures.quantile(0.5) for name, figures in self.figures.items()}
        return 1000 / max(spent["read"] + spent["stage"] + spent["publish"], spent["embed"])


def _embedder(url: str, index: IndexVersion) -> HttpEmbedder:
    return HttpEmbedder(
        OpenAI(),
        {"api_key": "key-of-second", "base_url": url},
        Wanted(index.model, index.dimensions, index.sends_dimensions, Kind.DOCUMENT),
        timeout_seconds=60,
    )


def _timed(
    spent: dict[str, float],
    name: str,
    pool: ThreadPoolExecutor,
    action: Callable[[Any], T],
    items: Sequence[Any],
) -> list[T]:
    started = time.perf_counter()
    done = list(pool.map(action, items))
    spent[name] = time.perf_counter() - started
    return done


def measure_stages(running: Installation, second: FakeOpenAI, documents: int) -> Stages:
    """Fill part of a version without any process of docmill, then drop it."""
    with running.database.connect("postgres") as admin:
        version = new_version(admin, **OTHER)
        with Stages(running, second, version).open() as stages:
            for _ in range(ROUNDS + 1):
                stages.measure(min(SAMPLE, documents // (ROUNDS + 1)))
        # The first round plans and connects.
        for figures in stages.figures.values():
            del figures.values[0]
        reindex.drop(admin, version)
    return stages


# -- clients


class Clients:
    """A client that uploads and one that searches, one request after the other."""

    def __init__(self, running: Installation, when: str) -> None:
        self._running = running
        self._over = threading.Event()
        self.uploads = Figures(f"upload to searchable, {when}", "ms")
        self.searches = Figures(f"search among {PER_OWNER:,} chunks, {when}", "ms")

    @contextmanager
    def busy(self) -> Iterator[None]:
        """While this is open, both send requests."""
        with ThreadPoolExecutor(2) as pool:
            at_it = [pool.submit(self._upload), pool.submit(self._search)]
            try:
                yield
            finally:
                self._over.set()
        for one in at_it:
            one.result()

    def _upload(self) -> None:
        folder = self._running.client(BOB).storage.from_(BUCKET)
        query = b"select from ingest.documents where object_name = %s and searchable"
        with self._running.database.connect() as connection:
            while not self._over.is_set():
                name = f"{BOB}/{uuid4()}.txt"
                started = time.perf_counter()
                folder.upload(name, f"{name} {PAGE}".encode())
                while connection.execute(query, [name]).fetchone() is None:
                    time.sleep(0.005)
                self.uploads.values.append(1000 * (time.perf_counter() - started))

    def _search(self) -> None:
        generator = np.random.default_rng(2)
        with self._running.database.connect("authenticator") as connection:
            while not self._over.wait(SEARCH_PAUSE):
                vector = literal(generator.standard_normal(DIMENSIONS).astype(np.float32))
                with connection.transaction():
                    connection.execute(AS_CALLER, [json.dumps({"sub": ALICE})])
                    started = time.perf_counter()
                    found = connection.execute(
                        "select chunk_id from ingest.match_chunks(%s, %s, 10)", [vector, MODEL]
                    ).fetchall()
                    self.searches.values.append(1000 * (time.perf_counter() - started))
                assert len(found) == 10


# -- the load


@dataclass(frozen=True)
class Part:
    """A part of the load."""

    name: str
    chunks: int
    seconds: float
    busy: float  #: share of the cores' time that was not idle

    @property
    def rate(self) -> float:
        return self.chunks / self.seconds


class Load:
    """A version that is being filled, according to the database."""

    def __init__(self, connection: Connection, version: int) -> None:
        self._connection = connection
        self._version = version

    def documents(self) -> int:
        """How many documents of the corpus it has."""
        return int(
            value(
                self._connection,
                """select count(*) from ingest_private.published_versions
                    where index_version = %s and storage_version = 'v'""",
                self._version,
            )
        )

    def follow(self, name: str, until_documents: int) -> Part:
        """Measure from now until there are this many documents."""
        before, started, busy = self.documents(), time.monotonic(), _processor_seconds()
        while (after := self.documents()) < until_documents:
            time.sleep(0.1)
        seconds = time.monotonic() - started
        share = (_processor_seconds() - busy) / seconds / (os.cpu_count() or 1)
        return Part(name, (after - before) * PER_DOCUMENT, seconds, share)


def _processor_seconds() -> float:
    """The time that all cores together were not idle."""
    user, nice, system, _idle, _wait, irq, soft = map(
        int, Path("/proc/stat").read_text().split(maxsplit=8)[1:8]
    )
    return (user + nice + system + irq + soft) / os.sysconf("SC_CLK_TCK")


def load(running: Installation, documents: int) -> tuple[int, list[Part], Clients]:
    """Fill a version: half of it alone, half of it beside clients."""
    clients = Clients(running, "during the load")
    with running.database.connect("postgres") as admin, running.database.connect() as watching:
        version = new_version(admin, **OTHER)
        filling = Load(watching, version)
        until(lambda: filling.documents() > 0, "the first documents", 60)
        parts = [filling.follow("alone", documents // 2)]
        with clients.busy():
            parts.append(filling.follow("beside clients", documents))
        rest = "select not exists (select from ingest_private.missing_from(%s, 1))"
        until(lambda: value(watching, rest, version), "the rest", 120)
    return version, parts, clients


# -- the flip


def flips(running: Installation, other: int, documents: int) -> list[Figures]:
    """Activate back and forth, with this many documents."""
    whole = Figures(f"flip, {documents:,} documents", "ms")
    looking = Figures("of it, looking for what is missing", "ms")
    with running.database.connect("postgres") as admin:
        for number in range(FLIPS):
            target = (other, 1)[number % 2]
            looking.values.append(
                _milliseconds(
                    admin, "select exists (select from ingest_private.missing_from(%s, 1))", target
                )[0]
            )
            spent, is_active = _milliseconds(
                admin,
                """select ingest_private.activate_index_version(
                       %s, false, (select id from ingest.index_versions where state = 'active'),
                       clock_timestamp())""",
                target,
            )
            assert is_active
            whole.values.append(spent)
    return [whole, looking]


def _milliseconds(admin: Connection, query: str, *parameters: Any) -> tuple[float, Any]:
    started = time.perf_counter()
    found = value(admin, query, *parameters)
    return 1000 * (time.perf_counter() - started), found


def add_up_to(running: Installation, versions: Sequence[int], documents: int) -> None:
    """Add documents without chunks until there are this many."""
    with running.database.connect() as admin:
        more = documents - int(value(admin, "select count(*) from ingest.documents"))
        made = [(uuid4(), uuid4(), f"owner {number % 1000}") for number in range(max(0, more))]
        add_documents(admin, made, versions, 0)
        take_for_current(admin)
        admin.execute("vacuum analyze")


def take_for_current(admin: Connection) -> None:
    """Let documents that were not uploaded count as read by the running worker's rules."""
    admin.execute(
        """update ingest_private.published_versions set pipeline_version = (
               select pipeline_version from ingest_private.published_versions
                where storage_version <> 'v' limit 1)
            where pipeline_version = '1.1'"""
    )


# -- reading again


WRITTEN: Final = """
    select relname, n_tup_ins + n_tup_upd + n_tup_del as rows from pg_stat_user_tables
     where relname ~ '^(chunks|sketches|chunk_positions)_[0-9]+$' or relname = 'chunk_lexemes'
"""


@dataclass(frozen=True)
class Again:
    """The work of reading unchanged documents again."""

    documents: int
    seconds: float
    requests: int
    chunk_rows: int  #: of chunks, sketches and words
    position_rows: int


def read_again(running: Installation, second: FakeOpenAI, worker: ChildProcess) -> Again:
    """Read all uploaded documents again, as if older rules had read them."""
    # Counters are complete only after the worker's sessions have ended.
    worker.stop()
    before = written(running)
    asked = len(running.openai.requests) + len(second.requests)
    with running.database.connect() as admin:
        admin.execute(
            """update ingest_private.published_versions
                  set pipeline_version = regexp_replace(pipeline_version, '^[0-9]+', '1')
                where storage_version <> 'v' and index_version = 1"""
        )
    worker = running.start_worker()
    started = time.monotonic()
    report = json.loads(
        running.docmill("reindex", "documents", "--outdated", "--yes", "--wait", "--json")
    )
    seconds = time.monotonic() - started
    unfinished = "select 1 from ingest.jobs where state in ('queued', 'running')"
    until(lambda: not running.rows(unfinished), "what follows", 300)
    worker.stop()
    asked = len(running.openai.requests) + len(second.requests) - asked
    after = written(running)
    changed = {name: after[name] - before[name] for name in after}
    positions = sum(rows for name, rows in changed.items() if name.startswith("chunk_positions"))
    rows = sum(changed.values()) - positions
    assert report["failed"] == 0, report
    return Again(report["succeeded"], seconds, asked, rows, positions)


def written(running: Installation) -> dict[str, int]:
    """Rows written so far, by table."""
    return {row["relname"]: row["rows"] for row in running.rows(WRITTEN)}


# -- results


def verdicts(
    stages: Stages,
    parts: Sequence[Part],
    before: Clients,
    during: Clients,
    flip: Figures,
    again: Again,
) -> None:
    """Each target with its measurement."""
    share = parts[0].rate / stages.allowed()
    rows = [
        ("rate at least 0.8 of what the stages allow", f"{share:.2f}", share >= 0.8),
        _slower("upload, p95 at most 1.5 times and 0.5 s", before.uploads, during.uploads, 500),
        _slower("search, p95 at most 1.5 times and 10 ms", before.searches, during.searches, 10),
        (f"{flip.name} under 100 ms", f"{flip.quantile(1):.3g} ms", flip.quantile(1) < 100),
        ("reading again unchanged documents asks for nothing", again.requests, not again.requests),
        ("nor writes rows of chunks", again.chunk_rows, not again.chunk_rows),
    ]
    print("\n| target | measured | |\n| --- | --- | --- |")
    for target, measured, is_met in rows:
        print(f"| {target} | {measured} | {'met' if is_met else '**missed**'} |")


def _slower(target: str, before: Figures, during: Figures, more: float) -> tuple[str, str, bool]:
    now, bound = during.quantile(0.95), 1.5 * before.quantile(0.95) + more
    return target, f"{now:.3g} ms, bound {bound:.3g} ms", now <= bound


def print_parts(parts: Sequence[Part], stages: Stages) -> None:
    """The load, compared with what its stages allow."""
    print("\n| load | chunks | s | chunks/s | cores busy |\n| --- | --- | --- | --- | --- |")
    for part in parts:
        print(
            f"| {part.name} | {part.chunks:,} | {part.seconds:.1f} | {part.rate:.0f} "
            f"| {100 * part.busy:.0f} % |"
        )
    print(f"| allowed by the stages | | | {stages.allowed():.0f} | |")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--chunks", type=int, default=100_000)
    parser.add_argument("--documents", type=int, default=100_000, help="beside the flip")
    parser.add_argument("--latency-ms", type=float, default=50)
    parser.add_argument("--idle-seconds", type=float, default=30)
    options = parser.parse_args()
    print(
        f"{machine()}; load before {os.getloadavg()[0]:.1f}; {options.chunks:,} chunks", flush=True
    )
    with installed(options.latency_ms / 1000) as (running, second):
        with running.database.connect() as admin:
            documents = fill(admin, options.chunks)
        stages = measure_stages(running, second, documents)
        print_table([*stages.figures.values()])
        sys.stdout.flush()
        running.start("beat")
        running.start_webhook()
        worker = running.start_worker()
        running.upload(BOB, "first.txt", PAGE)
        running.wait_for_job(f"{BOB}/first.txt", "succeeded")
        with running.database.connect() as admin:
            take_for_current(admin)
        before = Clients(running, "before")
        with before.busy():
            time.sleep(options.idle_seconds)
        version, parts, during = load(running, documents)
        print_parts(parts, stages)
        few = flips(running, version, documents)
        add_up_to(running, [1, version], options.documents)
        many = flips(running, version, options.documents)
        again = read_again(running, second, worker)
    clients = [before.uploads, during.uploads, before.searches, during.searches]
    print()
    print_table([*clients, *few, *many])
    print(
        f"\n{again.documents} documents read again in {again.seconds:.1f} s: {again.requests} "
        f"requests, {again.chunk_rows} rows of chunks, {again.position_rows} of positions"
    )
    verdicts(stages, parts, before, during, many[0], again)
    print(f"\nload after {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()

"""How fast embedded chunks are written: docmill, langchain-postgres and vecs.

`make bench-writer`; OPTIONS='--rows 800 --runs 1' for less. Texts and embeddings are there before
the clock starts. Each side writes them to a new database of the same server, in turns. docmill
writes as a run does with usual settings: COPY into staged rows, 256 at a time, then publish, a
document of 200 chunks after the other, on one connection. So it also writes the words of each chunk
and their index, its sketch, positions and job rows. The peers write into the tables that they make.

    no graph   no index of embeddings on any side; each has its primary key
    HNSW       on all sides, made before the first row, m 16, ef_construction 64, cosine
"""

import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Final

import numpy as np

from docmill.embedded.postgres import PostgresServer, start_postgres
from docmill.worker.admin import graph
from docmill.worker.admin.schema import apply_schema
from docmill.worker.models import Chunk, Claim, IndexSettings, Placed
from docmill.worker.ports import Vectors
from docmill.worker.store import chunks as chunk_store
from docmill.worker.store import jobs
from docmill.worker.store.chunks import PublishedDocument, content_hash
from docmill.worker.store.database import Database as Pool
from tests.benchmarks.made_documents import Writer
from tests.benchmarks.peers.venvs import prepare, python_of, version_in
from tests.benchmarks.records import Record, Target, arguments, finish, versions_of
from tests.schema.actors import job_of, value
from tests.support.database import Database, make_database, make_template, put_object, watch_bucket

#: By the part of the work; "": all of it.
Seconds = dict[str, float]
ROWS: Final = 4000
PER_DOCUMENT: Final = 200
BATCH: Final = 256  #: the default of DOCMILL_EMBEDDING_BATCH_SIZE
DIMENSIONS: Final = (384, 1536)
INDEXES: Final = ("none", "hnsw")
HERE: Final = Path(__file__).parent / "peers"
#: The program of each peer, its package, and what is installed for it.
PEERS: Final = {
    "vecs": ("write_vecs.py", "vecs", ("vecs", "numpy")),
    "langchain": (
        *("write_langchain.py", "langchain-postgres"),
        (
            *("langchain-postgres", "langchain-openai", "langchain-text-splitters"),
            *("psycopg[binary]", "pypdf", "docx2txt", "beautifulsoup4"),
        ),
    ),
}
#: By the name of a peer: how many times faster docmill is to be.
WITHOUT_GRAPH: Final = {"langchain": 10.0, "vecs": 5.0}
WITH_GRAPH: Final = 1.3


def make_rows(folder: Path, rows: int, dimensions: int) -> Path:
    """Texts of about 400 tokens and random embeddings, as a file that all sides read."""
    writer = Writer()
    generator = np.random.default_rng(dimensions)
    texts = [f"{row} " + " ".join(writer.paragraph() for _ in range(4)) for row in range(rows)]
    vectors = generator.standard_normal((rows, dimensions)).astype(np.float32)
    path = folder / f"rows-{dimensions}.npz"
    np.savez(path, texts=np.array(texts), vectors=vectors)
    return path


# -- docmill


def write_docmill(database: Database, file: Path, index: str) -> Seconds:
    """Seconds to stage and publish all rows, and of both alone."""
    rows = np.load(file)
    texts, vectors = [str(text) for text in rows["texts"]], rows["vectors"]
    _apply(database, vectors.shape[1], index)
    claims = _claims(database, range(0, len(texts), PER_DOCUMENT))
    pool = Pool(database.url("docmill_worker"), connections=1)
    pool.open()
    try:
        spent = {"staging alone": 0.0, "publishing alone": 0.0}
        began = time.perf_counter()
        for number, claim in enumerate(claims):
            part = slice(number * PER_DOCUMENT, (number + 1) * PER_DOCUMENT)
            _write(pool, claim, texts[part], vectors[part], spent)
        return {"": time.perf_counter() - began} | spent
    finally:
        pool.close()


def _apply(database: Database, dimensions: int, index: str) -> None:
    with database.connect("postgres") as admin:
        apply_schema(admin, IndexSettings("m", dimensions, {"max_tokens": 400}))
        if index == "hnsw":
            found = graph.read_graph(admin)
            assert found is not None
            graph.build(admin, found)


def _claims(database: Database, documents: Sequence[int]) -> list[Claim]:
    watch_bucket(database)
    claims = []
    with database.connect() as admin, database.connect("docmill_worker") as worker:
        for number in documents:
            job_id = job_of(admin, put_object(admin, f"{number}.txt", owner="alice"))
            with worker.transaction():
                claim = jobs.claim(
                    worker,
                    job_id,
                    worker_id="bench",
                    isolated=False,
                    lease_for=timedelta(hours=1),
                )
            assert claim is not None
            claims.append(claim)
    return claims


def _write(
    pool: Pool, claim: Claim, texts: Sequence[str], vectors: Vectors, spent: Seconds
) -> None:
    began = time.perf_counter()
    chunks = [
        Chunk(place, text, (), page_start=None, page_end=None, token_count=400)
        for place, text in enumerate(texts)
    ]
    named = [(content_hash(claim.index, chunk), chunk) for chunk in chunks]
    for start in range(0, len(named), BATCH):
        part = slice(start, start + BATCH)
        with pool.transaction() as transaction:
            chunk_store.stage(
                transaction, claim, named[part], vectors[part], tokens=400, usd=Decimal(1)
            )
    staged = time.perf_counter()
    document = PublishedDocument(b"s" * 32, "1.1", None, "text/plain", None, 0, [], 0, 0)
    placed = [Placed(digest) for digest, _ in named]
    with pool.transaction() as transaction:
        assert chunk_store.publish(transaction, claim, document, placed, []) == "published"
    spent["staging alone"] += staged - began
    spent["publishing alone"] += time.perf_counter() - staged


# -- the peers


def write_peer(peer: str, database: Database, file: Path, index: str) -> Seconds:
    """Seconds that a peer's program says it took to write."""
    with database.connect() as admin:
        admin.execute(
            f"""alter database {database.name} set search_path = public, extensions;
                grant create on schema public to postgres;
                grant create on database {database.name} to postgres""".encode()
        )
    program = HERE / PEERS[peer][0]
    said = subprocess.run(
        [str(python_of(peer)), str(program), str(file), database.url("postgres"), index],
        input="\n",
        capture_output=True,
        text=True,
        check=False,
    )
    if said.returncode:
        raise SystemExit(f"{peer} ended with status {said.returncode}: {said.stderr[-2000:]}")
    return {"": float(said.stdout.split()[-1])}


# -- all


@contextmanager
def server() -> Iterator[tuple[Path, PostgresServer]]:
    """A PostgreSQL of its own."""
    with tempfile.TemporaryDirectory(prefix="docmill-bench-") as name:
        postgres = start_postgres(Path(name) / "postgres")
        try:
            make_template(postgres)
            yield Path(name), postgres
        finally:
            postgres.stop()


def measure(
    rows: int,
    runs: int,
    *,
    peers: Sequence[str] = tuple(PEERS),
    dimensions: Sequence[int] = DIMENSIONS,
    indexes: Sequence[str] = INDEXES,
) -> Record:
    """Each side in turns, for each width and index."""
    record = Record(
        "writer",
        "Writing chunks",
        f"{rows:,} chunks with embeddings that are there, into a new database, one connection.",
    )
    with server() as (folder, postgres):
        with make_database(postgres) as database, database.connect() as admin:
            record.versions = versions_of(admin)
        record.versions |= {PEERS[peer][1]: version_in(peer, PEERS[peer][1]) for peer in peers}
        files = {width: make_rows(folder, rows, width) for width in dimensions}
        sides: dict[str, Callable[[Database, Path, str], Seconds]] = {"docmill": write_docmill}
        for peer in peers:
            sides[peer] = lambda *about, peer=peer: write_peer(peer, *about)
        for width in dimensions:
            for index in indexes:
                for _ in range(runs):
                    for side, write in sides.items():
                        with make_database(postgres, "project") as database:
                            seconds = write(database, files[width], index)
                            _check(database, side, rows)
                        for part, took in seconds.items():
                            name = f"{side}, {part}" if part else side
                            case = record.case(_group(width, index), name, "rows/s")
                            case.values.append(rows / took)
    record.targets = [
        _target(record, width, index, peer)
        for width in dimensions
        for index in indexes
        for peer in peers
    ]
    return record


def _group(width: int, index: str) -> str:
    return f"{width} dimensions, {'HNSW' if index == 'hnsw' else 'no graph'}"


def _check(database: Database, side: str, rows: int) -> None:
    """Every row is there, by the database's own count."""
    tables = {
        "docmill": "ingest.chunk_positions",
        "vecs": "vecs.written",
        "langchain": "public.written",
    }
    with database.connect() as admin:
        written = value(admin, f"select count(*) from {tables[side]}")
    assert written == rows, f"{side} has written {written} of {rows} rows"


def _target(record: Record, width: int, index: str, peer: str) -> Target:
    group = _group(width, index)
    ours, theirs = (record.case(group, side, "").median for side in ("docmill", peer))
    least = WITH_GRAPH if index == "hnsw" else WITHOUT_GRAPH[peer]
    return Target(f"{group}: at least {least:g} times {peer}", ours / theirs, least=least)


def main() -> None:
    """Measure and print."""
    options = arguments("Writing chunks, beside its peers.", rows=ROWS)
    for peer, (_, _, packages) in PEERS.items():
        prepare(peer, packages)
    finish(measure(options.rows, options.runs), options)


if __name__ == "__main__":
    main()

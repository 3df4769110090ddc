"""The recall of searches in collections that mislead an index, for owners with few and many chunks.

    python -m tests.benchmarks.recall [--widths 256,1536] [--callers 10,...] [--owners 20,3000]

`make bench-recall`. Each caller has a collection of a kind, beside others with two chunks each. No
table is ever analysed or vacuumed. The judge is an exact scan in numpy over what is stored; a
passage at an equal distance counts as found.
"""

import argparse
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

import numpy as np

from docmill.embedded.postgres import start_postgres
from docmill.worker.embedding.local import DIMENSIONS, LocalEmbedder
from tests.schema.actors import Connection, literal, value
from tests.schema.corpora import ChunkRow, copy_chunks, place_chunks
from tests.support.database import Database, as_client, make_database, make_template

ROOT: Final = Path(__file__).parents[2]
PER_DOCUMENT: Final = 20
CHUNKS_OF_OTHERS: Final = 2
QUERIES: Final = 20
HITS: Final = 10
#: Of the chunks of a collection with one dense document, those that are in other documents.
BESIDE: Final = 50
#: Two similarities that half precision cannot tell apart.
EQUAL: Final = 5e-4

Generator = np.random.Generator


def clusters(generator: Generator, width: int, count: int) -> Any:
    """Points around 40 centres, like topics."""
    centres = generator.standard_normal((40, width))
    return centres[generator.integers(40, size=count)] + generator.standard_normal((count, width))


def one_dense(generator: Generator, width: int, count: int) -> Any:
    """A document of nearly equal chunks, and 50 chunks of small ones: a fifth if there are few."""
    vectors = generator.standard_normal(width) + 0.02 * generator.standard_normal((count, width))
    beside = min(BESIDE, count // 5)
    vectors[:beside] = generator.standard_normal((beside, width))
    return vectors


def identical(generator: Generator, width: int, count: int) -> Any:
    """All vectors are the same, except a few."""
    vectors = np.tile(generator.standard_normal(width), (count, 1))
    few = min(30, count // 5)
    vectors[:few] = generator.standard_normal((few, width))
    return vectors


def real_text(generator: Generator, width: int, count: int) -> Any:
    """Pieces of this project's pages and programs, as the model `local` embeds them."""
    del width  # the model has one
    vectors = _embedded(count)
    return vectors[generator.permutation(len(vectors))[:count]]


@cache
def _embedded(count: int) -> Any:
    """Embeddings of as many different pieces; small numbers come from the same pieces."""
    pieces: dict[str, None] = {}
    for path in sorted([*ROOT.glob("docs/*.md"), *ROOT.glob("[tw]*/**/*.py")]):
        text = path.read_text("utf-8")
        pieces |= dict.fromkeys(text[start : start + 300] for start in range(0, len(text), 300))
        if len(pieces) >= count:
            break
    vectors, _tokens = LocalEmbedder().embed(list(pieces)[:count])
    return vectors


KINDS: Final[dict[str, Callable[[Generator, int, int], Any]]] = {
    "clusters": clusters,
    "half replaced": clusters,
    "one dense document": one_dense,
    "identical": identical,
    "real text": real_text,
}


@dataclass(frozen=True)
class Caller:
    """An owner, and what they can find."""

    owner: str
    ids: Sequence[UUID]
    vectors: Any  #: of shape (chunks, dimensions), as stored


def widths_of(kind: str, widths: Sequence[int]) -> Sequence[int]:
    """The numbers of dimensions in which there is such a collection."""
    return [DIMENSIONS] if kind == "real text" else widths


def fill(
    admin: Connection, kind: str, width: int, sizes: Sequence[int], owners: int
) -> tuple[str, list[Caller]]:
    """Write a collection for each size, and chunks of other owners, in a new index version."""
    model = f"{kind} {width} {owners}"
    version = value(admin, "select ingest_private.create_index_version(%s, %s, '{}')", model, width)
    admin.execute("update ingest.index_versions set state = 'retired' where id = %s", [version])
    generator = np.random.default_rng([width, owners, len(kind)])
    callers = []
    for size in sizes:
        vectors = KINDS[kind](generator, width, size)
        made = _of(admin, version, f"caller {size}", vectors)
        if kind == "half replaced":
            made = _replace_half(admin, version, made, generator)
        callers.append(made)
    names = [f"owner {number}" for number in range(owners) for _ in range(CHUNKS_OF_OTHERS)]
    write(admin, version, names, clusters(generator, width, len(names)).astype(np.float16))
    place_chunks(admin, version)
    return model, callers


def write(admin: Connection, version: int, owners: Sequence[str], vectors: Any) -> list[UUID]:
    """Chunks of these owners, in the form that publishes leave; return their ids.

    Neighbours of one owner are in documents of 20.
    """
    ids = [uuid4() for _ in owners]
    documents: list[UUID] = []
    for row, owner in enumerate(owners):
        begins = row % PER_DOCUMENT == 0 or owner != owners[row - 1]
        documents.append(uuid4() if begins else documents[-1])
    with admin.cursor().copy(
        """copy ingest.documents (id, object_id, bucket_id, object_name, owner_id, storage_version,
                                  status, searchable) from stdin"""
    ) as copy:
        for document, owner in dict(zip(documents, owners, strict=True)).items():
            copy.write_row((document, uuid4(), "docs", str(document), owner, "v", "ready", True))
    copy_chunks(
        admin,
        version,
        (
            ChunkRow(chunk, document, document, owner, "owner", "word", vector)
            for chunk, document, owner, vector in zip(ids, documents, owners, vectors, strict=True)
        ),
    )
    return ids


def _of(admin: Connection, version: int, owner: str, vectors: Any) -> Caller:
    stored = np.asarray(vectors).astype(np.float16)
    return Caller(owner, write(admin, version, [owner] * len(stored), stored), stored)


def _replace_half(admin: Connection, version: int, made: Caller, generator: Generator) -> Caller:
    """Every second chunk is deleted, and as many others are written."""
    gone = list(made.ids[::2])
    admin.execute(
        "delete from ingest.chunks where index_version = %s and id = any(%s)", [version, gone]
    )
    more = _of(admin, version, made.owner, clusters(generator, made.vectors.shape[1], len(gone)))
    return Caller(
        made.owner, [*made.ids[1::2], *more.ids], np.concatenate([made.vectors[1::2], more.vectors])
    )


def recalls(database: Database, model: str, caller: Caller) -> Iterator[float]:
    """For each query the share of the nearest that was found; fails if rows are missing or foreign.

    Half of the queries are near to the caller's first chunks, which are those beside a dense
    document; the others are near to any chunk.
    """
    generator = np.random.default_rng(len(caller.ids))
    unit = caller.vectors.astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    places = {chunk: row for row, chunk in enumerate(caller.ids)}
    first = min(BESIDE, max(1, len(places) // 5))
    with as_client(database, {"sub": caller.owner}, read_only=True) as client:
        for number in range(QUERIES):
            row = generator.integers(first if number % 2 else len(places))
            noise = generator.standard_normal(unit.shape[1]) * np.std(caller.vectors[row])
            query = (caller.vectors[row].astype(np.float64) + 0.3 * noise).astype(np.float16)
            found = [
                places[chunk]  # a foreign chunk has no place
                for (chunk,) in client.execute(
                    "select chunk_id from ingest.match_chunks(%s, %s, %s)",
                    [literal(query.astype(np.float32)), model, HITS],
                )
            ]
            wanted = min(HITS, len(places))
            assert len(set(found)) == len(found) == wanted, (model, caller.owner, len(found))
            asked = query.astype(np.float64)
            near = unit @ asked / np.linalg.norm(asked)
            worst = np.sort(near)[::-1][wanted - 1]
            yield float(np.mean(near[found] >= worst - EQUAL))


def main() -> None:
    """Print a row for each collection and caller."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--widths", default="256,1536")
    parser.add_argument("--callers", default="10,100,1000,10000")
    parser.add_argument("--owners", default="20,3000")
    options = parser.parse_args()
    sizes, widths, owners = (
        [int(part) for part in text.split(",")]
        for text in (options.callers, options.widths, options.owners)
    )
    print("| collection | dimensions | other owners | chunks | recall@10 % | least |")
    print("| --- " * 6 + "|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        server = start_postgres(Path(folder) / "postgres")
        try:
            make_template(server)
            for kind in KINDS:
                for width in widths_of(kind, widths):
                    for others in owners:
                        with make_database(server) as database:
                            _print(database, kind, width, sizes, others)
        finally:
            server.stop()


def _print(database: Database, kind: str, width: int, sizes: Sequence[int], others: int) -> None:
    with database.connect() as admin:
        admin.execute("alter system set autovacuum = off")
        admin.execute("select pg_reload_conf()")
        model, callers = fill(admin, kind, width, sizes, others)
    for caller in callers:
        found = list(recalls(database, model, caller))
        mean, least = 100 * np.mean(found), 100 * min(found)
        chunks = len(caller.ids)
        print(
            f"| {kind} | {width} | {others:,} | {chunks:,} | {mean:.1f} | {least:.0f} |", flush=True
        )


if __name__ == "__main__":
    main()

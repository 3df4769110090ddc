"""The time and the recall of a search, for callers with few and many chunks.

    python -m tests.benchmarks.search [--dimensions 256,1536] [--callers 10,100,1000,...]

`make bench-search`. Beside the callers, 3,000 owners have ten chunks each. The same chunks lie in a
table of the default form of guides, with an HNSW index, a policy on the owner and no other index:
ordered by distance, where PostgreSQL chooses between that index and a scan, and through a
`match_documents` as LangChain's guide has it, which filters by metadata as well. All run as
`authenticated`, take turns, and are compared with an exact scan. `shared`: somebody who owns
nothing and may read the caller's files by a policy of Storage searches the same chunks. Each
caller has a database of its own, so nobody else shares anything.

Beside the time by the clock, the table has the time that the server's process was on a core. Other
work on the machine changes that less.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

import numpy as np

from docmill.embedded.postgres import start_postgres
from tests.benchmarks.figures import Figures, machine
from tests.schema.actors import Connection, literal, value
from tests.schema.corpora import ChunkRow, copy_chunks, place_chunks
from tests.support.database import make_database, make_template

OTHER_OWNERS: Final = 3000
CHUNKS_OF_OTHERS: Final = 10
PER_DOCUMENT: Final = 20
ROUNDS: Final = 40
#: Rounds of `--alone`.
ALONE_ROUNDS: Final = 5
WORDS: Final = [f"word{number}" for number in range(2000)]

#: The table in the form of guides, with LangChain's function.
DEFAULT_FORM: Final = """
    create table public.documents (
        id uuid primary key, owner_id text not null, content text, metadata jsonb,
        embedding extensions.halfvec({dimensions}));
    alter table public.documents enable row level security;
    create policy own on public.documents for select to authenticated
        using (owner_id = (select auth.jwt() ->> 'sub'));
    grant select on public.documents to authenticated;
    create function public.match_documents(
        query_embedding extensions.halfvec, match_count int, filter jsonb)
    returns table (id uuid, content text, metadata jsonb, similarity float)
    language plpgsql as $$
    begin
        return query
            select documents.id, documents.content, documents.metadata,
                   1 - (documents.embedding operator(extensions.<=>) query_embedding)
              from public.documents
             where documents.metadata @> filter
             order by documents.embedding operator(extensions.<=>) query_embedding
             limit match_count;
    end $$;
"""
COPY_TO_DEFAULT_FORM: Final = """
    insert into public.documents
    select id, owner_id, content, jsonb_build_object('owner', owner_id), embedding
      from ingest.chunks where index_version = %s
"""
HNSW: Final = """
    set maintenance_work_mem = '1GB';
    create index on public.documents using hnsw (embedding extensions.halfvec_cosine_ops)
"""


#: Who is of the team of an owner reads what the owner shares.
READERS: Final = """
    insert into storage.buckets (id, name) values ('docs', 'docs') on conflict do nothing;
    create policy readers on storage.objects for select to authenticated
        using (bucket_id = 'docs'
               and (storage.foldername(name))[1] = (select auth.jwt() ->> 'team'))
"""

#: Like the Data API, on a connection that stays open.
AS_CALLER: Final = """
    select set_config('role', 'authenticated', true),
           set_config('request.jwt.claims', %s, true),
           set_config('search_path', '"ingest", "public", "extensions"', true)
"""


@dataclass(frozen=True)
class Caller:
    """A caller, and the chunks that the caller can find."""

    owner: str
    ids: Sequence[UUID]
    vectors: Any  #: of shape (chunks, dimensions), as stored


def fill(admin: Connection, size: int, dimensions: int) -> tuple[str, Caller]:
    """Write chunks of all owners in a new index version; return its model, and the caller."""
    model = f"bench {dimensions}"
    version = value(
        admin, "select ingest_private.create_index_version(%s, %s, '{}')", model, dimensions
    )
    admin.execute("update ingest.index_versions set state = 'retired' where id = %s", [version])
    generator = np.random.default_rng(dimensions)
    centres = generator.standard_normal((200, dimensions)).astype(np.float32)
    caller = _fill_owner(admin, version, f"caller {size}", size, centres, generator, "inherit")
    for number in range(OTHER_OWNERS):
        _fill_owner(admin, version, f"owner {number}", CHUNKS_OF_OTHERS, centres, generator)
    place_chunks(admin, version)
    admin.execute(READERS)
    admin.execute(DEFAULT_FORM.format(dimensions=dimensions).encode())
    admin.execute(COPY_TO_DEFAULT_FORM, [version])
    admin.execute(HNSW)
    admin.execute("vacuum analyze")
    return model, caller


def _fill_owner(
    admin: Connection,
    version: int,
    owner: str,
    count: int,
    centres: Any,
    generator: np.random.Generator,
    access: str = "owner",
) -> Caller:
    """Chunks around common centres, with random words."""
    noise = generator.standard_normal((count, centres.shape[1])).astype(np.float32)
    vectors = (centres[generator.integers(len(centres), size=count)] + noise).astype(np.float16)
    ids = [uuid4() for _ in range(count)]
    documents = [uuid4() for _ in range(-(-count // PER_DOCUMENT))]
    admin.cursor().executemany(
        """insert into ingest.documents (id, object_id, bucket_id, object_name, owner_id, access,
                                         storage_version, status, searchable)
           values (%s, %s, 'docs', %s, %s, %s, 'v', 'ready', true)""",
        [(one, one, f"{owner}/{one}", owner, access) for one in documents],
    )
    if access == "inherit":
        admin.execute("set session_replication_role = replica")  # no triggers: nothing to ingest
        admin.cursor().executemany(
            """insert into storage.objects (id, bucket_id, name, owner_id)
               values (%s, 'docs', %s, %s)""",
            [(one, f"{owner}/{one}", owner) for one in documents],
        )
        admin.execute("reset session_replication_role")
    copy_chunks(
        admin,
        version,
        (
            ChunkRow(one, document, document, owner, access, text, vector)
            for one, document, text, vector in zip(
                ids,
                (documents[row // PER_DOCUMENT] for row in range(count)),
                (" ".join(generator.choice(WORDS, size=60)) for _ in range(count)),
                vectors,
                strict=True,
            )
        ),
    )
    return Caller(owner, ids, vectors)


#: A query that returns ids, its parameters, and the claims of the caller.
Way = tuple[str, list[Any], dict[str, str]]


def ways(model: str, owner: str, vector: str, words: str) -> dict[str, Way]:
    """Each way to search."""
    own, reader = {"sub": owner}, {"sub": "reader", "team": owner}
    default = (
        "select id from public.documents"
        " order by embedding operator(extensions.<=>) %s::extensions.halfvec limit 10"
    )
    return {
        "match_chunks": (
            "select chunk_id from ingest.match_chunks(%s, %s, 10)",
            [vector, model],
            own,
        ),
        "match_chunks, shared": (
            "select chunk_id from ingest.match_chunks(%s, %s, 10)",
            [vector, model],
            reader,
        ),
        "hybrid_search": (
            "select chunk_id from ingest.hybrid_search(%s, %s, %s, 10)",
            [words, vector, model],
            own,
        ),
        "plain table, order by": (default, [vector], own),
        "match_documents": (
            "select id from public.match_documents(%s::extensions.halfvec, 10, %s)",
            [vector, json.dumps({"owner": owner})],
            own,
        ),
    }


def measure(client: Connection, model: str, caller: Caller) -> Iterator[str]:
    """A row of the table for each way."""
    generator = np.random.default_rng(len(caller.ids))
    spent: dict[str, Figures] = {}
    worked: dict[str, Figures] = {}
    process = Path(f"/proc/{client.info.backend_pid}/schedstat")
    recalls: dict[str, list[float]] = {}
    unit = caller.vectors.astype(np.float32)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    for _ in range(ROUNDS):
        near = caller.vectors[generator.integers(len(caller.ids))].astype(np.float32)
        query = near + 0.5 * generator.standard_normal(near.shape).astype(np.float32)
        nearest = np.argsort(-(unit @ query))[:10]
        right = {caller.ids[row] for row in nearest}
        words = " ".join(generator.choice(WORDS, size=4))
        each = ways(model, caller.owner, literal(query), words)
        for name, (text, parameters, claims) in each.items():
            clock = spent.setdefault(name, Figures(name, "ms"))
            core = worked.setdefault(name, Figures(name, "ms"))
            found = _timed(client, process, text, parameters, claims, clock, core)
            recalls.setdefault(name, []).append(len(found & right) / len(right))
    for name, figures in spent.items():
        # Hybrid search also ranks by words, so its hits are not only the nearest.
        recall = "" if name == "hybrid_search" else f"{100 * np.mean(recalls[name]):.1f}"
        yield _row(len(caller.ids), name, figures, worked[name], recall)


def measure_alone(client: Connection, model: str, caller: Caller) -> Iterator[str]:
    """A row for each round of the same searches, with no other way to search between them."""
    generator = np.random.default_rng(len(caller.ids))
    queries = []
    for _ in range(ROUNDS):
        near = caller.vectors[generator.integers(len(caller.ids))].astype(np.float32)
        queries.append(literal(near + 0.5 * generator.standard_normal(near.shape)))
    process = Path(f"/proc/{client.info.backend_pid}/schedstat")
    for number in range(1, ALONE_ROUNDS + 1):
        spent, worked = Figures("clock", "ms"), Figures("core", "ms")
        for query in queries:
            text, parameters, claims = ways(model, caller.owner, query, "")["match_chunks"]
            _timed(client, process, text, parameters, claims, spent, worked)
        yield _row(len(caller.ids), f"match_chunks, round {number}", spent, worked, "")


def _timed(
    client: Connection,
    process: Path,
    text: str,
    parameters: list[Any],
    claims: dict[str, str],
    spent: Figures,
    worked: Figures,
) -> set[UUID]:
    """Search once as this caller; note the milliseconds by the clock and on a core."""
    with client.transaction():
        client.execute(AS_CALLER, [json.dumps(claims)])
        before, started = _on_core(process), time.perf_counter()
        found = {row[0] for row in client.execute(text.encode(), parameters)}
        spent.values.append(1000 * (time.perf_counter() - started))
        worked.values.append(1000 * (_on_core(process) - before))
    return found


def _row(size: int, name: str, spent: Figures, worked: Figures, recall: str) -> str:
    times = " | ".join(f"{spent.quantile(share):.1f}" for share in (0.5, 0, 0.95, 1))
    core = " | ".join(f"{worked.quantile(share):.1f}" for share in (0.5, 0.95))
    return f"| {size:,} | {name} | {times} | {core} | {recall} |"


def _on_core(process: Path) -> float:
    """The seconds that this process was on a core, as Linux counts them."""
    return int(process.read_text().split()[0]) / 1e9


def main() -> None:
    """Print a table for each number of dimensions."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--dimensions", default="256,1536")
    parser.add_argument("--callers", default="10,100,1000,10000,20000,100000")
    parser.add_argument(
        "--alone", action="store_true", help="only match_chunks, the same queries in five rounds"
    )
    options = parser.parse_args()
    measured = measure_alone if options.alone else measure
    sizes = [int(size) for size in options.callers.split(",")]
    print(f"{machine()}; {OTHER_OWNERS:,} other owners; {ROUNDS} queries each", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        server = start_postgres(Path(folder) / "postgres")
        try:
            make_template(server)
            for dimensions in map(int, options.dimensions.split(",")):
                print(f"\n{dimensions} dimensions\n")
                print("| chunks | | p50 ms | min | p95 | max | core p50 | p95 | recall@10 % |")
                print("| --- " * 9 + "|", flush=True)
                for size in sizes:
                    with make_database(server) as database:
                        with database.connect() as admin:
                            model, caller = fill(admin, size, dimensions)
                        with database.connect("authenticator") as client:
                            print("\n".join(measured(client, model, caller)), flush=True)
        finally:
            server.stop()


if __name__ == "__main__":
    main()

"""Which share of the truly nearest chunks searches find, measured in the user's own database."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, LiteralString

from docmill.worker.admin.callers import impersonated
from docmill.worker.admin.graph import Graph
from docmill.worker.admin.rows import fetch_rows
from docmill.worker.store.database import Connection

OWNERS: Final[LiteralString] = """
    select owner_id, number from (
        select owner_id, count(*) as number,
               row_number() over (order by count(*) desc, owner_id) - 1 as place,
               count(*) over () as owners
          from ingest.chunks
         where index_version = %(version)s and owner_id is not null group by owner_id) as ranked
     -- From the largest to the smallest, in even steps.
     where place in (select round(step * (owners - 1.0) / greatest(%(many)s - 1, 1))
                       from generate_series(0, %(many)s - 1) as step)
     order by number desc, owner_id
"""
SAMPLE: Final[LiteralString] = """
    select embedding::text as embedding from ingest.chunks
     where index_version = %(version)s order by random() limit %(many)s
"""
FOUND: Final[LiteralString] = """
    select chunk_id, score
      from ingest.match_chunks(%(embedding)s::extensions.vector, %(model)s, %(k)s,
                               bucket => %(bucket)s, path_prefix => %(path_prefix)s)
"""
#: All chunks that policies let the caller read, ordered by exact distance: without sketch, index or
#: function.
NEAREST: Final[LiteralString] = """
    select 1 - (chunk.embedding operator(extensions.<=>)
                extensions.l2_normalize(%(embedding)s::extensions.vector)::extensions.halfvec)
               as score
      from ingest.chunks as chunk
           join ingest.documents as document on document.id = chunk.document_id
     where chunk.index_version = %(version)s
       and (%(bucket)s::text is null or document.bucket_id = %(bucket)s)
       and (%(path_prefix)s::text is null
            or starts_with(document.object_name, %(path_prefix)s))
     order by chunk.embedding operator(extensions.<=>)
              extensions.l2_normalize(%(embedding)s::extensions.vector)::extensions.halfvec
     limit %(k)s
"""
#: Chunks count as equally near if their scores differ by less: halfvec has three digits.
EQUAL: Final = 1e-6


@dataclass(frozen=True)
class Recall:
    """The recall of one caller's searches."""

    owner: str
    chunks: int  #: the caller's own
    recalls: Sequence[float]
    milliseconds: Sequence[float]


def measure(
    connection: Connection,
    graph: Graph,
    *,
    owners: int,
    queries: int,
    k: int,
    bucket: str | None,
    path_prefix: str | None,
) -> Iterator[Recall]:
    """Search for stored embeddings as owners of different size, under their policies.

    Each query is answered a second time by comparing every chunk that the owner may read, which
    takes seconds for millions of chunks. A chunk at an equal distance counts as found.
    """
    sample = fetch_rows(connection, SAMPLE, {"version": graph.version, "many": queries})
    filters = {"bucket": bucket, "path_prefix": path_prefix}
    for owner in fetch_rows(connection, OWNERS, {"version": graph.version, "many": owners}):
        measured = [
            _compare(
                connection,
                str(owner["owner_id"]),
                {
                    "version": graph.version,
                    "model": graph.model,
                    "embedding": row["embedding"],
                    "k": k,
                    **filters,
                },
            )
            for row in sample
        ]
        yield Recall(
            str(owner["owner_id"]),
            int(owner["number"]),
            [recall for recall, _ in measured],
            [taken for _, taken in measured],
        )


def _compare(connection: Connection, owner: str, query: dict[str, Any]) -> tuple[float, float]:
    with impersonated(connection, owner) as transaction:
        started = time.perf_counter()
        found = fetch_rows(transaction, FOUND, query)
        taken = (time.perf_counter() - started) * 1000
        nearest = fetch_rows(transaction, NEAREST, query)
    return share_found([row["score"] for row in found], [row["score"] for row in nearest]), taken


def share_found(found: Sequence[float], nearest: Sequence[float]) -> float:
    """The share of the nearest that was found, by their scores; 1 if there is nothing to find."""
    if not nearest:
        return 1.0
    worst = min(nearest) - EQUAL
    return min(sum(score >= worst for score in found), len(nearest)) / len(nearest)

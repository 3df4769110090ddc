"""Samples of searches and of the size of tables."""

from dataclasses import dataclass
from typing import Final, LiteralString
from uuid import UUID

import psycopg

from docmill.worker.store.database import Connection

DRAW: Final[LiteralString] = """
    select owner_id, query from ingest_private.recall_sample(%(owners)s, %(queries)s)
"""
RECALL: Final[LiteralString] = """
    select share, uses_graph, is_sketched
      from ingest_private.recall_of(%(owner)s, %(query)s, %(hits)s, %(most)s)
"""
NOTE: Final[LiteralString] = "select ingest_private.note_recall(%(seen)s, %(remedy)s, %(is_graph)s)"
BLOAT: Final[LiteralString] = "select ingest_private.sample_bloat()"


@dataclass(frozen=True)
class RecallOfSearch:
    """One search, compared with all chunks of its owner."""

    share: float  #: of the nearest chunks, those that were found
    uses_graph: bool  #: it may use the HNSW index
    is_sketched: bool  #: all chunks have sketches


def draw_recall(connection: Connection, *, owners: int, queries: int) -> list[tuple[str, UUID]]:
    """Owners, each with the chunks to search for, chosen at random."""
    rows = connection.execute(DRAW, {"owners": owners, "queries": queries})
    return [(owner, query) for owner, query in rows]


def recall_of(
    connection: Connection, owner: str, query: UUID, *, hits: int, most: int
) -> RecallOfSearch | None:
    """Search as this owner, and compare.

    None: the owner has more chunks than `most`, the chunk is gone, or it takes longer than the
    role's statement timeout.
    """
    parameters = {"owner": owner, "query": query, "hits": hits, "most": most}
    try:
        with connection.transaction():
            row = connection.execute(RECALL, parameters).fetchone()
    except psycopg.errors.QueryCanceled:
        return None
    assert row is not None
    share, uses_graph, is_sketched = row
    return None if share is None else RecallOfSearch(share, uses_graph, is_sketched)


def note_recall(connection: Connection, seen: str, remedy: str | None, *, is_graph: bool) -> None:
    """Store what a sample found; without a remedy it is as promised."""
    connection.execute(NOTE, {"seen": seen, "remedy": remedy, "is_graph": is_graph})


def sample_bloat(connection: Connection) -> int:
    """Store which tables and indexes take too much room; returns how many."""
    row = connection.execute(BLOAT).fetchone()
    assert row is not None
    found: int = row[0]
    return found

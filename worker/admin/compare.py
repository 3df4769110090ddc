"""Runs the same searches on the active index version and another one, as the documents' owners."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, LiteralString

from docmill.worker.admin.callers import impersonated, vector_literal
from docmill.worker.admin.overlap import Place, drawn_query, first_sentence
from docmill.worker.admin.rows import Row, fetch_rows
from docmill.worker.errors import RefusedError
from docmill.worker.models import IndexVersion
from docmill.worker.ports import Embedder, Vector
from docmill.worker.store.database import Connection

#: Hits per search.
K: Final = 10

PAIR: Final[LiteralString] = """
    select id, model, dimensions, chunking, provider, sends_dimensions, document_prefix,
           query_prefix, state
      from ingest.index_versions
     where state = 'active' or id = %(version)s order by state = 'active' desc
"""
#: Passages of this many random documents that both versions have. Of each document: one random
#: heading, and the first passage under it.
DRAW: Final[LiteralString] = """
    with drawn as materialized (
        select document.id, document.owner_id
          from ingest.documents as document
               join ingest_private.published_versions as first
                 on first.document_id = document.id and first.index_version = %(active)s
               join ingest_private.published_versions as other
                 on other.document_id = document.id and other.index_version = %(version)s
                and other.storage_version = first.storage_version
         where document.searchable and document.owner_id is not null
           and (%(owner)s::text is null or document.owner_id = %(owner)s)
         order by random() limit %(many)s)
    select drawn.owner_id, passage.document_id::text, passage.headings, passage.page_start,
           passage.page_end, passage.content
      from drawn cross join lateral (
               select headed.* from (
                   select distinct on (chunk.headings) chunk.document_id, chunk.headings,
                          position.page_start, position.page_end, chunk.content
                     from ingest.chunk_positions as position
                          join ingest.chunks as chunk on chunk.id = position.chunk_id
                                                     and chunk.index_version = %(active)s
                    where position.document_id = drawn.id
                      and position.index_version = %(active)s
                    order by chunk.headings, position.ordinal) as headed
                order by random() limit 1) as passage
"""
#: Like ingest.match_chunks, which would refuse a version that is still being filled.
FOUND: Final[LiteralString] = """
    with found as materialized (
        select chunk_id, score
          from ingest_search.vector_candidates(
                   %(version)s, %(embedding)s::extensions.vector, null, %(k)s))
    select chunk.document_id::text, chunk.page_start, chunk.page_end, chunk.content
      from found
           join ingest_search.cited_chunks(
                    %(version)s, array(select chunk_id from found)) as chunk
             on chunk.chunk_id = found.chunk_id
     order by found.score desc, found.chunk_id
"""
SIZE: Final[LiteralString] = """
    select coalesce(sum(pg_table_size(part)), 0)::bigint as table_bytes,
           coalesce(sum(pg_indexes_size(part)), 0)::bigint as index_bytes,
           (select coalesce(sum(chunk_count), 0)::bigint from ingest_private.published_versions
             where index_version = %(version)s) as chunks
      from unnest(array['chunks', 'chunk_positions', 'sketches']) as stem
           cross join lateral to_regclass(
               format('ingest_private.%%I', stem || '_' || %(version)s)) as part
     where part is not null
"""


@dataclass(frozen=True)
class Version:
    """An index version to compare."""

    index: IndexVersion
    state: str


@dataclass(frozen=True)
class Question:
    """A query, the user who asks it, and the passage to find, if it is known."""

    text: str
    owner: str
    known: Place | None = None


@dataclass(frozen=True)
class Answer:
    """The hits of a search, best first, and how long a repetition of the search took."""

    hits: Sequence[Place]
    milliseconds: float


def pair(connection: Connection, version: int) -> tuple[Version, Version]:
    """The active version and another one. Raises RefusedError if there are no two to compare."""
    known = [
        Version(state=row.pop("state"), index=IndexVersion(**row))
        for row in fetch_rows(connection, PAIR, {"version": version})
    ]
    found = [one for one in known if one.state != "dropped"]
    if not found or found[0].state != "active":
        raise RefusedError("there is no active index version: docmill schema apply makes one")
    if found[0].index.id == version:
        raise RefusedError(f"index version {version} is the active one: name another one")
    if len(found) < 2:
        reason = "was dropped" if len(known) > len(found) else "is not there"
        raise RefusedError(f"index version {version} {reason}: docmill reindex status")
    return found[0], found[1]


def draw(
    connection: Connection, versions: tuple[Version, Version], *, owner: str | None, many: int
) -> list[Question]:
    """Questions for passages of documents that both versions have; on request only of one owner.

    Each question is asked as the owner of its document.
    """
    active, other = (version.index.id for version in versions)
    wanted = {"active": active, "version": other, "owner": owner, "many": many}
    return [_question(row) for row in fetch_rows(connection, DRAW, wanted)]


def _question(row: Row) -> Question:
    owner, headings = row.pop("owner_id"), row.pop("headings")
    # Only the beginning of the passage: the other version may cut it differently.
    known = Place(**{**row, "content": first_sentence(row["content"])})
    return Question(drawn_query(headings, row["content"]), owner, known)


def embed(
    embedder: Embedder, index: IndexVersion, questions: Sequence[Question], *, batch: int
) -> tuple[list[Vector], int]:
    """Embed questions for an index version; also the tokens that were billed. Raises JobError."""
    texts = [index.query_prefix + question.text for question in questions]
    vectors: list[Vector] = []
    billed = 0
    for start in range(0, len(texts), batch):
        found, tokens = embedder.embed(texts[start : start + batch])
        vectors.extend(found)
        billed += tokens
    return vectors, billed


def ask(
    connection: Connection, version: int, questions: Sequence[Question], vectors: Sequence[Vector]
) -> list[Answer]:
    """Search a version for each question, under the policies of its owner."""
    return [
        _ask(connection, version, question.owner, vector)
        for question, vector in zip(questions, vectors, strict=True)
    ]


def _ask(connection: Connection, version: int, owner: str, vector: Vector) -> Answer:
    query: dict[str, Any] = {"version": version, "embedding": vector_literal(vector), "k": K}
    with impersonated(connection, owner) as transaction:
        hits = fetch_rows(transaction, FOUND, query)
        started = time.perf_counter()
        # Measure only the second time, when the data is in memory for both versions.
        fetch_rows(transaction, FOUND, query)
        taken = (time.perf_counter() - started) * 1000
    return Answer([Place(**hit) for hit in hits], taken)


def size(connection: Connection, version: int) -> Row:
    """The bytes of a version's own tables and of their indexes, and its chunks."""
    (row,) = fetch_rows(connection, SIZE, {"version": version})
    return row

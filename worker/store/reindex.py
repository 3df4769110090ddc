"""Documents for other index versions, and documents to read again for the active one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, LiteralString
from uuid import UUID

from psycopg.rows import class_row, dict_row
from psycopg.types.json import Jsonb

from docmill.worker.models import Chunk, Claim
from docmill.worker.store.chunks import PublishedDocument
from docmill.worker.store.database import Connection

#: Chunks that are read at once: a few megabytes.
PAGE: Final = 1000

SOURCE: Final[LiteralString] = "select * from ingest_private.reindex_source(%(job_id)s)"
CHUNKS: Final[LiteralString] = """
    select ordinal, content, headings, page_start, page_end, token_count, metadata
      from ingest_private.reindex_chunks(%(document_id)s, %(index_version)s, %(start)s, %(limit)s)
"""


READ_AGAIN: Final[LiteralString] = """
    select job_ids, tokens, next_after
      from ingest_private.read_again(%(choice)s, %(limit)s, %(after)s, %(max_tokens)s)
"""


@dataclass(frozen=True)
class ReindexSource:
    """A document in the active index version."""

    index_version: int
    document: PublishedDocument


def source_of(connection: Connection, claim: Claim) -> ReindexSource | None:
    """The chunks that a job of kind reindex can start from; None: the file must be read."""
    with connection.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(SOURCE, {"job_id": claim.job_id}).fetchone()
    if row is None:
        return None
    return ReindexSource(row.pop("index_version"), PublishedDocument(**row))


def chunks_of(
    connection: Connection, claim: Claim, source: ReindexSource, start: int
) -> Sequence[Chunk]:
    """Chunks in reading order from an ordinal on, PAGE at most."""
    parameters = {
        "document_id": claim.document_id,
        "index_version": source.index_version,
        "start": start,
        "limit": PAGE,
    }
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(CHUNKS, parameters).fetchall()
    return [Chunk(**{**row, "headings": tuple(row["headings"])}) for row in rows]


@dataclass(frozen=True)
class ReadingPage:
    """One page of jobs that read documents again, the documents' tokens, and where to go on."""

    job_ids: Sequence[UUID]
    tokens: int
    next_after: UUID | None


def read_again(
    connection: Connection,
    choice: Mapping[str, Any],
    *,
    limit: int,
    after: UUID | None,
    max_tokens: int | None,
) -> ReadingPage:
    """Make a job for each chosen document, up to a limit.

    See chosen_to_read in schema/functions.
    """
    parameters = {"choice": Jsonb(choice), "limit": limit, "after": after, "max_tokens": max_tokens}
    with connection.cursor(row_factory=class_row(ReadingPage)) as cursor:
        row = cursor.execute(READ_AGAIN, parameters).fetchone()
    assert row is not None
    return row

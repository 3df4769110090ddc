"""Streams every passage of the active index with its vector, for another store."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, LiteralString

from psycopg.rows import dict_row

from docmill.worker.admin.rows import Row
from docmill.worker.store.database import Connection

#: One row for each place of a chunk: a passage that occurs twice in a document has two rows.
PASSAGES: Final[LiteralString] = """
    select chunk.id as chunk_id, document.id as document_id, document.bucket_id,
           document.object_name, document.owner_id, document.access, document.title,
           document.mime_type, position.ordinal, position.page_start, position.page_end,
           chunk.headings, chunk.content, chunk.token_count,
           jsonb_strip_nulls(chunk.metadata || position.locator) as metadata,
           version.model, version.dimensions, chunk.embedding::text as embedding
      from ingest.index_versions as version
           join ingest.chunk_positions as position on position.index_version = version.id
           join ingest.chunks as chunk
             on chunk.index_version = version.id and chunk.id = position.chunk_id
           join ingest.documents as document on document.id = position.document_id
     where version.state = 'active' and document.searchable
       and (%(owner)s::text is null or document.owner_id = %(owner)s)
       and (%(bucket)s::text is null or document.bucket_id = %(bucket)s)
     order by position.document_id, position.ordinal
"""
#: Rows in memory at a time: with 3,072 dimensions a row takes about 40 KiB as text.
PAGE_ROWS: Final = 500


@contextmanager
def passages(
    connection: Connection, *, owner: str | None, bucket: str | None
) -> Iterator[Iterator[Row]]:
    """The rows of one snapshot, by a cursor on the server: memory does not grow with the index.

    `embedding` is text, `[0.1,0.2,...]`, with `dimensions` numbers.
    """
    wanted = {"owner": owner, "bucket": bucket}
    with (
        connection.transaction(),
        connection.cursor("docmill_export", row_factory=dict_row) as cursor,
    ):
        connection.execute("set transaction isolation level repeatable read, read only")
        cursor.itersize = PAGE_ROWS
        yield iter(cursor.execute(PASSAGES, wanted))

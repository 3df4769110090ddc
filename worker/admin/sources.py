"""Sources: which buckets are ingested, over the admin connection."""

import time
from collections.abc import Iterator
from typing import Final, LiteralString, cast
from uuid import UUID

from docmill.worker.admin.rows import Row, fetch_rows, fetch_value
from docmill.worker.store.database import Connection
from docmill.worker.store.outage import CONTENTION

ADD_SOURCE: Final[LiteralString] = """
    insert into ingest_private.sources (bucket_id, prefix, owner_from, access, priority, weight,
                                        max_bytes)
    values (%(bucket_id)s, %(prefix)s, %(owner_from)s, %(access)s, %(priority)s, %(weight)s,
            %(max_bytes)s)
        on conflict (bucket_id, prefix) do update
           set owner_from = excluded.owner_from, access = excluded.access,
               priority = excluded.priority, weight = excluded.weight,
               max_bytes = excluded.max_bytes, retired_at = null
    returning id, bucket_id, prefix, owner_from, access, priority, weight, max_bytes, created_at
"""
LIST_SOURCES: Final[LiteralString] = """
    select source.id, source.bucket_id, source.prefix, source.owner_from, source.access,
           source.priority, source.weight, source.max_bytes, source.created_at, source.retired_at,
           (select count(*) from ingest.documents where source_id = source.id) as documents
      from ingest_private.sources as source order by bucket_id, prefix
"""
FIND_SOURCE: Final[LiteralString] = """
    select id from ingest_private.sources
     where bucket_id = %(bucket_id)s and prefix = %(prefix)s
"""
BUCKET_EXISTS: Final[LiteralString] = """
    select exists (select from storage.buckets where id = %(bucket_id)s)
"""
COUNT_SOURCE: Final[LiteralString] = """
    select objects, bytes, fresh, fresh_bytes, unowned
      from ingest_private.count_source(%(source_id)s)
"""
BACKFILL: Final[LiteralString] = """
    select queued, next_after from ingest_private.backfill_source(
        %(source_id)s, %(after)s, p_is_bulk => %(is_bulk)s)
"""
REMOVE_SOURCE: Final[LiteralString] = """
    select kept, forgotten, next_after
      from ingest_private.remove_source(%(source_id)s, %(forget)s, %(after)s)
"""

#: How often a page of a sweep is tried, and the pause in between: uploads have priority.
_PAGE_TRIES: Final = 20
_PAGE_PAUSE_SECONDS: Final = 0.25


def add_source(connection: Connection, source: Row) -> Row:
    """Ingest a bucket, or a prefix of it. A second call with other rules replaces them."""
    return fetch_rows(connection, ADD_SOURCE, source)[0]


def bucket_exists(connection: Connection, bucket: str) -> bool:
    """Whether Storage has a bucket of this name."""
    return bool(fetch_value(connection, BUCKET_EXISTS, {"bucket_id": bucket}))


def find_source(connection: Connection, bucket: str, prefix: str) -> int | None:
    """Id of the source with exactly this bucket and prefix."""
    found = fetch_value(connection, FIND_SOURCE, {"bucket_id": bucket, "prefix": prefix})
    return cast("int | None", found)


def count_source(connection: Connection, source_id: int) -> Row:
    """Count the objects of a source: objects, bytes, fresh (to be ingested), unowned."""
    return fetch_rows(connection, COUNT_SOURCE, {"source_id": source_id})[0]


def backfill(connection: Connection, source_id: int, *, is_bulk: bool = False) -> Iterator[int]:
    """Sync what Storage holds under a source, page by page; yields the jobs of each page.

    Safe to interrupt and to repeat: documents that are in line stay unchanged.
    """
    after: str | None = None
    while True:
        page = _page(
            connection, BACKFILL, {"source_id": source_id, "after": after, "is_bulk": is_bulk}
        )
        yield page["queued"]
        after = page["next_after"]
        if after is None:
            return


def remove_source(connection: Connection, source_id: int, *, forget: bool) -> Row:
    """Take a source out of use; return how many of its documents were `kept` and `forgotten`.

    Safe to interrupt and to repeat.
    """
    total = {"kept": 0, "forgotten": 0}
    after: UUID | None = None
    while True:
        parameters = {"source_id": source_id, "forget": forget, "after": after}
        page = _page(connection, REMOVE_SOURCE, parameters)
        for name in total:
            total[name] += page[name]
        after = page["next_after"]
        if after is None:
            return total


def _page(connection: Connection, query: LiteralString, parameters: Row) -> Row:
    """A page of a sweep, tried again while another transaction uses one of its rows."""
    for attempt in range(_PAGE_TRIES):
        try:
            return fetch_rows(connection, query, parameters)[0]
        except CONTENTION:
            if attempt == _PAGE_TRIES - 1:
                raise
            time.sleep(_PAGE_PAUSE_SECONDS)
    raise AssertionError


def list_sources(connection: Connection) -> list[Row]:
    """The sources, each with the number of its documents."""
    return fetch_rows(connection, LIST_SOURCES, {})

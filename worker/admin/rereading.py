"""Documents to read again in the active index version: choose, count, follow."""

from collections.abc import Sequence
from typing import Final, LiteralString
from uuid import UUID

from psycopg.types.json import Jsonb

from docmill.worker.admin.rows import Row, fetch_rows, fetch_value
from docmill.worker.store.database import Connection

COUNT: Final[LiteralString] = """
    select count(*) as documents, coalesce(sum(chunk_count), 0)::bigint as chunks,
           coalesce(sum(token_count), 0)::bigint as tokens,
           coalesce(sum(unread_pages), 0)::bigint as unread_pages,
           coalesce(sum(size_bytes) filter (where token_count = 0), 0)::bigint as unknown_bytes
      from ingest_private.chosen_to_read(%(choice)s, null, %(limit)s)
"""
ENDS: Final[LiteralString] = """
    select count(*) filter (where job.finished_at is null) as unfinished,
           count(*) filter (where job.state = 'succeeded') as succeeded,
           count(*) filter (where job.state = 'failed') as failed,
           count(*) filter (where job.state in ('superseded', 'cancelled')) as dropped,
           coalesce(sum(job.chunks_embedded), 0)::bigint as chunks_embedded,
           coalesce(sum(job.chunks_reused), 0)::bigint as chunks_reused,
           coalesce(sum(job.tokens_used), 0)::bigint as tokens_used,
           coalesce(sum(job.cost_usd), 0) as cost_usd
      from ingest.jobs as job where job.id = any(%(job_ids)s)
"""
IS_CODE: Final[LiteralString] = """
    select code from ingest_private.error_codes where code = %(code)s
"""


def is_error_code(connection: Connection, code: str) -> bool:
    """Whether a document can fail with this code."""
    return fetch_value(connection, IS_CODE, {"code": code}) is not None


def count_chosen(connection: Connection, choice: Row, limit: int | None) -> Row:
    """How many documents are chosen, and their present size."""
    return fetch_rows(connection, COUNT, {"choice": Jsonb(choice), "limit": limit})[0]


def ends_of(connection: Connection, job_ids: Sequence[UUID]) -> Row:
    """How these jobs have ended so far, and what they embedded, reused and cost."""
    return fetch_rows(connection, ENDS, {"job_ids": list(job_ids)})[0]

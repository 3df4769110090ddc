"""Commands of operators on jobs, over the admin connection."""

from collections.abc import Iterator, Sequence
from typing import Final, LiteralString, cast
from uuid import UUID

import psycopg

from docmill.worker.admin.rows import Row, fetch_rows, fetch_value
from docmill.worker.errors import RefusedError
from docmill.worker.store.database import Connection

LIST_JOBS: Final[LiteralString] = """
    select job.* from ingest.jobs as job
     where (%(state)s::text is null or job.state = %(state)s)
       and (%(owner)s::text is null or job.owner_id = %(owner)s)
       and (%(code)s::text is null or job.error_code = %(code)s)
       and (%(since)s::interval is null
            or job.created_at >= clock_timestamp() - %(since)s::interval)
     order by job.created_at desc, job.id limit %(limit)s
"""
GET_JOB: Final[LiteralString] = """
    select job.*, code.remedy
      from ingest.jobs as job
           left join ingest_private.error_codes as code on code.code = job.error_code
     where job.id = %(job_id)s
"""
JOB_ATTEMPTS: Final[LiteralString] = """
    select attempt, worker_id, isolated, started_at, finished_at, outcome, error_code
      from ingest_private.attempts where job_id = %(job_id)s order by id
"""
FIND_JOBS: Final[LiteralString] = """
    select id from ingest.jobs where id between %(least)s::uuid and %(most)s::uuid limit 2
"""
REQUEST_CANCEL: Final[LiteralString] = "select ingest_private.request_cancel(%(job_id)s)"
RETRY: Final[LiteralString] = "select ingest_private.retry_job(%(job_id)s)"
RETRY_FAILED: Final[LiteralString] = "select ingest_private.retry_failed(%(codes)s, %(limit)s)"
COUNT_FAILED: Final[LiteralString] = """
    select count(*) from ingest.documents where status = 'failed' and error_code = %(code)s
"""
_RETRIED_AT_ONCE: Final = 100
EXPLAIN: Final[LiteralString] = "select * from ingest_private.explain_job(%(job_id)s)"
#: The job of an object's present version.
CURRENT_JOBS: Final[LiteralString] = """
    select wanted.name as object_name, document.owner_id, job.id as job_id,
           document.id as document_id, job.state, job.stage, job.hold_reason, job.error_code,
           job.error_message, job.pages_total, job.pages_done, job.chunks_total,
           job.chunks_embedded, job.chunks_reused,
           case when job.state = 'succeeded' then document.page_count end as page_count,
           case when job.state = 'succeeded' then document.chunk_count
                when job.state = 'failed' then 0 end as chunk_count,
           extract(epoch from job.finished_at - job.created_at)::float as seconds
      from unnest(%(names)s::text[]) as wanted (name)
           join storage.objects as object
             on object.bucket_id = %(bucket)s and object.name = wanted.name
           left join ingest.documents as document on document.object_id = object.id
           left join ingest.jobs as job
             on job.id = document.latest_job_id and job.storage_version = object.version
"""
NOTE_BULK_NAMES: Final[LiteralString] = """
    select ingest_private.note_bulk_names(%(bucket)s, %(names)s)
"""
TOKENS_PER_BYTE: Final[LiteralString] = """
    select sum(token_count)::float / nullif(sum(size_bytes), 0)
      from ingest.documents where searchable and size_bytes > 0
"""
TOKENS_PER_CHUNK: Final[LiteralString] = """
    select sum(token_count)::float / nullif(sum(chunk_count), 0)
      from ingest.documents where searchable
"""


def list_jobs(
    connection: Connection,
    *,
    state: str | None,
    owner: str | None,
    limit: int,
    code: str | None = None,
    since: str | None = None,
) -> list[Row]:
    """The newest jobs, newest first, made within the interval `since` before now."""
    wanted = {"state": state, "owner": owner, "code": code, "since": since, "limit": limit}
    return fetch_rows(connection, LIST_JOBS, wanted)


def count_failed(connection: Connection, code: str) -> int:
    """How many documents failed with this code."""
    return int(fetch_value(connection, COUNT_FAILED, {"code": code}))


def retry_failed(connection: Connection, code: str, limit: int) -> Iterator[UUID]:
    """Make new jobs for documents that failed with this code, those that wait longest first.

    Works in transactions of a hundred; documents that another transaction has locked are left out.
    """
    left = limit
    while left > 0:
        wanted = {"codes": [code], "limit": min(left, _RETRIED_AT_ONCE)}
        made: list[UUID] = fetch_value(connection, RETRY_FAILED, wanted)
        yield from made
        left -= len(made)
        if not made:
            return


def get_job(connection: Connection, job_id: UUID) -> Row:
    """One job with the remedy for its error, and its attempts under `attempts`."""
    row = fetch_rows(connection, GET_JOB, {"job_id": job_id})[0]
    return row | {"attempts": fetch_rows(connection, JOB_ATTEMPTS, {"job_id": job_id})}


def find_jobs(connection: Connection, prefix: str) -> list[UUID]:
    """Ids of jobs that begin with this text, at most two: enough to see that it is not unique."""
    digits = prefix.replace("-", "").lower()
    bounds = {"least": digits.ljust(32, "0"), "most": digits.ljust(32, "f")}
    return [row["id"] for row in fetch_rows(connection, FIND_JOBS, bounds)]


def current_jobs(connection: Connection, bucket: str, names: Sequence[str]) -> dict[str, Row]:
    """For each name of an object in Storage: its document and the job of its version, if any."""
    rows = fetch_rows(connection, CURRENT_JOBS, {"bucket": bucket, "names": list(names)})
    return {row["object_name"]: row for row in rows}


def note_bulk_names(connection: Connection, bucket: str, names: Sequence[str]) -> None:
    """Announce files that are about to be uploaded: their embeddings are bought in bulk."""
    connection.execute(NOTE_BULK_NAMES, {"bucket": bucket, "names": list(names)})


def request_cancel(connection: Connection, job_id: UUID) -> str:
    """Cancel a job, or ask its worker to cancel it; return its state."""
    return cast("str", fetch_value(connection, REQUEST_CANCEL, {"job_id": job_id}))


def retry_job(connection: Connection, job_id: UUID) -> UUID:
    """Make a new job after a failed one; return its id. Raises RefusedError with the reason.

    Safe to repeat: while the new job is unfinished, its id is returned again.
    """
    try:
        return cast("UUID", fetch_value(connection, RETRY, {"job_id": job_id}))
    except psycopg.errors.DatabaseError as error:
        if error.sqlstate not in ("PT404", "PT409"):
            raise
        said = (error.diag.message_primary, error.diag.message_hint)
        raise RefusedError(": ".join(part.rstrip(".") for part in said if part)) from None


def explain_job(connection: Connection, job_id: UUID) -> Row:
    """The state of a job and its reason, as for its owner."""
    return fetch_rows(connection, EXPLAIN, {"job_id": job_id})[0]


def tokens_per_byte(connection: Connection) -> float | None:
    """Tokens per byte of this project's documents so far; None if there are none yet."""
    found: float | None = fetch_value(connection, TOKENS_PER_BYTE, {})
    return found


def tokens_per_chunk(connection: Connection) -> float | None:
    """Tokens per chunk of this project's documents so far; None if there are none yet."""
    found: float | None = fetch_value(connection, TOKENS_PER_CHUNK, {})
    return found

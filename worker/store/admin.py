"""Reads and settings for operators, over the admin connection."""

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, LiteralString, cast
from uuid import UUID

import psycopg
from psycopg.rows import dict_row

from worker.errors import RefusedError
from worker.ports import Vectors
from worker.store.database import CONTENTION, Connection

Row = dict[str, Any]

LIST_JOBS: Final[LiteralString] = """
    select job.* from ingest.jobs as job
     where (%(state)s::text is null or job.state = %(state)s)
       and (%(owner)s::text is null or job.owner_id = %(owner)s)
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
EXPLAIN: Final[LiteralString] = "select * from ingest_private.explain_job(%(job_id)s)"
#: The job that brings the object at a name to the version that Storage holds now.
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
ADD_SOURCE: Final[LiteralString] = """
    insert into ingest_private.sources (bucket_id, prefix, owner_from, access, priority, max_bytes)
    values (%(bucket_id)s, %(prefix)s, %(owner_from)s, %(access)s, %(priority)s, %(max_bytes)s)
        on conflict (bucket_id, prefix) do update
           set owner_from = excluded.owner_from, access = excluded.access,
               priority = excluded.priority, max_bytes = excluded.max_bytes, retired_at = null
    returning id, bucket_id, prefix, owner_from, access, priority, max_bytes, created_at
"""
LIST_SOURCES: Final[LiteralString] = """
    select source.id, source.bucket_id, source.prefix, source.owner_from, source.access,
           source.priority, source.max_bytes, source.created_at, source.retired_at,
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
    select objects, bytes, fresh, unowned from ingest_private.count_source(%(source_id)s)
"""
BACKFILL: Final[LiteralString] = """
    select queued, next_after from ingest_private.backfill_source(%(source_id)s, %(after)s)
"""
REMOVE_SOURCE: Final[LiteralString] = """
    select kept, forgotten, next_after
      from ingest_private.remove_source(%(source_id)s, %(forget)s, %(after)s)
"""
FIND_USER: Final[LiteralString] = """
    select id::text from auth.users where lower(email) = lower(%(email)s) limit 1
"""
PAUSE: Final[LiteralString] = """
    insert into ingest_private.pauses (scope, key) values (%(scope)s, %(key)s)
        on conflict do nothing
"""
RESUME: Final[LiteralString] = """
    delete from ingest_private.pauses where scope = %(scope)s and key = %(key)s
"""
LIST_PAUSES: Final[LiteralString] = """
    select pause.scope, pause.key, source.bucket_id, source.prefix, pause.created_at
      from ingest_private.pauses as pause
           left join ingest_private.sources as source
             on pause.scope = 'source' and source.id::text = pause.key
     order by pause.created_at
"""
LIST_BREAKERS: Final[LiteralString] = """
    select breaker.error_code, breaker.opened_at, breaker.open_until, code.message, code.remedy
      from ingest_private.breakers as breaker
           left join ingest_private.error_codes as code on code.code = breaker.error_code
     order by breaker.opened_at
"""
TOKENS_PER_BYTE: Final[LiteralString] = """
    select sum(token_count)::float / nullif(sum(size_bytes), 0)
      from ingest.documents where searchable and size_bytes > 0
"""
COUNTS: Final[LiteralString] = """
    select (select coalesce(jsonb_object_agg(state, count), '{}')
              from (select state, count(*) from ingest.jobs group by state) as by_state) as jobs,
           (select coalesce(jsonb_object_agg(status, count), '{}')
              from (select status, count(*) from ingest.documents group by status) as by_status)
               as documents,
           (select count(*) from ingest_private.pending_events) as pending_events,
           (select min(created_at) from ingest.jobs where state = 'queued') as oldest_queued
"""
LIST_WORKERS: Final[LiteralString] = """
    select worker.id, worker.slots, worker.isolated, worker.draining, worker.version,
           worker.started_at, worker.last_seen,
           (select count(*) from ingest_private.leases where worker_id = worker.id) as running
      from ingest_private.workers as worker
     where worker.expires_at > clock_timestamp()
     order by worker.started_at
"""
IMPERSONATE: Final[LiteralString] = """
    select set_config('role', 'authenticated', true),
           set_config('request.jwt.claims', %(claims)s, true)
"""
MATCH: Final[LiteralString] = """
    select score, bucket_id, object_name, title, page_start, page_end, headings, content,
           document_id, chunk_id
      from ingest.match_chunks(%(embedding)s, %(model)s, %(limit)s)
"""


#: How often a page of a sweep is tried, and the pause in between: uploads come first.
_PAGE_TRIES: Final = 20
_PAGE_PAUSE_SECONDS: Final = 0.25


def _value(connection: Connection, query: LiteralString, parameters: Row) -> Any:
    row = connection.execute(query, parameters).fetchone()
    return row[0] if row else None


def _rows(connection: Connection, query: LiteralString, parameters: Row) -> list[Row]:
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query, parameters).fetchall()


def list_jobs(
    connection: Connection, *, state: str | None, owner: str | None, limit: int
) -> list[Row]:
    """The newest jobs, newest first."""
    return _rows(connection, LIST_JOBS, {"state": state, "owner": owner, "limit": limit})


def get_job(connection: Connection, job_id: UUID) -> Row:
    """One job with the remedy of its error, and its attempts under `attempts`."""
    row = _rows(connection, GET_JOB, {"job_id": job_id})[0]
    return row | {"attempts": _rows(connection, JOB_ATTEMPTS, {"job_id": job_id})}


def find_user(connection: Connection, email: str) -> str | None:
    """Id of the project's user with this address."""
    return cast("str | None", _value(connection, FIND_USER, {"email": email}))


def pause(connection: Connection, scope: str, key: str) -> bool:
    """Let no job of this scope begin. False: it was paused already."""
    return connection.execute(PAUSE, {"scope": scope, "key": key}).rowcount > 0


def resume(connection: Connection, scope: str, key: str) -> bool:
    """End a pause. False: there was none."""
    return connection.execute(RESUME, {"scope": scope, "key": key}).rowcount > 0


def list_pauses(connection: Connection) -> list[Row]:
    """What is paused, oldest first."""
    return _rows(connection, LIST_PAUSES, {})


def list_breakers(connection: Connection) -> list[Row]:
    """Errors of the configuration that hold every job."""
    return _rows(connection, LIST_BREAKERS, {})


def tokens_per_byte(connection: Connection) -> float | None:
    """How many tokens a byte of this project's documents has had; None when nobody knows yet."""
    found: float | None = _value(connection, TOKENS_PER_BYTE, {})
    return found


def request_cancel(connection: Connection, job_id: UUID) -> str:
    """Cancel a job, or ask its worker to; its state now."""
    return cast("str", _value(connection, REQUEST_CANCEL, {"job_id": job_id}))


def retry_job(connection: Connection, job_id: UUID) -> UUID:
    """A new job for the document of one that failed; its id. Raises RefusedError that says why not.

    Safe to repeat: while the new job is under way its id is returned again.
    """
    try:
        return cast("UUID", _value(connection, RETRY, {"job_id": job_id}))
    except psycopg.errors.DatabaseError as error:
        if error.sqlstate not in ("PT404", "PT409"):
            raise
        said = (error.diag.message_primary, error.diag.message_hint)
        raise RefusedError(": ".join(part.rstrip(".") for part in said if part)) from None


def explain_job(connection: Connection, job_id: UUID) -> Row:
    """Where a job stands and why, as its owner is told."""
    return _rows(connection, EXPLAIN, {"job_id": job_id})[0]


def find_jobs(connection: Connection, prefix: str) -> list[UUID]:
    """Ids of jobs that begin like this; two at most are enough to know that it is not one."""
    digits = prefix.replace("-", "").lower()
    bounds = {"least": digits.ljust(32, "0"), "most": digits.ljust(32, "f")}
    return [row["id"] for row in _rows(connection, FIND_JOBS, bounds)]


def current_jobs(connection: Connection, bucket: str, names: Sequence[str]) -> dict[str, Row]:
    """For each object name that Storage holds: its document and the job of its version so far."""
    rows = _rows(connection, CURRENT_JOBS, {"bucket": bucket, "names": list(names)})
    return {row["object_name"]: row for row in rows}


def add_source(connection: Connection, source: Row) -> Row:
    """Ingest a bucket, or what lies under a prefix of it; again with other rules: they replace."""
    return _rows(connection, ADD_SOURCE, source)[0]


def bucket_exists(connection: Connection, bucket: str) -> bool:
    """Whether Storage has a bucket of this name."""
    return bool(_value(connection, BUCKET_EXISTS, {"bucket_id": bucket}))


def find_source(connection: Connection, bucket: str, prefix: str) -> int | None:
    """Id of the source with exactly this bucket and prefix."""
    found = _value(connection, FIND_SOURCE, {"bucket_id": bucket, "prefix": prefix})
    return cast("int | None", found)


def count_source(connection: Connection, source_id: int) -> Row:
    """What Storage holds under a source: objects, bytes, fresh (to be ingested), unowned."""
    return _rows(connection, COUNT_SOURCE, {"source_id": source_id})[0]


def backfill(connection: Connection, source_id: int) -> Iterator[int]:
    """Sync what Storage holds under a source, page by page; yields the jobs of each page.

    Safe to break off and to repeat: what is in line is left alone.
    """
    after: str | None = None
    while True:
        page = _page(connection, BACKFILL, {"source_id": source_id, "after": after})
        yield page["queued"]
        after = page["next_after"]
        if after is None:
            return


def remove_source(connection: Connection, source_id: int, *, forget: bool) -> Row:
    """Take a source out of use; how many of its documents were `kept` and `forgotten`.

    Safe to break off and to repeat.
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
    """A page of a sweep, tried again while somebody else has one of its rows."""
    for attempt in range(_PAGE_TRIES):
        try:
            return _rows(connection, query, parameters)[0]
        except CONTENTION:
            if attempt == _PAGE_TRIES - 1:
                raise
            time.sleep(_PAGE_PAUSE_SECONDS)
    raise AssertionError


def list_sources(connection: Connection) -> list[Row]:
    """The sources, each with the number of its documents."""
    return _rows(connection, LIST_SOURCES, {})


def counts(connection: Connection) -> Row:
    """Jobs by state, documents by status, and what waits."""
    return _rows(connection, COUNTS, {})[0]


def list_workers(connection: Connection) -> list[Row]:
    """Workers that are alive: they have renewed their leases in time."""
    return _rows(connection, LIST_WORKERS, {})


@contextmanager
def impersonated(connection: Connection, owner: str) -> Iterator[Connection]:
    """One transaction as this user, exactly as the Data API would run it: policies apply."""
    claims = {"sub": owner, "role": "authenticated"}
    with connection.transaction():
        connection.execute(IMPERSONATE, {"claims": json.dumps(claims)})
        yield connection


def search(
    connection: Connection, *, owner: str, embedding: Vectors, model: str, limit: int
) -> list[Row]:
    """The chunks nearest to an embedding, as their owner finds them: policies apply."""
    text = "[" + ",".join(repr(float(value)) for value in embedding) + "]"
    with impersonated(connection, owner):
        return _rows(connection, MATCH, {"embedding": text, "model": model, "limit": limit})

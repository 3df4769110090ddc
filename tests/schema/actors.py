"""The actions of a running system on the database, one function each."""

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import numpy as np
import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from tests.support.database import Database, put_object

Connection = psycopg.Connection[Any]
Row = dict[str, Any]

DIMENSIONS = 256
MODEL = "wordllama-l2-supercat-256"
PIPELINE = "1"


def rows(connection: Connection, query: str, *parameters: Any) -> list[Row]:
    """All rows of a query, as dicts."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query.encode(), parameters or None).fetchall()


def value(connection: Connection, query: str, *parameters: Any) -> Any:
    """The only column of the first row; None if there is no row."""
    row = connection.execute(query.encode(), parameters or None).fetchone()
    return None if row is None else row[0]


def vector_of(text: str, dimensions: int = DIMENSIONS) -> "np.ndarray[Any, np.dtype[np.float32]]":
    """A unit vector that belongs to the text."""
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    vector = np.random.default_rng(seed).standard_normal(dimensions).astype(np.float32)
    unit: np.ndarray[Any, np.dtype[np.float32]] = vector / np.linalg.norm(vector)
    return unit


def literal(vector: "np.ndarray[Any, np.dtype[np.float32]]") -> str:
    """A vector as text for pgvector."""
    return f"[{','.join(map('{:.4f}'.format, vector.tolist()))}]"


def hash_of(text: str) -> bytes:
    """A chunk's hash within its document."""
    return hashlib.sha256(text.encode()).digest()


@dataclass(frozen=True)
class Run:
    """A claimed job."""

    job_id: UUID
    token: int
    document_id: UUID
    index_version: int
    storage_version: str
    attempt: int


def job_of(connection: Connection, object_id: UUID) -> UUID:
    """The newest job of an object's document."""
    job_id = value(
        connection, "select latest_job_id from ingest.documents where object_id = %s", object_id
    )
    assert job_id is not None
    return UUID(str(job_id))


def document_of(connection: Connection, object_id: UUID) -> Row:
    """The document of an object."""
    found = rows(connection, "select * from ingest.documents where object_id = %s", object_id)
    assert len(found) == 1
    return found[0]


def claim(
    connection: Connection,
    job_id: UUID,
    *,
    worker: str = "w1",
    isolated: bool = False,
    lease: str = "1 minute",
) -> Run | None:
    """Call claim_job like a worker."""
    found = rows(
        connection,
        "select * from ingest_private.claim_job(%s, %s, %s, %s)",
        *(job_id, worker, isolated, lease),
    )
    if not found:
        return None
    row = found[0]
    return Run(
        row["job_id"],
        row["token"],
        row["document_id"],
        row["index_version"],
        row["storage_version"],
        row["attempt"],
    )


def claimed(connection: Connection, job_id: UUID, **options: Any) -> Run:
    """Call claim_job, which must succeed."""
    run = claim(connection, job_id, **options)
    assert run is not None
    return run


def stage(
    connection: Connection,
    run: Run,
    texts: Sequence[str],
    *,
    tokens: int = 1,
    vector: Callable[[str], Any] = vector_of,
) -> bool:
    """Write embedded chunks in one transaction. False: the lease is lost, nothing was written."""
    with connection.transaction():
        if not value(
            connection, "select ingest_private.begin_stage(%s, %s)", run.job_id, run.token
        ):
            return False
        with connection.cursor().copy(
            """copy ingest_private.staged_chunks (document_id, index_version, content_hash,
                                                  content, headings, token_count, metadata,
                                                  embedding) from stdin"""
        ) as copy:
            for text in dict.fromkeys(texts):
                copy.write_row(
                    (
                        *(run.document_id, run.index_version, hash_of(text), text, []),
                        *(len(text.split()), "{}", literal(vector(text))),
                    )
                )
        connection.execute(
            "select ingest_private.record_spend(%s, %s, %s, %s)",
            [run.job_id, MODEL, tokens * len(texts), 0],
        )
    return True


def stage_missing(connection: Connection, run: Run, texts: Sequence[str]) -> list[str]:
    """Stage the chunks that are neither live nor staged, like a run; return those embedded."""
    known = {
        bytes(row["content_hash"])
        for row in rows(
            connection,
            "select content_hash from ingest_private.known_hashes(%s, %s)",
            *(run.document_id, run.index_version),
        )
    }
    missing = [text for text in dict.fromkeys(texts) if hash_of(text) not in known]
    if missing:
        stage(connection, run, missing)
    return missing


def publish(
    connection: Connection,
    run: Run,
    texts: Sequence[str],
    *,
    content: bytes | None = None,
    pages: Sequence[int] | None = None,
    hidden_characters: int = 0,
    unread_page_numbers: Sequence[int] = (),
    uncomputed_formulas: int = 0,
    quarantine: Sequence[dict[str, Any]] = (),
    locators: Sequence[dict[str, Any]] | None = None,
    title: str | None = "title",
) -> str:
    """Call publish_document with these chunks in this order."""
    places = [Jsonb(each) for each in locators or [{}] * len(texts)]
    pages = pages or [1] * len(texts)
    result = value(
        connection,
        """select ingest_private.publish_document(
               %s, %s, %s, %s, %s, %s, %s, %s, %s::bytea[], %s::int[], %s::int[], %s::jsonb[],
               p_hidden_characters => %s, p_unread_page_numbers => %s::int[],
               p_quarantine => %s, p_uncomputed_formulas => %s)""",
        *(run.job_id, run.token, hash_of("\n".join(texts)) if content is None else content),
        *(PIPELINE, title, "text/plain", 1, 0),
        *([hash_of(text) for text in texts], list(pages), list(pages), places),
        *(hidden_characters, list(unread_page_numbers), Jsonb(list(quarantine))),
        uncomputed_formulas,
    )
    return str(result)


def refused(text: str, ordinal: int) -> dict[str, Any]:
    """A chunk that the provider refused, in the form for publish_document."""
    return {
        "content_hash": rf"\x{hash_of(text).hex()}",
        "ordinal": ordinal,
        "page_start": 1,
        "page_end": 2,
        "error_code": "embedding_rejected",
    }


def ingest(connection: Connection, object_id: UUID, texts: Sequence[str], **published: Any) -> UUID:
    """Do a worker's whole work for the newest job of an object; return the document's id."""
    run = claimed(connection, job_of_worker(connection, object_id))
    stage_missing(connection, run, texts)
    assert publish(connection, run, texts, **published) == "published"
    return run.document_id


def job_of_worker(connection: Connection, object_id: UUID) -> UUID:
    """The unfinished job of an object, as sync_object returns it to a worker."""
    job_id = value(connection, "select ingest_private.sync_object(%s, null, null)", object_id)
    assert job_id is not None
    return UUID(str(job_id))


def upload(
    database: Database, name: str, texts: Sequence[str], *, owner: str | None = "alice", **put: Any
) -> UUID:
    """Upload an object and ingest it; return the object's id."""
    with database.connect() as connection:
        object_id = put_object(connection, name, owner=owner, **put)
        ingest(connection, object_id, texts)
        return object_id


def new_version(admin: Connection, **changed: Any) -> int:
    """Make one more index version; return its id."""
    made = {"p_model": "m2", "p_dimensions": 256, "p_chunking": '{"max_tokens": 400}', **changed}
    named = ", ".join(f"{name} => %s" for name in made)
    return int(value(admin, f"select ingest_private.create_index_version({named})", *made.values()))


def jobs_for(admin: Connection, version: int) -> list[dict[str, Any]]:
    """Jobs of an index version, oldest first."""
    return rows(
        admin, "select * from ingest.jobs where index_version = %s order by created_at", version
    )


def heartbeat(
    connection: Connection,
    worker: str = "w1",
    *,
    slots: int = 10,
    isolated: bool = False,
    draining: bool = False,
    lease: str = "1 minute",
    runs: Sequence[Run] = (),
    providers: Sequence[str] | None = ("local", "openai"),
) -> list[UUID]:
    """Call renew_leases like a worker; return jobs whose leases belong to none of its runs."""
    found = rows(
        connection,
        "select * from ingest_private.renew_leases(%s, %s, %s, %s, 'test', %s, %s, %s, %s)",
        *(worker, slots, isolated, draining, lease),
        [run.job_id for run in runs],
        [run.token for run in runs],
        list(providers) if providers is not None else None,
    )
    return [row["job_id"] for row in found if not row["renewed"]]


def take(connection: Connection, *, resend: str = "1 minute") -> Any:
    """Call take_ready_jobs: ids of the jobs that get hints now, in no particular order."""
    return [
        row["job_id"]
        for row in rows(
            connection,
            "select * from ingest_private.take_ready_jobs(%s)",
            resend,
        )
    ]


def drain_withdrawn(connection: Connection, limit: int = 1000) -> int:
    """Call drain_withdrawn until nothing is left; return how many rows were removed."""
    total = 0
    while removed := value(connection, "select ingest_private.drain_withdrawn(%s)", limit):
        total += int(removed)
    return total


#: Whether anything is left that goes on without further events.
UNSETTLED = """
    select exists (select from ingest_private.pending_events)
           or exists (select from ingest_private.withdrawn)
           or exists (select from ingest.jobs where finished_at is null)
"""

#: A chunk whose document exists. Other chunks wait for the drain, and nobody finds them.
LIVE_CHUNKS = """
    select count(*) from ingest.chunks as chunk
     where chunk.document_id not in (select ingest.withdrawn_documents())
"""


def chunks_of(connection: Connection, document_id: UUID) -> dict[str, UUID]:
    """Content and id of a document's live chunks."""
    return {
        row["content"]: row["id"]
        for row in rows(
            connection, "select content, id from ingest.chunks where document_id = %s", document_id
        )
    }


def text_of(connection: Connection, document_id: UUID) -> list[str]:
    """A document's chunks in reading order."""
    return [
        row["content"]
        for row in rows(
            connection,
            """select chunk.content from ingest.chunk_positions as position
                      join ingest.chunks as chunk on chunk.index_version = position.index_version
                                                 and chunk.id = position.chunk_id
                where position.document_id = %s order by position.ordinal""",
            document_id,
        )
    ]


def search(connection: Connection, text: str, **parameters: Any) -> list[Row]:
    """match_chunks with the embedding of a text."""
    arguments: Mapping[str, Any] = {
        "query_embedding": literal(vector_of(text)),
        "model": MODEL,
        **parameters,
    }
    named = ", ".join(f"{name} => %s" for name in arguments)
    return rows(
        connection,
        f"select * from ingest.match_chunks({named})",
        *arguments.values(),
    )


@contextmanager
def locked_document(database: Database, object_id: UUID) -> Iterator[Connection]:
    """Hold a document's row lock in a separate transaction."""
    with database.connect() as holder, holder.transaction():
        holder.execute(
            "select from ingest.documents where object_id = %s for no key update", [object_id]
        )
        yield holder


#: Longer than any action here takes; after it, something has gone wrong.
PATIENCE_SECONDS = 20


class Background:
    """An action in its own thread; calling it waits for the result."""

    def __init__(self, action: Callable[[], Any]) -> None:
        pool = ThreadPoolExecutor(1)
        self._future = pool.submit(action)
        pool.shutdown(wait=False)

    def __call__(self) -> Any:
        return self._future.result(PATIENCE_SECONDS)

    @property
    def ended(self) -> bool:
        return self._future.done()


def wait_until_blocked(
    connection: Connection, pid: int, *, or_ended: Background | None = None
) -> bool:
    """Wait until the backend `pid` waits for a lock. False: the action ended without waiting."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not value(connection, "select cardinality(pg_blocking_pids(%s)) > 0", pid):
        if or_ended is not None and or_ended.ended:
            return False
        assert time.monotonic() < deadline, "it never waited"
        connection.execute("select pg_sleep(0.002)")
    return True

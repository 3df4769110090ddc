"""The bulk lane: texts that are bought through batches of the provider, and those batches."""

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final, Literal, LiteralString
from uuid import UUID

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from docmill.worker.errors import LeaseLostError
from docmill.worker.models import Chunk, Claim, headings_line
from docmill.worker.ports import Vector
from docmill.worker.store.chunks import STAGE, HalfVector, register_halfvec
from docmill.worker.store.database import Connection

#: Texts of a batch that are read, or staged, at once.
PAGE: Final = 500

PUT_TEXTS: Final[LiteralString] = """
    select ingest_private.put_bulk_texts(
        %(job_id)s, %(token)s, %(hashes)s, %(contents)s, %(headings)s, %(token_counts)s,
        %(metadatas)s, %(usd)s)
"""
DIRECT_HASHES: Final[LiteralString] = """
    select content_hash from ingest_private.direct_hashes(%(job_id)s)
"""
STATE: Final[LiteralString] = """
    select in_batch from ingest_private.bulk_state(%(job_id)s)
"""
MAKE_BATCH: Final[LiteralString] = """
    select ingest_private.make_bulk_batch(
        %(providers)s, %(wait)s, %(pause)s, %(texts)s, %(bytes)s)
"""
CLAIM_BATCH: Final[LiteralString] = """
    select * from ingest_private.claim_bulk_batch(%(worker_id)s, %(providers)s, %(but)s)
"""
BATCH_TEXTS: Final[LiteralString] = """
    select id, document_prefix, headings, content
      from ingest_private.bulk_batch_texts(%(id)s, %(after)s, %(limit)s)
"""
NOTE: Final[LiteralString] = """
    select ingest_private.note_bulk_batch(%(id)s, %(worker_id)s, %(facts)s)
"""
LEAVE: Final[LiteralString] = """
    select ingest_private.leave_bulk_batch(%(id)s, %(worker_id)s, %(code)s)
"""
BEGIN_PAGE: Final[LiteralString] = """
    select ingest_private.begin_bulk_page(%(id)s, %(worker_id)s, %(first)s, %(last)s)
"""
COLLECT: Final[LiteralString] = """
    select id, document_id, index_version, content_hash, content, headings, token_count, metadata
      from ingest_private.collect_bulk_page(
        %(id)s, %(ids)s, %(outcomes)s, %(tokens)s, %(usd)s)
"""
END: Final[LiteralString] = """
    select ingest_private.end_bulk_batch(%(id)s, %(worker_id)s, %(code)s, %(counted)s)
"""
WAKE: Final[LiteralString] = "select ingest_private.wake_bulk_jobs()"


@dataclass(frozen=True)
class Batch:
    """A batch, as the worker that is at it found it."""

    id: UUID
    provider: str
    model: str
    dimensions: int
    sends_dimensions: bool
    state: Literal["made", "submitted", "collecting", "ended"]
    input_file_id: str | None
    submitting_at: datetime | None  #: since then the provider may have it
    remote_id: str | None
    remote_status: str | None
    output_file_id: str | None
    error_file_id: str | None
    read_lines: int
    created_at: datetime
    cleared_at: datetime | None
    is_wanted: bool  #: a document still waits for a text of it


@dataclass(frozen=True)
class Answer:
    """What came of one text."""

    text_id: int
    outcome: Literal["embedded", "refused", "again"]
    vector: "Vector | None"
    tokens: int


def put_texts(
    connection: Connection, claim: Claim, texts: Sequence[tuple[bytes, Chunk]], usd_a_token: Decimal
) -> None:
    """Leave texts of a run for a batch. Raises LeaseLostError, and then nothing is left."""
    row = connection.execute(
        PUT_TEXTS,
        {
            "job_id": claim.job_id,
            "token": claim.token,
            "hashes": [digest for digest, _chunk in texts],
            "contents": [chunk.content for _digest, chunk in texts],
            "headings": [Jsonb(list(chunk.headings)) for _digest, chunk in texts],
            "token_counts": [chunk.token_count for _digest, chunk in texts],
            "metadatas": [Jsonb(chunk.metadata) for _digest, chunk in texts],
            "usd": [chunk.token_count * usd_a_token for _digest, chunk in texts],
        },
    ).fetchone()
    if row is None or not row[0]:
        raise LeaseLostError


def direct_hashes(connection: Connection, claim: Claim) -> set[bytes]:
    """Texts of the job that batches did not bring."""
    return {row[0] for row in connection.execute(DIRECT_HASHES, {"job_id": claim.job_id})}


def in_batch(connection: Connection, claim: Claim) -> bool:
    """Whether a text of the job has not been answered."""
    row = connection.execute(STATE, {"job_id": claim.job_id}).fetchone()
    return row is not None and bool(row[0])


def make_batch(
    connection: Connection,
    providers: Collection[str],
    *,
    wait: timedelta,
    pause: timedelta,
    most_texts: int,
    most_bytes: int,
) -> UUID | None:
    """Choose the texts of the next batch; None: there is nothing to send now."""
    parameters = {
        "providers": list(providers),
        "wait": wait,
        "pause": pause,
        "texts": most_texts,
        "bytes": most_bytes,
    }
    row = connection.execute(MAKE_BATCH, parameters).fetchone()
    assert row is not None
    made: UUID | None = row[0]
    return made


def claim_batch(
    connection: Connection, worker_id: str, providers: Collection[str], but: Collection[UUID]
) -> Batch | None:
    """The oldest batch with something left to do, but for some; None: there is none."""
    with connection.cursor(row_factory=class_row(Batch)) as cursor:
        return cursor.execute(
            CLAIM_BATCH, {"worker_id": worker_id, "providers": list(providers), "but": list(but)}
        ).fetchone()


def texts_of(connection: Connection, batch_id: UUID, after: int) -> list[tuple[int, str]]:
    """Ids and texts of a batch in order, PAGE at most."""
    rows = connection.execute(BATCH_TEXTS, {"id": batch_id, "after": after, "limit": PAGE})
    return [
        (text_id, prefix + headings_line(tuple(headings)) + content)
        for text_id, prefix, headings, content in rows
    ]


def note(connection: Connection, batch_id: UUID, worker_id: str, **facts: Any) -> bool:
    """Write what was found out of a batch. False: another worker is at it by now."""
    parameters = {
        "id": batch_id,
        "worker_id": worker_id,
        "facts": Jsonb(facts, dumps=lambda value: json.dumps(value, default=str)),
    }
    return _is_true(connection, NOTE, parameters)


def leave(connection: Connection, batch_id: UUID, worker_id: str, code: str | None) -> None:
    """Leave a batch to whoever comes next. `code`: why it got no further."""
    connection.execute(LEAVE, {"id": batch_id, "worker_id": worker_id, "code": code})


def collect(
    connection: Connection,
    held: tuple[UUID, str],
    lines: tuple[int, int],
    answers: Sequence[Answer],
    *,
    usd_a_token: Decimal,
) -> int | None:
    """Book what a page of answers cost, and stage its embeddings; returns how many.

    `held`: the batch, and the worker that is at it. `lines`: how many lines of the batch's answer
    were dealt with before this page, and with it. None: they were dealt with already, or another
    worker is at the batch, and nothing was written.
    """
    register_halfvec(connection)
    parameters = {
        "id": held[0],
        "worker_id": held[1],
        "first": lines[0],
        "last": lines[1],
        "ids": [answer.text_id for answer in answers],
        "outcomes": [answer.outcome for answer in answers],
        "tokens": [answer.tokens for answer in answers],
        "usd": usd_a_token,
    }
    if not _is_true(connection, BEGIN_PAGE, parameters):
        return None
    wanted = connection.execute(COLLECT, parameters).fetchall()
    vectors = {answer.text_id: answer.vector for answer in answers}
    with connection.cursor() as cursor, cursor.copy(STAGE) as copy:
        copy.set_types(["uuid", "int4", "bytea", "text", "text[]", "int4", "jsonb", "halfvec"])
        for row in _staged(wanted, vectors):
            copy.write_row(row)
    return len(wanted)


def _staged(
    wanted: Sequence[tuple[Any, ...]], vectors: "dict[int, Vector | None]"
) -> Iterator[tuple[Any, ...]]:
    for text_id, document_id, version, digest, content, headings, tokens, metadata in wanted:
        vector = vectors[text_id]
        assert vector is not None
        place = (document_id, version, digest)
        yield (*place, content, headings, tokens, Jsonb(metadata), HalfVector(vector))


def end(
    connection: Connection, batch_id: UUID, worker_id: str, code: str | None, *, counted: bool
) -> bool:
    """Expect nothing more of a batch. `counted`: texts that it did not answer had a try."""
    parameters = {"id": batch_id, "worker_id": worker_id, "code": code, "counted": counted}
    return _is_true(connection, END, parameters)


def wake(connection: Connection) -> int:
    """Make jobs ready whose texts were all answered; returns how many."""
    row = connection.execute(WAKE).fetchone()
    assert row is not None
    return int(row[0])


def _is_true(connection: Connection, query: LiteralString, parameters: dict[str, Any]) -> bool:
    row = connection.execute(query, parameters).fetchone()
    return row is not None and bool(row[0])

"""Chunks: staged batch by batch as they are embedded, published all at once."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, Literal, LiteralString, cast

import numpy as np
from psycopg.adapt import Dumper
from psycopg.pq import Format
from psycopg.types import TypeInfo
from psycopg.types.json import Jsonb

from docmill.worker.errors import LeaseLostError
from docmill.worker.models import (
    CHUNK_METADATA,
    Chunk,
    Claim,
    IndexVersion,
    JsonObject,
    Placed,
    SetAside,
)
from docmill.worker.ports import Vectors
from docmill.worker.store.database import Connection

KNOWN_HASHES: Final[LiteralString] = """
    select content_hash from ingest_private.known_hashes(%(document_id)s, %(index_version)s)
"""
REUSABLE: Final[LiteralString] = """
    select content_hash, embedding
      from ingest_private.reusable_embeddings(%(job_id)s, %(token)s, %(hashes)s)
"""
BEGIN_STAGE: Final[LiteralString] = "select ingest_private.begin_stage(%(job_id)s, %(token)s)"
STAGE: Final[LiteralString] = """
    copy ingest_private.staged_chunks (document_id, index_version, content_hash, content,
                                       headings, token_count, metadata, embedding)
    from stdin (format binary)
"""
RECORD_SPEND: Final[LiteralString] = """
    select ingest_private.record_spend(%(job_id)s, %(model)s, %(tokens)s, %(usd)s)
"""
PUBLISH: Final[LiteralString] = """
    select ingest_private.publish_document(
        %(job_id)s, %(token)s, %(sha256)s, %(pipeline)s, %(title)s, %(mime_type)s,
        %(page_count)s, %(unread_pages)s, %(hashes)s, %(pages_start)s, %(pages_end)s,
        %(locators)s, p_hidden_characters => %(hidden_characters)s,
        p_unread_page_numbers => %(unread_page_numbers)s, p_quarantine => %(quarantine)s,
        p_uncomputed_formulas => %(uncomputed_formulas)s)
"""
PUBLISH_UNCHANGED: Final[LiteralString] = """
    select ingest_private.publish_unchanged(%(job_id)s, %(token)s, %(sha256)s, %(pipeline)s)
"""
HALFVEC_OID: Final[LiteralString] = """
    select atttypid from pg_attribute
     where attrelid = 'ingest_private.staged_chunks'::regclass and attname = 'embedding'
"""

PublishResult = Literal["published", "lost", "superseded", "cancelled", "changed"]


def content_hash(index: IndexVersion, chunk: Chunk) -> bytes:
    """Name of a chunk within its document: sha256 over model, dimensions and embedded text.

    The text includes the model's prefix, if it has one. Nothing else counts, so a new chunking
    reuses every embedding whose text did not change.
    """
    header = f"{index.model}\0{index.dimensions}\0"
    if index.document_prefix:
        header += f"{index.document_prefix}\0"
    return hashlib.sha256((header + chunk.embedded_text).encode()).digest()


@dataclass(frozen=True)
class PublishedDocument:
    """Facts about the whole document that a publish writes."""

    sha256: bytes
    pipeline: str
    title: str | None
    mime_type: str
    page_count: int | None
    unread_pages: int
    unread_page_numbers: Sequence[int]  #: the first ones
    hidden_characters: int
    uncomputed_formulas: int  #: that the file has no value for


class HalfVector:
    """One embedding on its way into a halfvec column."""

    def __init__(self, values: "np.ndarray[Any, np.dtype[np.float32]]") -> None:
        self.values = values


class _HalfVectorDumper(Dumper):
    """Binary form of halfvec (pgvector 0.8, halfvec_send): int16 dimensions, int16 0, float16s."""

    format = Format.BINARY

    def dump(self, obj: HalfVector) -> bytes:
        header = len(obj.values).to_bytes(2, "big") + b"\0\0"
        return header + obj.values.astype(">f2").tobytes()


def register_halfvec(connection: Connection) -> None:
    """Let a connection write embeddings in binary form."""
    # The oid of the type differs between databases, so it is looked up once for each connection.
    if connection.adapters.types.get("halfvec") is None:
        row = connection.execute(HALFVEC_OID).fetchone()
        assert row is not None
        oid = row[0]
        connection.adapters.types.add(TypeInfo("halfvec", oid, 0))
        dumper = type("HalfVectorDumper", (_HalfVectorDumper,), {"oid": oid})
        connection.adapters.register_dumper(HalfVector, dumper)


def known_hashes(connection: Connection, claim: Claim) -> set[bytes]:
    """Hashes of the document's chunks that need not be embedded again, live or staged."""
    parameters = {"document_id": claim.document_id, "index_version": claim.index.id}
    return {row[0] for row in connection.execute(KNOWN_HASHES, parameters)}


def reusable_embeddings(
    connection: Connection, claim: Claim, hashes: Sequence[bytes]
) -> dict[bytes, "np.ndarray[Any, np.dtype[np.float32]]"]:
    """Embeddings of these texts that other documents of the same owner have, by content hash.

    Empty once another run owns the job, and for a document without an owner.
    """
    parameters = {"job_id": claim.job_id, "token": claim.token, "hashes": list(hashes)}
    rows = connection.execute(REUSABLE, parameters, binary=True)
    return {digest: _loaded(embedding) for digest, embedding in rows}


def _loaded(embedding: bytes) -> "np.ndarray[Any, np.dtype[np.float32]]":
    # After two int16 of header; see _HalfVectorDumper.
    return np.frombuffer(embedding, dtype=">f2", offset=4).astype(np.float32)


def stage(
    connection: Connection,
    claim: Claim,
    batch: Sequence[tuple[bytes, Chunk]],
    vectors: Vectors,
    *,
    tokens: int,
    usd: Decimal,
) -> bool:
    """Write embedded chunks where search cannot see them, and what they cost.

    Rows of `vectors` belong to the entries of `batch` (hash, chunk) in order. Returns whether the
    job may buy more: False when a budget is used up. Raises LeaseLostError when another run owns
    the job; then nothing is written.
    """
    register_halfvec(connection)
    run = {"job_id": claim.job_id, "token": claim.token}
    row = connection.execute(BEGIN_STAGE, run).fetchone()
    if row is None or not row[0]:
        raise LeaseLostError
    with connection.cursor() as cursor, cursor.copy(STAGE) as copy:
        copy.set_types(["uuid", "int4", "bytea", "text", "text[]", "int4", "jsonb", "halfvec"])
        for (digest, chunk), vector in zip(batch, vectors, strict=True):
            copy.write_row(
                (
                    claim.document_id,
                    claim.index.id,
                    digest,
                    chunk.content,
                    list(chunk.headings),
                    chunk.token_count,
                    Jsonb(chunk.metadata),
                    HalfVector(vector),
                )
            )
    if not tokens and not usd:
        return True
    spend = {"job_id": claim.job_id, "model": claim.index.model, "tokens": tokens, "usd": usd}
    row = connection.execute(RECORD_SPEND, spend).fetchone()
    assert row is not None
    return bool(row[0])


def publish(
    connection: Connection,
    claim: Claim,
    document: PublishedDocument,
    chunks: Sequence[Placed],
    aside: Sequence[SetAside],
) -> PublishResult:
    """Make the staged chunks the document's content, in this transaction.

    `chunks` are in reading order. `aside` are the chunks that are set aside.
    """
    row = connection.execute(
        PUBLISH,
        {
            "job_id": claim.job_id,
            "token": claim.token,
            **vars(document),
            "hashes": [place.content_hash for place in chunks],
            "pages_start": [place.page_start for place in chunks],
            "pages_end": [place.page_end for place in chunks],
            "locators": [Jsonb(_locator(place)) for place in chunks],
            "quarantine": Jsonb([_quarantined(chunk) for chunk in aside]),
        },
    ).fetchone()
    assert row is not None
    return cast("PublishResult", row[0])


def _locator(place: Placed) -> JsonObject:
    # Null: the text has it no longer, whatever its chunk says.
    return dict.fromkeys(CHUNK_METADATA) | place.metadata


def _quarantined(chunk: SetAside) -> JsonObject:
    return {**vars(chunk), "content_hash": rf"\x{chunk.content_hash.hex()}"}


def publish_unchanged(
    connection: Connection, claim: Claim, *, sha256: bytes, pipeline: str
) -> PublishResult:
    """Finish a job whose bytes equal those that are live already."""
    row = connection.execute(
        PUBLISH_UNCHANGED,
        {"job_id": claim.job_id, "token": claim.token, "sha256": sha256, "pipeline": pipeline},
    ).fetchone()
    assert row is not None
    return cast("PublishResult", row[0])

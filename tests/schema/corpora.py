"""Writes many chunks into a database at once, in the form that publishes leave."""

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from docmill.worker.store.chunks import HalfVector, register_halfvec
from tests.schema.actors import DIMENSIONS, Connection, hash_of

CHUNKS_PER_DOCUMENT = 20
_NUMBERS = [f"{number / 100:.2f}" for number in range(-100, 100)]


def write_chunks(
    admin: Connection,
    texts: Mapping[Any, Sequence[str]],
    *,
    access: str = "owner",
    bucket: str = "docs",
    seed: int = 1,
) -> dict[str, list[UUID]]:
    """Write the chunks of each owner, in documents of 20; return the documents' ids by owner.

    The key is the owner, None for nobody. Embeddings are random. Each shared document has an object
    in Storage.
    """
    chance = random.Random(seed)
    documents: dict[str, list[UUID]] = {}
    rows = []
    for owner, contents in texts.items():
        for start in range(0, len(contents), CHUNKS_PER_DOCUMENT):
            part = contents[start : start + CHUNKS_PER_DOCUMENT]
            document, item = uuid4(), uuid4()
            documents.setdefault(str(owner), []).append(document)
            rows.append((document, item, owner, f"{owner}/{document}.txt", part))
    admin.execute("set session_replication_role = replica")
    if access == "inherit":
        admin.cursor().executemany(
            "insert into storage.objects (id, bucket_id, name, owner_id) values (%s, %s, %s, %s)",
            [(item, bucket, name, owner) for _, item, owner, name, _ in rows],
        )
    admin.execute("reset session_replication_role")
    with admin.cursor().copy(
        """copy ingest.documents (id, object_id, bucket_id, object_name, owner_id, access,
                                  storage_version, status, searchable, chunk_count) from stdin"""
    ) as copy:
        for document, item, owner, name, part in rows:
            copy.write_row(
                (*(document, item, bucket, name, owner, access, "v", "ready"), True, len(part))
            )
    with admin.cursor().copy(
        """copy ingest.chunks (index_version, document_id, object_id, owner_id, access, content,
                               token_count, content_hash, embedding, fts) from stdin"""
    ) as copy:
        for document, item, owner, _name, part in rows:
            for number, text in enumerate(part):
                embedding = f"[{','.join(chance.choices(_NUMBERS, k=DIMENSIONS))}]"
                copy.write_row(
                    (
                        *(1, document, item, owner, access, text, len(text.split())),
                        *(hash_of(f"{number} {text}"), embedding, ""),
                    )
                )
    admin.execute(
        """insert into ingest.chunk_positions (index_version, document_id, ordinal, chunk_id)
           select 1, document_id, row_number() over (partition by document_id) - 1, id
             from ingest.chunks where document_id = any(%s)""",
        [[document for one in documents.values() for document in one]],
    )
    return documents


@dataclass(frozen=True)
class ChunkRow:
    """A chunk in the form that a publish leaves."""

    id: UUID
    document_id: UUID
    object_id: UUID
    owner_id: str | None
    access: str
    content: str
    vector: Any  #: of float16


def copy_chunks(admin: Connection, version: int, chunks: Iterable[ChunkRow]) -> None:
    """Write chunks by COPY."""
    register_halfvec(admin)
    with admin.cursor().copy(
        """copy ingest.chunks (id, index_version, document_id, object_id, owner_id, access,
                               content, token_count, content_hash, embedding, fts)
           from stdin (format binary)"""
    ) as copy:
        types = ["uuid", "int4", "uuid", "uuid", "text", "text", "text", "int4", "bytea"]
        # An empty tsvector counts as 0.
        copy.set_types([*types, "halfvec", "bytea"])
        for one in chunks:
            copy.write_row(
                (
                    *(one.id, version, one.document_id, one.object_id, one.owner_id, one.access),
                    *(one.content, len(one.content.split()), hash_of(str(one.id))),
                    *(HalfVector(one.vector), b"\0\0\0\0"),
                )
            )


def place_chunks(admin: Connection, version: int, documents: Sequence[UUID] | None = None) -> None:
    """Write a position for each chunk of an index version, in any order within its document.

    Of these documents; None: of all.
    """
    admin.execute(
        """insert into ingest.chunk_positions (index_version, document_id, ordinal, chunk_id)
           select index_version, document_id, row_number() over (partition by document_id) - 1, id
             from ingest.chunks
            where index_version = %s and (%s::uuid[] is null or document_id = any(%s::uuid[]))""",
        [version, documents, documents],
    )

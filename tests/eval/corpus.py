"""Documents of a set in a database: read, cut and embedded as by a worker."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import NAMESPACE_URL, UUID, uuid5

from docmill.worker.embedding.local import LocalEmbedder
from docmill.worker.extraction import GuardedExtractor
from docmill.worker.models import Chunk
from docmill.worker.processes.reading import chunk_rules, extraction_limits
from docmill.worker.settings.processes import Settings
from tests.schema.actors import Connection, hash_of, literal

OWNER = "eval"


def _id(name: str) -> UUID:
    """The same id in every run, because search samples by ids and sorts equal hits by them."""
    return uuid5(NAMESPACE_URL, name)


@dataclass(frozen=True)
class Passage:
    """A stored chunk."""

    id: str
    document: str
    content: str


@dataclass(frozen=True)
class ReadFile:
    """What a worker finds in a file."""

    title: str | None
    chunks: list[Chunk]


def read_files(paths: Sequence[Path], *, tokens: int) -> dict[str, ReadFile]:
    """The title and the chunks of each file by its name, each of at most this many tokens."""
    settings = Settings(embedder="local")
    limits = extraction_limits(settings, children=2)
    extractor = GuardedExtractor(limits, temp_dir=Path(tempfile.gettempdir()))
    rules = chunk_rules(settings, chunk_tokens=tokens)
    found = {}
    try:
        for path in paths:
            with extractor.open(
                path, file_name=path.name, check=lambda: None, rules=rules
            ) as reading:
                windows = list(reading.windows())
                titles = (window.title for window in windows if window.title)
                found[path.name] = ReadFile(
                    reading.title or next(titles, None),
                    [chunk for window in windows for chunk in window.chunks],
                )
    finally:
        extractor.close()
    return found


def store(
    admin: Connection, documents: dict[str, ReadFile], embedder: LocalEmbedder
) -> list[Passage]:
    """Write them in the form that publishes leave; all belong to OWNER."""
    passages = []
    for name, file in documents.items():
        document = _id(name)
        admin.execute(
            """insert into ingest.documents (id, object_id, bucket_id, object_name, owner_id,
                                             title, storage_version, status, searchable,
                                             chunk_count)
               values (%s, %s, 'docs', %s, %s, %s, 'v', 'ready', true, %s)""",
            [document, document, name, OWNER, file.title, len(file.chunks)],
        )
        # A text that occurs twice in a document is one chunk.
        unique = list({chunk.embedded_text: chunk for chunk in file.chunks}.values())
        passages += _store_chunks(admin, document, name, unique, embedder)
        admin.execute("select ingest_private.put_title(%s, 1, %s)", [document, file.title])
    return passages


def _store_chunks(
    admin: Connection, document: UUID, name: str, chunks: list[Chunk], embedder: LocalEmbedder
) -> list[Passage]:
    vectors, _tokens = embedder.embed([chunk.embedded_text for chunk in chunks])
    ids = [_id(f"{name} {number}") for number in range(len(chunks))]
    with admin.cursor().copy(
        """copy ingest.chunks (id, index_version, document_id, object_id, owner_id, access, content,
                               headings, token_count, content_hash, embedding, fts) from stdin"""
    ) as copy:
        for one, chunk, vector in zip(ids, chunks, vectors, strict=True):
            copy.write_row(
                (
                    *(one, 1, document, document, OWNER, "owner", chunk.content),
                    *(list(chunk.headings), chunk.token_count),
                    *(hash_of(chunk.embedded_text), literal(vector), ""),
                )
            )
    with admin.cursor().copy(
        "copy ingest.chunk_positions (index_version, document_id, ordinal, chunk_id) from stdin"
    ) as copy:
        for ordinal, one in enumerate(ids):
            copy.write_row((1, document, ordinal, one))
    return [Passage(str(one), name, chunk.content) for one, chunk in zip(ids, chunks, strict=True)]

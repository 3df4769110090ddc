"""Plain data that the stages hand to each other."""

from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import UUID

JsonObject = dict[str, Any]

Stage = Literal["downloading", "extracting", "embedding", "publishing"]


@dataclass(frozen=True)
class IndexVersion:
    """A model, its dimensions and a chunking; chunks of different ones are never mixed."""

    id: int
    model: str
    dimensions: int
    chunking: JsonObject


@dataclass(frozen=True)
class Claim:
    """A job that this process leased, and what a run of it needs to know."""

    job_id: UUID
    token: int  #: fencing token: every write names it
    run: int  #: from 1; grows with every claim
    attempt: int  #: from 1; grows with counted failures only
    max_attempts: int
    kind: str
    document_id: UUID
    object_id: UUID
    bucket_id: str
    object_name: str
    owner_id: str | None
    storage_version: str
    size_bytes: int | None  #: as Storage has it; what is downloaded is measured again
    max_bytes: int | None  #: limit of the source
    index: IndexVersion
    published_sha256: bytes | None  #: bytes of the version that is live, if any
    published_pipeline: str | None  #: rules that made its chunks

    @property
    def turn(self) -> str:
        """Whose jobs wait for each other where jobs must wait: the owner's, else the bucket's."""
        return f"owner {self.owner_id}" if self.owner_id else f"bucket {self.bucket_id}"


@dataclass(frozen=True)
class Element:
    """One piece of a document in reading order.

    `category` is one of unstructured's: Title, NarrativeText, ListItem, Table, Text, and so on.
    `depth` is the heading depth of a Title, from 0. `page` counts from 1: a page, slide or sheet.
    """

    category: str
    text: str
    page: int | None = None
    depth: int | None = None
    metadata: JsonObject = field(default_factory=dict)


@dataclass(frozen=True)
class Chunk:
    """An immutable piece of a document's text, and where it stands."""

    ordinal: int
    content: str
    headings: tuple[str, ...]
    page_start: int | None
    page_end: int | None
    token_count: int
    metadata: JsonObject = field(default_factory=dict)

    @property
    def embedded_text(self) -> str:
        """What the embedding is made of: the headings path, then the content."""
        return "\n".join(
            [" > ".join(self.headings), self.content] if self.headings else [self.content]
        )

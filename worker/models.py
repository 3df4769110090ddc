"""Plain data that the stages hand to each other."""

from dataclasses import dataclass, field
from typing import Any, Final, Literal
from uuid import UUID

JsonObject = dict[str, Any]

Stage = Literal["downloading", "extracting", "embedding", "publishing"]


#: A number. Bump when the chunks of unchanged elements change: documents are then chunked again.
CHUNKING_VERSION: Final = "2"


#: How tokens are counted: as OpenAI's models do, which stand for all others, or as a model of this
#: machine does. chunking_of in schema/functions knows the same names.
OPENAI_COUNTER: Final = "openai"
LOCAL_COUNTERS: Final = ("local",)


@dataclass(frozen=True)
class ChunkRules:
    """What decides on the chunks beside the text."""

    max_tokens: int  #: of one chunk, as it is embedded
    counter: str = OPENAI_COUNTER  #: whose tokens these are

    @property
    def version(self) -> str:
        """Changes when unchanged text may be chunked otherwise."""
        counted = "" if self.counter == OPENAI_COUNTER else f".{self.counter}"
        return f"{CHUNKING_VERSION}.{self.max_tokens}{counted}"


@dataclass(frozen=True)
class Offer:
    """How a worker reads files: what is as new and has as many extras is as good."""

    reader_rules: int
    chunk_rules: int
    extras: tuple[str, ...]  #: what is installed beside the base


#: Of a process that reads nothing.
NO_OFFER: Final = Offer(0, 0, ())


@dataclass(frozen=True)
class IndexVersion:
    """A model, its provider and a chunking; chunks of different ones are never mixed."""

    id: int
    model: str
    dimensions: int
    chunking: JsonObject  #: `max_tokens`, and `counter` where it is not the provider's
    provider: str
    sends_dimensions: bool  #: the provider is told how many are wanted
    document_prefix: str  #: put before each text of a document
    query_prefix: str  #: put before a query

    @property
    def rules(self) -> ChunkRules:
        """How documents are cut for it."""
        counter = self.chunking.get("counter", self.provider)
        known = counter if counter in LOCAL_COUNTERS else OPENAI_COUNTER
        return ChunkRules(max_tokens=self.chunking["max_tokens"], counter=known)


@dataclass(frozen=True)
class IndexSettings:
    """What the first index version is made for."""

    model: str
    dimensions: int
    chunking: JsonObject
    provider: str | None = None  #: None: that of the model
    sends_dimensions: bool | None = None  #: None: as is usual for the model


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
        return headings_line(self.headings) + self.content


def headings_line(headings: tuple[str, ...]) -> str:
    """What stands before a chunk's content when it is embedded."""
    return " > ".join(headings) + "\n" if headings else ""


#: Hash, first and last page of a chunk.
Placed = tuple[bytes, int | None, int | None]


@dataclass(frozen=True)
class SetAside:
    """A chunk that the provider refuses: search goes without it."""

    content_hash: bytes
    ordinal: int  #: of the chunk that it would stand before
    page_start: int | None
    page_end: int | None
    error_code: str

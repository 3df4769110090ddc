"""Plain data that the stages pass to each other."""

from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple
from uuid import UUID

JsonObject = dict[str, Any]

Stage = Literal["downloading", "extracting", "embedding", "publishing"]


#: A number. Raise it when the chunks of unchanged elements change; documents are then chunked
#: again.
CHUNKING_VERSION: Final = "2"


#: How tokens are counted: as OpenAI's models do, which stand for all others, or as a model of this
#: machine does. chunking_of in schema/functions knows the same names.
OPENAI_COUNTER: Final = "openai"
LOCAL_COUNTERS: Final = ("local",)


@dataclass(frozen=True)
class ChunkRules:
    """The rules that, with the text, decide the chunks."""

    max_tokens: int  #: of one chunk, as it is embedded
    counter: str = OPENAI_COUNTER  #: whose tokens these are
    overlap: int = 0  #: tokens at most that a chunk repeats of the one before it

    @property
    def version(self) -> str:
        """Changes when unchanged text may be chunked differently."""
        counted = "" if self.counter == OPENAI_COUNTER else f".{self.counter}"
        repeated = f"+{self.overlap}" if self.overlap else ""
        return f"{CHUNKING_VERSION}.{self.max_tokens}{repeated}{counted}"


@dataclass(frozen=True)
class Offer:
    """How a worker reads files: with which versions of the rules, and with which extras."""

    reader_rules: int
    chunk_rules: int
    extras: tuple[str, ...]  #: which optional parts are installed


#: The offer of a process that reads nothing.
NO_OFFER: Final = Offer(0, 0, ())


@dataclass(frozen=True)
class IndexVersion:
    """A model, its provider and a chunking; chunks of different ones are never mixed."""

    id: int
    model: str
    dimensions: int
    #: `max_tokens`, `overlap` if there is any, and `counter` if it is not the provider's own.
    chunking: JsonObject
    provider: str
    sends_dimensions: bool  #: requests to the provider name the number of dimensions
    document_prefix: str  #: put before each text of a document
    query_prefix: str  #: put before a query

    @property
    def rules(self) -> ChunkRules:
        """How documents are cut for it."""
        counter = self.chunking.get("counter", self.provider)
        known = counter if counter in LOCAL_COUNTERS else OPENAI_COUNTER
        overlap = self.chunking.get("overlap", 0)
        return ChunkRules(self.chunking["max_tokens"], counter=known, overlap=overlap)


@dataclass(frozen=True)
class IndexSettings:
    """The settings of the first index version."""

    model: str
    dimensions: int
    chunking: JsonObject
    provider: str | None = None  #: None: the model's own provider
    sends_dimensions: bool | None = None  #: None: the usual value for the model


@dataclass(frozen=True)
class Claim:
    """A job that this process leased, with the facts that its run needs."""

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
    size_bytes: int | None  #: according to Storage; the download is measured again
    max_bytes: int | None  #: limit of the source
    index: IndexVersion
    published_sha256: bytes | None  #: hash of the bytes of the live version, if any
    published_pipeline: str | None  #: the rules that made its chunks
    is_bulk: bool = False  #: its texts are bought in batches of the provider
    in_batch: bool = False  #: and some of them have not been answered

    @property
    def turn(self) -> str:
        """The key by which jobs take turns: the owner, or the bucket if there is no owner."""
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
    """An immutable piece of a document's text, and its place."""

    ordinal: int
    content: str
    headings: tuple[str, ...]
    page_start: int | None
    page_end: int | None
    token_count: int
    metadata: JsonObject = field(default_factory=dict)

    @property
    def embedded_text(self) -> str:
        """The text that is embedded: the headings, then the content."""
        return headings_line(self.headings) + self.content


def headings_line(headings: tuple[str, ...]) -> str:
    """The line of headings before a chunk's content when it is embedded."""
    return " > ".join(headings) + "\n" if headings else ""


#: All names that metadata of a chunk may have. Each place of a chunk says of each what holds there.
CHUNK_METADATA: Final = ("category", "links")


class Placed(NamedTuple):
    """A place of a chunk in its document.

    Metadata belong to the place: the same text may have other links the next time it is read.
    """

    content_hash: bytes
    page_start: int | None = None
    page_end: int | None = None
    metadata: JsonObject = {}  # noqa: RUF012 - never written to


@dataclass(frozen=True)
class SetAside:
    """A chunk that the provider refuses; searches do not find it."""

    content_hash: bytes
    ordinal: int  #: ordinal of the chunk that would follow it
    page_start: int | None
    page_end: int | None
    error_code: str

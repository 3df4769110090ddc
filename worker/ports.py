"""Protocols for the outside services of the pipeline; `runtime` supplies the objects."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeAlias, runtime_checkable

from docmill.worker.models import Chunk, ChunkRules, Element
from docmill.worker.providers.base import RequestLimits

if TYPE_CHECKING:  # commands that embed nothing start faster without it
    import numpy as np
    from numpy.typing import NDArray

#: Vectors of several texts, shape (texts, dimensions); and one vector.
Vectors: TypeAlias = "NDArray[np.float32]"
Vector: TypeAlias = "np.ndarray[tuple[int], np.dtype[np.float32]]"

#: Raises LeaseLostError, CancelledRunError or DrainError when the run must stop.
StopCheck = Callable[[], None]


@dataclass(frozen=True)
class StoredObject:
    """Facts about one object of Storage."""

    version: str
    size_bytes: int
    mime_type: str | None


class ObjectStorage(Protocol):
    """Where documents are downloaded from."""

    def info(self, bucket_id: str, object_name: str, *, check: StopCheck) -> StoredObject | None:
        """The object that Storage now has under this name, or None. Raises JobError."""

    def download(
        self, bucket_id: str, object_name: str, target: Path, *, max_bytes: int, check: StopCheck
    ) -> bytes:
        """Stream the object into a file and return its sha256. Raises JobError."""


@dataclass(frozen=True)
class Window:
    """Some successive pages, or the whole document, in reading order: as elements or as chunks."""

    elements: Sequence[Element]  #: empty if chunks were requested
    pages_done: int  #: pages read so far, this window included
    unread_pages: Sequence[int]  #: pages of this window that hold no text that could be read
    hidden_characters: int = 0  #: characters in it that people do not see: see count_hidden
    uncomputed_formulas: int = 0  #: formulas in it that the file has no value for
    chunks: Sequence[Chunk] = ()  #: without ordinals; empty if elements were requested
    title: str | None = None  #: the first title in it, if chunks were requested


class KeptWindows(Protocol):
    """Windows of one document that earlier runs have read, by their number from 1."""

    def numbers(self) -> Collection[int]:
        """Numbers of the kept windows. Raises JobError."""

    def load(self, number: int) -> bytes:
        """Content of a kept window. Raises JobError."""

    def keep(self, number: int, content: bytes) -> None:
        """Keep a window for later runs. Raises JobError, LeaseLostError."""


class Extraction(Protocol):
    """One document that is being read."""

    @property
    def mime_type(self) -> str:
        """Media type found in the bytes."""

    @property
    def page_count(self) -> int | None:
        """Number of pages, slides or sheets; None for kinds without pages."""

    @property
    def title(self) -> str | None:
        """The title that the document's own metadata names, if any."""

    def windows(self) -> Iterator[Window]:
        """Windows in order. Raises JobError with the code of what went wrong."""


class Extractor(Protocol):
    """Turns a file of unknown kind and intent into elements, in a safe place."""

    def version(self, file_name: str) -> str:
        """Changes when unchanged bytes under such a name may be read differently than before."""

    def open(
        self,
        path: Path,
        *,
        file_name: str,
        check: StopCheck,
        owner: str,
        kept: KeptWindows,
        rules: ChunkRules,
    ) -> AbstractContextManager[Extraction]:
        """Sniff the file and begin to read and chunk it. `file_name` is a hint. Raises JobError.

        If documents must wait, documents of one owner wait for each other. Kept windows are not
        read again. Windows that take time to read are kept.
        """


class Embedder(Protocol):
    """Turns texts into vectors. Safe to call from several threads."""

    model: str
    dimensions: int

    @property
    def request_limits(self) -> RequestLimits:
        """What one request may hold. The first call may ask the server."""

    def embed(self, texts: Sequence[str]) -> tuple[Vectors, int]:
        """Vectors of shape (len(texts), dimensions), finite, in order, and the tokens billed.

        More texts than `request_limits` go in several requests. Raises JobError.
        """


@runtime_checkable
class TellsHeaders(Protocol):
    """An embedder that passes on the headers of the provider's answers."""

    #: Called with the headers of each answer, names in lower case, before `embed` returns or
    #: raises, in the thread that called it.
    on_headers: Callable[[Mapping[str, str]], None]


@dataclass(frozen=True)
class Permit:
    """The right to send a request with this many tokens."""

    tokens: int
    receipt: str = ""  #: from the giver of the permit


@dataclass(frozen=True)
class Outcome:
    """The result of a request."""

    billed: int | None = None  #: tokens; None: not known
    headers: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0  #: its duration
    refused: bool = False  #: because of a limit
    pause_seconds: float | None = None  #: the pause that the provider asks for


class Limits(Protocol):
    """What may be requested of a provider now. One thread asks, and any thread may settle."""

    def ask(self, tokens: int) -> Permit | float:
        """A permit for a request, or the seconds until there may be one. Never raises.

        However long that is, ask again within a second or two: others go first meanwhile.
        """

    def leave(self) -> None:
        """Stop waiting, after a call of `ask` that gave no permit. Never raises."""

    def settle(self, permit: Permit, outcome: Outcome | None) -> None:
        """Report the result of the request; None: it was not sent. Never raises."""

    def most_tokens(self) -> int | None:
        """The most tokens that a request should have; None: the limit is not known."""

"""Embeddings over the network, from any provider in worker/providers."""

import asyncio
import base64
import json
import ssl
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

import httpx
import numpy as np

from docmill.worker.clients.decoded import async_pieces
from docmill.worker.clients.event_loop import event_loop
from docmill.worker.errors import JobError
from docmill.worker.log import get_logger
from docmill.worker.ports import Vectors
from docmill.worker.providers.base import (
    Access,
    HttpProvider,
    Refusal,
    Request,
    RequestLimits,
    Wanted,
)

log = get_logger(__name__)

#: More tokens than the 2,048 texts of a request can have: 8,191 each, with room.
MAX_BILLED_TOKENS: Final = 100_000_000
#: The largest number that halfvec, the type of stored vectors, can hold: IEEE 754 binary16.
HALFVEC_MAX: Final = 65_504.0
#: Time for a server to report its limits. Without an answer the provider's usual limits apply.
LIMITS_SECONDS: Final = 5.0
#: The longest wait that a refusal may ask for, a day. A clock cannot add every number.
LONGEST_WAIT_SECONDS: Final = 86_400.0
#: The longest answer: every number with all its digits and indentation.
_BYTES_A_NUMBER: Final = 64
_BYTES_BESIDE: Final = 1024 * 1024


class HttpEmbedder:
    """Embeds over the network. It does its own retries, because they depend on the lease.

    Every answer of the provider becomes vectors or a JobError. A request runs in an event loop on a
    thread of its own, which can end it at its deadline in any state; a time-out for reads would
    start again with each byte.
    """

    def __init__(
        self,
        provider: HttpProvider,
        access: Access,
        wanted: Wanted,
        *,
        timeout_seconds: float,
    ) -> None:
        self.model = wanted.model
        self.dimensions = wanted.dimensions
        self._provider = provider
        self._access = access
        self._wanted = wanted
        self._timeout = timeout_seconds
        #: Called with the headers of each answer, in the thread of the caller.
        self.on_headers: Callable[[Mapping[str, str]], None] = lambda _headers: None
        self._limits: RequestLimits | None = None
        self._loop = event_loop("provider")
        # No redirects: they would carry the key to wherever an answer says.
        self._client = httpx.AsyncClient(verify=tls(), timeout=None)  # noqa: S113 -- see _fetch

    @property
    def request_limits(self) -> RequestLimits:
        """The limits of a request. The first call may ask the server. Raises nothing."""
        if self._limits is not None:
            return self._limits
        ours = self._provider.limits_for(self.model)
        questions = self._provider.questions(self._access, self._wanted)
        if not questions:
            self._limits = ours
            return ours
        answers = [self._ask(question) for question in questions]
        told = self._provider.told([answer for _, answer in answers])
        limits = ours.within(told)
        log.info("provider_limits", provider=self._provider.name, limits=vars(limits))
        if all(is_there for is_there, _ in answers):  # otherwise ask again at the next call
            self._limits = limits
        return limits

    def embed(self, texts: Sequence[str]) -> tuple[Vectors, int]:
        """Vectors of shape (len(texts), dimensions), in the texts' order, and the billed tokens.

        If there are more texts than a request may hold, several requests follow each other. Raises
        JobError; `embedding_rejected` if the provider refuses one of the texts.
        """
        if not texts:
            return np.empty((0, self.dimensions), dtype=np.float32), 0
        most = self.request_limits.texts
        made = [self._embed(texts[start : start + most]) for start in range(0, len(texts), most)]
        return np.concatenate([vectors for vectors, _ in made]), sum(count for _, count in made)

    def width(self) -> int:
        """The number of dimensions of this model, found with a harmless text."""
        answer = self._answer(["docmill"])
        try:
            return int(_decoded(self._provider.embeddings(answer)[0]).size)
        except JobError:
            raise
        except Exception as error:
            raise JobError("provider_invalid_response", type(error).__name__) from error

    def _embed(self, texts: Sequence[str]) -> tuple[Vectors, int]:
        answer = self._answer(texts)
        try:
            embeddings = self._provider.embeddings(answer)
            vectors = checked(embeddings, count=len(texts), dimensions=self.dimensions)
        except JobError:
            raise
        except Exception as error:  # the answer has another form than the provider's
            raise JobError("provider_invalid_response", type(error).__name__) from error
        if self._provider.is_normalised is False:
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors, self._billed(answer) or self._estimated(texts)

    def _answer(self, texts: Sequence[str]) -> Any:
        """The provider's answer. Raises JobError if it refuses or cannot be reached."""
        request = self._provider.request(self._access, self._wanted, texts)
        most = _BYTES_BESIDE + len(texts) * self.dimensions * _BYTES_A_NUMBER
        status, headers, content = self._send(request, self._timeout, most)
        self.on_headers(headers)
        if status != 200:
            raise self._refused(status, headers, content)
        return _json(content)

    def _send(
        self, request: Request, seconds: float, most: int
    ) -> tuple[int, Mapping[str, str], bytes]:
        content = None if request.body is None else _encoded(request.body)
        try:
            fetched = self._fetch(request, content, seconds, most)
            return asyncio.run_coroutine_threadsafe(fetched, self._loop).result()
        except UnicodeEncodeError as error:  # headers are ASCII
            raise JobError("provider_auth", "a key that no header can hold") from error
        except TimeoutError as error:
            raise JobError("provider_unavailable", "deadline") from error
        except httpx.DecodingError as error:
            raise JobError("provider_invalid_response", "it cannot be decoded") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise JobError("provider_unavailable", type(error).__name__) from error

    async def _fetch(
        self, request: Request, content: bytes | None, seconds: float, most: int
    ) -> tuple[int, Mapping[str, str], bytes]:
        async with (
            asyncio.timeout(seconds),
            self._client.stream(
                "GET" if content is None else "POST",
                request.url,
                headers={**request.headers, "content-type": "application/json"},
                content=content,
            ) as answer,
        ):
            received = bytearray()
            async for piece in async_pieces(answer):
                received += piece
                if len(received) > most:
                    raise JobError("provider_invalid_response", f"more than {most} bytes")
            headers = {name.lower(): value for name, value in answer.headers.items()}
            return answer.status_code, headers, bytes(received)

    def _refused(self, status: int, headers: Mapping[str, str], content: bytes) -> JobError:
        try:
            refusal = Refusal(status, headers, _json(content))
        except JobError:
            refusal = Refusal(status, headers, None)
        code = self._provider.code(refusal)
        log.warning(
            "provider_refused",
            provider=self._provider.name,
            status=status,
            provider_words=sorted(self._provider.machine_words(refusal)),
            error_code=code,
        )
        wait = self._provider.wait_seconds(refusal)
        asked = None if wait is None else min(wait, LONGEST_WAIT_SECONDS)
        return JobError(code, f"status {status}", retry_after_seconds=asked)

    def _ask(self, question: Request) -> tuple[bool, Any]:
        """Whether the server answered, and its answer to a question about its limits, if any."""
        try:
            status, _headers, content = self._send(question, LIMITS_SECONDS, _BYTES_BESIDE)
        except JobError:
            return False, None
        try:
            return True, _json(content) if status == 200 else None
        except JobError:
            return True, None

    def _billed(self, answer: Any) -> int:
        return billed(self._provider, answer)

    def _estimated(self, texts: Sequence[str]) -> int:
        if self._provider.characters_a_token is None:
            return 0
        return round(sum(map(len, texts)) / self._provider.characters_a_token)


@lru_cache(maxsize=1)
def tls() -> ssl.SSLContext:
    """What certificates are checked by. It takes longer to make than a request on loopback."""
    return httpx.create_ssl_context()


def _encoded(body: object) -> bytes:
    try:
        return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError as error:
        raise JobError("embedding_rejected", "half of a surrogate pair") from error


def _json(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise JobError("provider_invalid_response", type(error).__name__) from error


def billed(provider: HttpProvider, answer: Any) -> int:
    """What the answer says was billed; 0 where it says nothing that is a number."""
    try:
        tokens = provider.tokens(answer)
    except (AttributeError, LookupError, TypeError):
        return 0
    if not isinstance(tokens, int | float):
        return 0
    # More than any request can hold is no count of tokens, and would overflow its column.
    return int(tokens) if 0 <= tokens <= MAX_BILLED_TOKENS else 0


def checked(embeddings: Sequence[object], *, count: int, dimensions: int) -> Vectors:
    """Embeddings as an answer has them. Raises JobError, unless all of them can be stored."""
    if len(embeddings) != count:
        raise JobError("provider_invalid_response", f"{len(embeddings)} embeddings for {count}")
    vectors = np.empty((count, dimensions), dtype=np.float32)
    for row, embedding in enumerate(embeddings):
        vector = _decoded(embedding)
        if vector.shape != (dimensions,):
            raise JobError(
                "provider_invalid_response",
                f"embedding of shape {vector.shape} instead of {dimensions} dimensions",
            )
        vectors[row] = vector
    if not (np.abs(vectors) <= HALFVEC_MAX).all():  # refuses NaN and infinity too
        raise JobError("provider_invalid_response", "embedding with NaN or beyond halfvec's range")
    if not vectors.astype(np.float16).any(axis=1).all():  # in the precision that is stored
        raise JobError("provider_invalid_response", "embedding of length 0")
    return vectors


def _decoded(embedding: object) -> Vectors:
    if isinstance(embedding, str):
        return np.frombuffer(base64.b64decode(embedding, validate=True), dtype="<f4")
    # Servers that ignore encoding_format send lists of numbers.
    with np.errstate(over="ignore"):
        return np.asarray(embedding, dtype=np.float32)

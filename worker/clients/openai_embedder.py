"""Embeddings from OpenAI, or from anything that speaks its API."""

import asyncio
import base64
import binascii
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import openai

from docmill.worker.clients.rate_headers import retry_after
from docmill.worker.errors import JobError
from docmill.worker.log import get_logger
from docmill.worker.ports import Vectors

log = get_logger(__name__)

#: error.code or error.type of answers that mean: no money left. From the provider's error guide
#: and Microsoft's list of its 429 codes, 2026; the status alone does not tell them from a limit.
QUOTA_CODES: Final = frozenset(
    {
        "insufficient_quota",
        "credit_balance_exhausted",
        "organization_spend_limit_exceeded",
        "project_spend_limit_exceeded",
        "organization_usage_limit_exceeded",
        "billing_hard_limit_reached",
    }
)


#: More than the 2,048 texts of a request can have: 8,191 tokens each, with room.
MAX_BILLED_TOKENS: Final = 100_000_000
#: The largest number that halfvec, the type of stored vectors, can hold: IEEE 754 binary16.
HALFVEC_MAX: Final = 65_504.0


class OpenAIEmbedder:
    """Embeds over the network. Retries are ours, because only we know the lease.

    Whatever the provider answers becomes vectors or a JobError. A request runs in an event loop on
    a thread of its own, where it can be ended at its deadline whatever it is waiting for: the
    client's own time-outs begin anew with each byte.
    """

    def __init__(
        self,
        *,
        api_key: str,
        base_url: str | None,
        model: str,
        dimensions: int,
        send_dimensions: bool,
        timeout_seconds: float,
    ) -> None:
        self.model = model
        self.dimensions = dimensions
        self._send_dimensions = send_dimensions
        self._timeout = timeout_seconds
        #: Called with the headers of each answer, in the thread that asked.
        self.on_headers: Callable[[Mapping[str, str]], None] = lambda _headers: None
        self._client = openai.AsyncOpenAI(
            api_key=api_key, base_url=base_url, max_retries=0, timeout=timeout_seconds
        )
        self._loop = asyncio.new_event_loop()
        # Daemon: the end of the process does not wait for it.
        threading.Thread(target=self._loop.run_forever, name="provider", daemon=True).start()

    def embed(self, texts: Sequence[str]) -> tuple[Vectors, int]:
        """Vectors of shape (len(texts), dimensions) in the order of the texts, and tokens billed.

        Raises JobError; `embedding_rejected` when the provider refuses one of the texts.
        """
        try:
            answer = asyncio.run_coroutine_threadsafe(self._ask(texts), self._loop).result()
            self.on_headers(answer.headers)
            response = answer.parse()
            vectors = _checked_vectors(response, count=len(texts), dimensions=self.dimensions)
            return vectors, _billed_tokens(response)
        except TimeoutError as error:
            raise JobError("provider_unavailable", "deadline") from error
        except openai.OpenAIError as error:
            if isinstance(error, openai.APIStatusError):
                self.on_headers(error.response.headers)
            raise _as_job_error(error) from error
        except JobError:
            raise
        except Exception as error:  # an answer of a form that the client does not expect
            raise JobError("provider_invalid_response", type(error).__name__) from error

    async def _ask(self, texts: Sequence[str]) -> Any:
        async with asyncio.timeout(self._timeout):
            return await self._client.embeddings.with_raw_response.create(
                model=self.model,
                input=list(texts),
                # As text, straight into numpy: lists of floats cost ten times the time.
                encoding_format="base64",
                dimensions=self.dimensions if self._send_dimensions else openai.omit,
            )


def _billed_tokens(response: Any) -> int:
    """What the answer says was billed; 0 where it says nothing that is a number."""
    tokens = getattr(getattr(response, "usage", None), "total_tokens", None)
    if not isinstance(tokens, int | float):
        return 0
    # More than any request can hold is no count of tokens, and would overflow its column.
    return int(tokens) if 0 <= tokens <= MAX_BILLED_TOKENS else 0


def _checked_vectors(response: Any, *, count: int, dimensions: int) -> Vectors:
    # Peers have paired texts with the wrong vectors by trusting the length and order of an answer.
    items = response.data or []
    if sorted(item.index for item in items) != list(range(count)):
        raise JobError("provider_invalid_response", f"{len(items)} embeddings for {count} texts")
    vectors = np.empty((count, dimensions), dtype=np.float32)
    for item in items:
        vector = _decode(item.embedding)
        if vector.shape != (dimensions,):
            raise JobError(
                "provider_invalid_response",
                f"embedding of shape {vector.shape} instead of {dimensions} dimensions",
            )
        vectors[item.index] = vector
    if not (np.abs(vectors) <= HALFVEC_MAX).all():  # NaN and infinity neither
        raise JobError("provider_invalid_response", "embedding with NaN or beyond halfvec's range")
    if not vectors.astype(np.float16).any(axis=1).all():  # as it is stored
        raise JobError("provider_invalid_response", "embedding of length 0")
    return vectors


def _decode(embedding: object) -> Vectors:
    try:
        if isinstance(embedding, str):
            return np.frombuffer(base64.b64decode(embedding, validate=True), dtype="<f4")
        # Servers that ignore encoding_format send numbers.
        return np.asarray(embedding, dtype=np.float32)
    except (binascii.Error, TypeError, ValueError) as error:
        raise JobError("provider_invalid_response", "embedding that cannot be decoded") from error


def _as_job_error(error: openai.OpenAIError) -> JobError:
    if not isinstance(error, openai.APIStatusError):
        return JobError("provider_unavailable", type(error).__name__)
    machine_codes = {str(error.code or ""), str(error.type or "")}
    code = _code_of(error.status_code, machine_codes)
    log.warning(
        "provider_refused", status=error.status_code, provider_code=error.code, error_code=code
    )
    return JobError(
        code,
        f"status {error.status_code}",
        retry_after_seconds=retry_after(error.response.headers),
    )


def _code_of(status: int, machine_codes: set[str]) -> str:
    if machine_codes & QUOTA_CODES:
        return "provider_quota_exhausted"
    return {
        400: "embedding_rejected",
        401: "provider_auth",
        402: "provider_quota_exhausted",
        403: "provider_auth",
        404: "provider_model_missing",
        413: "embedding_rejected",
        422: "embedding_rejected",
        429: "rate_limited",
    }.get(status, "provider_unavailable")

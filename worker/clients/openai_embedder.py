"""Embeddings from OpenAI, or from anything that speaks its API."""

import base64
import binascii
from collections.abc import Sequence
from typing import Final

import numpy as np
import openai
from openai.types import CreateEmbeddingResponse

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


class OpenAIEmbedder:
    """Embeds over the network. Retries are ours, because only we know the lease."""

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
        self._client = openai.OpenAI(
            api_key=api_key, base_url=base_url, max_retries=0, timeout=timeout_seconds
        )

    def embed(self, texts: Sequence[str]) -> tuple[Vectors, int]:
        """Vectors of shape (len(texts), dimensions) in the order of the texts, and tokens billed.

        Raises JobError; `embedding_rejected` when the provider refuses one of the texts.
        """
        try:
            response = self._client.embeddings.create(
                model=self.model,
                input=list(texts),
                # As text, straight into numpy: lists of floats cost ten times the time.
                encoding_format="base64",
                dimensions=self.dimensions if self._send_dimensions else openai.omit,
            )
        except openai.OpenAIError as error:
            raise _as_job_error(error) from error
        vectors = _checked_vectors(response, count=len(texts), dimensions=self.dimensions)
        return vectors, response.usage.total_tokens if response.usage else 0


def _checked_vectors(response: CreateEmbeddingResponse, *, count: int, dimensions: int) -> Vectors:
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
    if not np.isfinite(vectors).all() or not np.linalg.norm(vectors, axis=1).all():
        raise JobError("provider_invalid_response", "embedding with NaN, infinity or length 0")
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
        retry_after_seconds=_retry_after(error.response.headers.get("retry-after")),
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


def _retry_after(header: str | None) -> float | None:
    try:
        return max(0.0, float(header)) if header else None
    except ValueError:  # an HTTP date: our own backoff will do
        return None

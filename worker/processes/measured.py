"""An embedder that says how long its requests took, how full they were, and what they cost."""

import time
from collections.abc import Callable, Mapping, Sequence

from docmill.worker import metrics
from docmill.worker.errors import JobError
from docmill.worker.ports import Embedder, TellsHeaders, Vectors
from docmill.worker.providers.base import RequestLimits


class MeasuredEmbedder:
    """Does what another one does, and records it."""

    def __init__(
        self,
        embedder: Embedder,
        *,
        provider: str,
        batch_size: int,
        usd_per_million_tokens: float,
    ) -> None:
        self.model = embedder.model
        self.dimensions = embedder.dimensions
        self._embedder = embedder
        self._provider = provider
        self._batch_size = batch_size
        self._usd_per_token = usd_per_million_tokens / 1e6

    @property
    def request_limits(self) -> RequestLimits:
        """Of the other one."""
        return self._embedder.request_limits

    @property
    def on_headers(self) -> Callable[[Mapping[str, str]], None]:
        """What hears the headers of answers; nothing where the other one has none."""
        if isinstance(self._embedder, TellsHeaders):
            return self._embedder.on_headers
        return lambda _headers: None

    @on_headers.setter
    def on_headers(self, hear: Callable[[Mapping[str, str]], None]) -> None:
        if isinstance(self._embedder, TellsHeaders):
            self._embedder.on_headers = hear

    def embed(self, texts: Sequence[str]) -> tuple[Vectors, int]:
        """As the other one. Raises JobError."""
        started = time.monotonic()
        code = "internal_error"
        try:
            vectors, tokens = self._embedder.embed(texts)
            code = "ok"
        except JobError as error:
            code = error.code
            if code == "rate_limited":
                self._record(metrics.RATE_LIMIT_WAITS)
                self._record(metrics.RATE_LIMIT_SECONDS, error.retry_after_seconds or 0)
            raise
        finally:
            metrics.record(metrics.REQUESTS, provider=self._provider, code=code)
            self._record(metrics.REQUEST_SECONDS, time.monotonic() - started)
            self._record(metrics.BATCH_FILL, len(texts) / self._batch_size)
        self._record(metrics.TOKENS, tokens)
        self._record(metrics.SPEND, tokens * self._usd_per_token)
        return vectors, tokens

    def _record(self, metric: metrics.Metric, value: float = 1) -> None:
        metrics.record(metric, value, provider=self._provider)

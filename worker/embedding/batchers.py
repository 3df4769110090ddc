"""A batcher for each way to embed: requests of two models, or two providers, are never mixed."""

import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final

from docmill.worker.embedding.batcher import Batcher
from docmill.worker.embedding.serving import serves
from docmill.worker.errors import JobError
from docmill.worker.models import IndexVersion
from docmill.worker.ports import Embedder
from docmill.worker.providers.base import NO_LIMITS

#: Provider, model, dimensions, whether these are sent, and whether it is for reindexing.
_Key = tuple[str, str, int, bool, bool]


@dataclass(frozen=True)
class BatchLimits:
    """How much a request may hold, and how many are in flight."""

    max_texts: int
    max_tokens: int
    requests: int


class Batchers:
    """The batchers of a worker, each made when it is first needed."""

    def __init__(
        self,
        build: Callable[[IndexVersion], Embedder],
        *,
        providers: Collection[str],
        limits: BatchLimits,
    ) -> None:
        self._build = build
        self.providers: Final = sorted(providers)
        self._limits = limits
        self._lock = threading.Lock()
        self._made: dict[_Key, tuple[Embedder, Batcher]] = {}

    def batcher(self, index: IndexVersion, *, is_reindex: bool) -> Batcher:
        """The batcher for texts of an index version.

        Reindexing has one of its own, with half of the requests: what is uploaded never waits
        behind it. Raises JobError when this worker lacks the provider's key.
        """
        return self._get(index, is_reindex=is_reindex)[1]

    def serves(self, index: IndexVersion) -> bool:
        """Whether the provider of an index version embeds a harmless text now. Never raises."""
        try:
            embedder, _batcher = self._get(index, is_reindex=False)
        except JobError:
            return False
        return serves(embedder)

    def close(self) -> None:
        """Answer what is queued, and stop."""
        with self._lock:
            made = list(self._made.values())
        for _embedder, batcher in made:
            batcher.close()

    def _get(self, index: IndexVersion, *, is_reindex: bool) -> tuple[Embedder, Batcher]:
        if index.provider not in self.providers:
            raise JobError("provider_auth", f"no key of {index.provider}")
        key = (index.provider, index.model, index.dimensions, index.sends_dimensions, is_reindex)
        with self._lock:
            if key not in self._made:
                self._made[key] = self._make(index, is_reindex=is_reindex)
            return self._made[key]

    def _make(self, index: IndexVersion, *, is_reindex: bool) -> tuple[Embedder, Batcher]:
        limits = self._limits
        embedder = self._build(index)
        most = getattr(embedder, "request_limits", NO_LIMITS)
        return embedder, Batcher(
            embedder,
            max_texts=min(limits.max_texts, most.texts),
            max_tokens=min(limits.max_tokens, most.tokens),
            requests=max(1, limits.requests // 2) if is_reindex else limits.requests,
        )

"""A batcher for each way to embed: requests of two models, or two providers, are never mixed."""

import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final

from docmill.worker.embedding.batcher import Batcher, NoLimits
from docmill.worker.embedding.company import PATIENCE_SECONDS, Company
from docmill.worker.embedding.serving import serves
from docmill.worker.errors import JobError
from docmill.worker.models import IndexVersion
from docmill.worker.ports import Embedder, Limits
from docmill.worker.providers.registry import is_of_this_machine

#: Provider, model, dimensions, whether these are sent, and whether it is for reindexing.
_Key = tuple[str, str, int, bool, bool]


@dataclass(frozen=True)
class BatchLimits:
    """How much a request may hold, how many are in flight, and how many runs they serve."""

    max_texts: int
    max_tokens: int
    requests: int
    slots: int | None = None  #: None: it is not known


class Batchers:
    """The batchers of a worker, each made when it is first needed."""

    def __init__(
        self,
        build: Callable[[IndexVersion], Embedder],
        *,
        providers: Collection[str],
        limits: BatchLimits,
        shared: Callable[[IndexVersion, bool], Limits] = lambda _index, _is_reindex: NoLimits(),
    ) -> None:
        """`shared` makes the limits that this worker has in common with others."""
        self._build = build
        self._shared = shared
        self.providers: Final = sorted(providers)
        self._limits = limits
        self._lock = threading.Lock()
        self._made: dict[_Key, tuple[Embedder, Batcher]] = {}
        self._companies: dict[_Key, Company] = {}

    def batcher(self, index: IndexVersion, *, is_reindex: bool) -> Batcher:
        """The batcher for texts of an index version.

        Reindexing has one of its own, with half of the requests: what is uploaded never waits
        behind it. Raises JobError when this worker lacks the provider's key.
        """
        return self._get(index, is_reindex=is_reindex)[1]

    def company(self, index: IndexVersion, *, is_reindex: bool) -> Company:
        """The runs whose texts its requests are made of, those that have submitted none too."""
        key = _key(index, is_reindex=is_reindex)
        with self._lock:
            return self._company(key)

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
        key = _key(index, is_reindex=is_reindex)
        with self._lock:
            if key not in self._made:
                self._made[key] = self._make(index, self._company(key), is_reindex=is_reindex)
            return self._made[key]

    def _company(self, key: _Key) -> Company:
        if key not in self._companies:
            self._companies[key] = Company(
                slots=self._limits.slots,
                # Nobody waits for a document that is embedded again: all of them are company.
                together=key[-1],
                # A full request costs this machine as much as its texts one by one.
                patience_seconds=0 if is_of_this_machine(key[0]) else PATIENCE_SECONDS,
            )
        return self._companies[key]

    def _make(
        self, index: IndexVersion, company: Company, *, is_reindex: bool
    ) -> tuple[Embedder, Batcher]:
        limits = self._limits
        embedder = self._build(index)
        most = embedder.request_limits
        return embedder, Batcher(
            embedder,
            max_texts=min(limits.max_texts, most.texts),
            max_tokens=min(limits.max_tokens, most.tokens),
            requests=max(1, limits.requests // 2) if is_reindex else limits.requests,
            company=company,
            provider=index.provider,
            limits=NoLimits()
            if is_of_this_machine(index.provider)
            else self._shared(index, is_reindex),
        )


def _key(index: IndexVersion, *, is_reindex: bool) -> _Key:
    return (index.provider, index.model, index.dimensions, index.sends_dimensions, is_reindex)

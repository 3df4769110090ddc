"""Requests are not larger than the settings and the provider allow."""

from collections.abc import Sequence

import numpy as np
import pytest

from docmill.worker.embedding.batchers import Batchers, BatchLimits
from docmill.worker.models import IndexVersion
from docmill.worker.ports import Vectors
from docmill.worker.providers.base import RequestLimits

INDEX = IndexVersion(1, "m", 4, {"max_tokens": 400}, "cohere", False, "", "")
WIDE = RequestLimits(10_000, 10_000_000, 512)


class Counting:
    """Notes the number of texts in each request."""

    model = "m"
    dimensions = 4

    def __init__(self, limits: RequestLimits) -> None:
        self.sizes: list[int] = []
        self.request_limits = limits

    def embed(self, texts: Sequence[str]) -> tuple[Vectors, int]:
        self.sizes.append(len(texts))
        return np.ones((len(texts), 4), np.float32), len(texts)


@pytest.mark.parametrize(
    ("limits", "most"),
    [(RequestLimits(3, 10_000, 512), 3), (RequestLimits(100, 40, 512), 4), (WIDE, 6)],
    ids=["texts", "tokens", "takes more"],
)
def test_a_request_holds_what_both_allow(limits: RequestLimits, most: int) -> None:
    embedder = Counting(limits)
    batchers = Batchers(
        lambda _index: embedder,
        providers=["cohere"],
        limits=BatchLimits(max_texts=6, max_tokens=1000, requests=1),
    )
    try:
        submission = batchers.batcher(INDEX, is_reindex=False).submit("a", ["t"] * 12, [10] * 12)
        assert submission.wait(180)
        assert max(embedder.sizes) == most
        assert sum(embedder.sizes) == 12
    finally:
        batchers.close()

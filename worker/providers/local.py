"""The model that comes with the extra `local`: static token embeddings, averaged by the worker.

WordLlama's l2_supercat of 256 dimensions (MIT). It takes texts of any length and costs nothing.
"""

from collections.abc import Mapping
from typing import ClassVar

from docmill.worker.providers.base import LocalProvider, Model, RequestLimits


class Local(LocalProvider):
    """A table of token embeddings."""

    name = "local"
    title = "static embeddings on this machine"
    models: ClassVar[Mapping[str, Model]] = {
        "wordllama-l2-supercat-256": Model(256, 1_000_000, usd=0)
    }
    default_model: ClassVar[str | None] = "wordllama-l2-supercat-256"
    limits: ClassVar[RequestLimits] = RequestLimits(
        texts=2048, tokens=10_000_000, text_tokens=1_000_000
    )
    counter: ClassVar[str] = "local"
    modules: ClassVar[tuple[str, ...]] = ("wordllama", "safetensors")
    extra: ClassVar[str] = "local"
    embedder: ClassVar[str] = "docmill.worker.embedding.local:LocalEmbedder"

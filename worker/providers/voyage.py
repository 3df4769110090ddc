"""Voyage AI.

Its API reference, "Text embedding models": 1,000 texts a request; 1,000,000 tokens for the lite
models, 320,000 for voyage-4 and voyage-3.5, 120,000 for all others; input_type, output_dimension
256, 512, 1024 or 2048, `truncation: false` so that nothing is cut in silence. "Text Embeddings" for
dimensions, 32,000 tokens a text and length 1; "Pricing" for prices.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from docmill.worker.providers.base import (
    Access,
    BulkTerms,
    Model,
    Refusal,
    Request,
    RequestLimits,
    Variable,
    Wanted,
    key_variable,
    url_variable,
)
from docmill.worker.providers.openai import OpenAI


class Voyage(OpenAI):
    """OpenAI's form, but for the names of what is asked and the form of a refusal."""

    name = "voyage"
    title = "Voyage AI"
    variables: ClassVar[tuple[Variable, ...]] = (
        key_variable("VOYAGE_API_KEY"),
        url_variable("https://api.voyageai.com/v1"),
    )
    models: ClassVar[Mapping[str, Model]] = {
        "voyage-4-large": Model(1024, 32_000, usd=0.12, resizes=True),
        "voyage-4": Model(1024, 32_000, usd=0.06, resizes=True),
        "voyage-4-lite": Model(1024, 32_000, usd=0.02, resizes=True),
        "voyage-3-large": Model(1024, 32_000, usd=0.18, resizes=True),
        "voyage-3.5": Model(1024, 32_000, usd=0.06, resizes=True),
        "voyage-3.5-lite": Model(1024, 32_000, usd=0.02, resizes=True),
        "voyage-code-3": Model(1024, 32_000, usd=0.18, resizes=True),
        "voyage-finance-2": Model(1024, 32_000, usd=0.12),
        "voyage-law-2": Model(1024, 16_000, usd=0.12),
    }
    default_model: ClassVar[str | None] = "voyage-4"
    bulk: ClassVar[BulkTerms | None] = None
    limits: ClassVar[RequestLimits] = RequestLimits(texts=1000, tokens=120_000, text_tokens=32_000)

    def request(self, access: Access, wanted: Wanted, texts: Sequence[str]) -> Request:
        """POST /embeddings."""
        made = super().request(access, replace(wanted, sends_dimensions=False), texts)
        assert isinstance(made.body, dict)
        dimensions = {"output_dimension": wanted.dimensions} if wanted.sends_dimensions else {}
        more = {"input_type": wanted.kind.value, "truncation": False, **dimensions}
        return replace(made, body=made.body | more)

    def code(self, refusal: Refusal) -> str:
        """A model that it does not have is a bad request there."""
        detail: Any = refusal.body.get("detail") if isinstance(refusal.body, dict) else None
        if refusal.status == 400 and isinstance(detail, str) and "is not supported" in detail:
            return "provider_model_missing"
        return super().code(refusal)

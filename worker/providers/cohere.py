"""Cohere.

"Embed API (v2)": 96 texts a request, input_type, embedding_types, output_dimension 256, 512, 1024
or 1536 for embed-v4.0 and newer; `truncate: NONE` so that nothing is cut in silence. "Cohere's
Embed Models" for dimensions and tokens a text (128,000; 512 for v3), "Errors" for statuses and
`{"message": text}`, "Pricing" for prices. No bound of tokens a request is named: 96 texts of the
longest chunk are far from 128,000 a text.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from docmill.worker.providers.base import (
    Access,
    HttpProvider,
    Kind,
    Model,
    Refusal,
    Request,
    RequestLimits,
    Variable,
    Wanted,
    key_variable,
    url_variable,
    without_slash,
)
from docmill.worker.providers.openai import bearer

_INPUT_TYPES: Mapping[Kind, str] = {
    Kind.DOCUMENT: "search_document",
    Kind.QUERY: "search_query",
}
_INVALID_TOKEN = 498


class Cohere(HttpProvider):
    """Its second API."""

    name = "cohere"
    title = "Cohere"
    variables: ClassVar[tuple[Variable, ...]] = (
        key_variable("COHERE_API_KEY", "CO_API_KEY"),
        url_variable("https://api.cohere.com"),
    )
    models: ClassVar[Mapping[str, Model]] = {
        "embed-v4.0": Model(1536, 128_000, usd=0.12, resizes=True),
        "embed-english-v3.0": Model(1024, 512, usd=0.10),
        "embed-multilingual-v3.0": Model(1024, 512, usd=0.10),
        "embed-english-light-v3.0": Model(384, 512, usd=0.10),
        "embed-multilingual-light-v3.0": Model(384, 512, usd=0.10),
    }
    default_model: ClassVar[str | None] = "embed-v4.0"
    limits: ClassVar[RequestLimits] = RequestLimits(texts=96, tokens=300_000, text_tokens=128_000)
    is_normalised: ClassVar[bool | None] = None

    def request(self, access: Access, wanted: Wanted, texts: Sequence[str]) -> Request:
        """POST /v2/embed."""
        dimensions = {"output_dimension": wanted.dimensions} if wanted.sends_dimensions else {}
        return Request(
            f"{without_slash(access['base_url'])}/v2/embed",
            bearer(access),
            {
                "model": wanted.model,
                "texts": list(texts),
                "input_type": _INPUT_TYPES[wanted.kind],
                "embedding_types": ["float"],
                "truncate": "NONE",
                **dimensions,
            },
        )

    def embeddings(self, answer: Any) -> Sequence[object]:
        """In the order of the texts."""
        found: Sequence[object] = answer["embeddings"]["float"]
        return found

    def tokens(self, answer: Any) -> object:
        """Those that are billed."""
        return answer["meta"]["billed_units"]["input_tokens"]

    def code(self, refusal: Refusal) -> str:
        """A trial key has so many calls a month: then it is used up."""
        message = refusal.body.get("message") if isinstance(refusal.body, dict) else None
        if refusal.status == 429 and isinstance(message, str) and "month" in message:
            return "provider_quota_exhausted"
        return "provider_auth" if refusal.status == _INVALID_TOKEN else super().code(refusal)

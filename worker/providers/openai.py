"""OpenAI, and whatever is reached with its key and its API under another address.

API reference, "Create embeddings": 2,048 inputs, 8,192 tokens an input, 300,000 tokens a request.
The models' pages for dimensions, 8,191 tokens an input and prices. Embeddings have length 1
(guide "Embeddings"). "Create batch": 50,000 inputs and 200 MB a file; half the price (guide "Batch
API").
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from docmill.worker.providers.base import (
    Access,
    BulkTerms,
    HttpProvider,
    Model,
    Request,
    RequestLimits,
    Variable,
    Wanted,
    key_variable,
    url_variable,
    without_slash,
)


class OpenAI(HttpProvider):
    """OpenAI's form, which many others have taken over."""

    name = "openai"
    title = "OpenAI"
    variables: ClassVar[tuple[Variable, ...]] = (
        key_variable("OPENAI_API_KEY"),
        url_variable("https://api.openai.com/v1", "OPENAI_BASE_URL"),
    )
    models: ClassVar[Mapping[str, Model]] = {
        "text-embedding-3-small": Model(1536, 8191, usd=0.02, resizes=True),
        "text-embedding-3-large": Model(3072, 8191, usd=0.13, resizes=True),
        "text-embedding-ada-002": Model(1536, 8191, usd=0.10),
    }
    default_model: ClassVar[str | None] = "text-embedding-3-small"
    limits: ClassVar[RequestLimits] = RequestLimits(texts=2048, tokens=300_000, text_tokens=8191)

    bulk: ClassVar[BulkTerms | None] = BulkTerms(
        texts=50_000, file_bytes=200_000_000, price_factor=0.5
    )

    def request(self, access: Access, wanted: Wanted, texts: Sequence[str]) -> Request:
        """POST /embeddings. As base64, straight into numpy: numbers cost ten times the time."""
        dimensions = {"dimensions": wanted.dimensions} if wanted.sends_dimensions else {}
        return Request(
            f"{without_slash(access['base_url'])}/embeddings",
            bearer(access),
            {
                "model": wanted.model,
                "input": list(texts),
                "encoding_format": "base64",
                **dimensions,
            },
        )

    def embeddings(self, answer: Any) -> Sequence[object]:
        """By their indices: others have paired texts with wrong vectors by trusting the order."""
        items = answer["data"]
        by_index = {item["index"]: item["embedding"] for item in items}
        return [by_index[index] for index in range(len(items))]

    def tokens(self, answer: Any) -> object:
        """Of the whole request."""
        return answer["usage"]["total_tokens"]


def bearer(access: Access) -> dict[str, str]:
    """The key as most providers want it; nothing where there is none."""
    return {"authorization": f"Bearer {access['api_key']}"} if access.get("api_key") else {}

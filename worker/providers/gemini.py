"""Google's Gemini API.

API reference "Embeddings", method models.batchEmbedContents: 100 requests a batch, each with
taskType and outputDimensionality. Guide "Embeddings": 2,048 tokens a text (8,192 for
gemini-embedding-2), and only 3,072 dimensions have length 1. gemini-embedding-2 knows no taskType,
but wants it said before the text. "Troubleshooting" for statuses; google.rpc.RetryInfo has the
wait, and a key that is not valid is a bad request with the reason API_KEY_INVALID. "Pricing" for
prices. Answers of gemini-embedding-001 tell no tokens: four characters are about one ("Understand
and count tokens").
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar
from urllib.parse import quote

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
    number,
    url_variable,
    without_slash,
)

_TASKS: Mapping[Kind, str] = {
    Kind.DOCUMENT: "RETRIEVAL_DOCUMENT",
    Kind.QUERY: "RETRIEVAL_QUERY",
}
#: For the models that are told by the text itself; the guide's form for search.
_PREFIXES: Mapping[Kind, str] = {
    Kind.DOCUMENT: "title: none | text: ",
    Kind.QUERY: "task: search result | query: ",
}


class Gemini(HttpProvider):
    """Many requests of one text each, in one batch."""

    name = "gemini"
    title = "Google Gemini"
    variables: ClassVar[tuple[Variable, ...]] = (
        key_variable("GEMINI_API_KEY"),
        url_variable("https://generativelanguage.googleapis.com/v1beta"),
    )
    models: ClassVar[Mapping[str, Model]] = {
        "gemini-embedding-001": Model(3072, 2048, usd=0.15, resizes=True),
        "gemini-embedding-2": Model(3072, 8192, usd=0.20, resizes=True),
    }
    default_model: ClassVar[str | None] = "gemini-embedding-001"
    limits: ClassVar[RequestLimits] = RequestLimits(texts=100, tokens=100 * 2048, text_tokens=2048)
    is_normalised: ClassVar[bool | None] = False
    characters_a_token: ClassVar[float | None] = 4

    def request(self, access: Access, wanted: Wanted, texts: Sequence[str]) -> Request:
        """POST /models/NAME:batchEmbedContents."""
        is_told_by_text = wanted.model.startswith("gemini-embedding-2")
        prefix = _PREFIXES[wanted.kind] if is_told_by_text else ""
        more: dict[str, object] = {} if is_told_by_text else {"taskType": _TASKS[wanted.kind]}
        if wanted.sends_dimensions:
            more |= {"outputDimensionality": wanted.dimensions}
        name = f"models/{quote(wanted.model, safe='')}"
        contents = ({"parts": [{"text": prefix + text}]} for text in texts)
        return Request(
            f"{without_slash(access['base_url'])}/{name}:batchEmbedContents",
            {"x-goog-api-key": access["api_key"]},
            {"requests": [{"model": name, "content": one, **more} for one in contents]},
        )

    def embeddings(self, answer: Any) -> Sequence[object]:
        """In the order of the requests."""
        return [item["values"] for item in answer["embeddings"]]

    def tokens(self, answer: Any) -> object:
        """Where it says them."""
        return answer["usageMetadata"]["promptTokenCount"]

    def words(self, refusal: Refusal) -> set[str]:
        """The status by its name, and the reasons."""
        reasons = {str(detail.get("reason")) for detail in _details(refusal)}
        return {str(refusal.body["error"]["status"]), *reasons}

    def code(self, refusal: Refusal) -> str:
        """Keys and bills are bad requests there."""
        words = self.machine_words(refusal)
        if "API_KEY_INVALID" in words:
            return "provider_auth"
        if refusal.status == 400 and "FAILED_PRECONDITION" in words:  # billing is not set up
            return "provider_quota_exhausted"
        return super().code(refusal)

    def wait_seconds(self, refusal: Refusal) -> float | None:
        """As RetryInfo has it, `22s`."""
        delays = [str(detail.get("retryDelay")) for detail in _details(refusal)]
        said = next((number(delay.removesuffix("s")) for delay in delays if delay != "None"), None)
        return super().wait_seconds(refusal) if said is None else said


def _details(refusal: Refusal) -> Iterator[dict[str, Any]]:
    error = refusal.body.get("error") if isinstance(refusal.body, dict) else None
    details = error.get("details") if isinstance(error, dict) else None
    return (one for one in (details if isinstance(details, list) else []) if isinstance(one, dict))

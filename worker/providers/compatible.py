"""Any server that speaks OpenAI's API: TEI, vLLM, Ollama and many others.

What they say of their limits, each on a page of its own:

- TEI: `GET /info` (`Info` of its OpenAPI description): max_client_batch_size texts a request,
  max_input_length tokens a text, and none longer than max_batch_tokens.
- vLLM: `GET /v1/models` ("OpenAI-compatible server"): max_model_len tokens a text.
- Ollama: `POST /api/show` (docs/api.md): model_info, with `ARCHITECTURE.context_length`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from docmill.worker.providers.base import (
    Access,
    BulkTerms,
    Model,
    Request,
    Told,
    Variable,
    Wanted,
    key_variable,
    without_slash,
)
from docmill.worker.providers.openai import OpenAI, bearer


class Compatible(OpenAI):
    """OpenAI's form, with models and limits that only the server knows."""

    name = "compatible"
    title = "any server that speaks OpenAI's API: TEI, vLLM, Ollama"
    variables: ClassVar[tuple[Variable, ...]] = (
        Variable("base_url", "Base URL, mostly with `/v1` at its end.", is_needed=True),
        key_variable(is_needed=False),
    )
    models: ClassVar[Mapping[str, Model]] = {}
    default_model: ClassVar[str | None] = None
    is_normalised: ClassVar[bool | None] = None
    bulk: ClassVar[BulkTerms | None] = None

    def questions(self, access: Access, wanted: Wanted) -> Sequence[Request]:
        """One for each kind of server: the others answer that there is no such page."""
        base = without_slash(access["base_url"])
        root = base.removesuffix("/v1")
        headers = bearer(access)
        return (
            Request(f"{root}/info", headers),
            Request(f"{base}/models", headers),
            Request(f"{root}/api/show", headers, {"model": wanted.model}),
        )

    def told(self, answers: Sequence[Any]) -> Told:
        """The least of what they say."""
        tei, vllm, ollama = map(_dict, answers)
        models = vllm.get("data")
        lengths = [
            tei.get("max_input_length"),
            tei.get("max_batch_tokens"),
            *(model.get("max_model_len") for model in _dicts(models)),
            *(
                value
                for name, value in _dict(ollama.get("model_info")).items()
                if name.endswith(".context_length")
            ),
        ]
        return Told(
            texts=min(_counts([tei.get("max_client_batch_size")]), default=None),
            text_tokens=min(_counts(lengths), default=None),
        )


def _dict(answer: object) -> dict[str, Any]:
    return answer if isinstance(answer, dict) else {}


def _dicts(items: object) -> list[dict[str, Any]]:
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


def _counts(values: Sequence[object]) -> list[int]:
    """Those that can be a limit."""
    return [value for value in values if type(value) is int and value > 0]

"""Azure OpenAI, with a deployment's name where others name the model.

Microsoft's "Azure OpenAI in Microsoft Foundry Models REST API reference": the data plane of API
version 2024-10-21, the newest that is generally available with a date, has
`/openai/deployments/NAME/embeddings?api-version=DATE`; the v1 API has OpenAI's own paths under
`/openai/v1/` and needs no version. Limits and error codes are OpenAI's. A deployment that has the
name of its model is known by it. Batches need a deployment of another type, under another name
("Getting started with Azure OpenAI batch deployments"): they are not used.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar
from urllib.parse import quote

from docmill.worker.providers.base import (
    Access,
    BulkTerms,
    Request,
    Variable,
    Wanted,
    key_variable,
    without_slash,
)
from docmill.worker.providers.openai import OpenAI

V1 = "v1"


class Azure(OpenAI):
    """OpenAI's form under addresses of a resource."""

    name = "azure"
    title = "Azure OpenAI"
    variables: ClassVar[tuple[Variable, ...]] = (
        key_variable("AZURE_OPENAI_API_KEY"),
        Variable(
            "base_url",
            "The resource's endpoint, `https://NAME.openai.azure.com`.",
            ("AZURE_OPENAI_ENDPOINT",),
            is_needed=True,
        ),
        Variable(
            "api_version",
            "Date of its API, or `v1` for the one without dates.",
            ("AZURE_OPENAI_API_VERSION", "OPENAI_API_VERSION"),
            default="2024-10-21",
        ),
    )
    default_model: ClassVar[str | None] = None
    bulk: ClassVar[BulkTerms | None] = None

    def request(self, access: Access, wanted: Wanted, texts: Sequence[str]) -> Request:
        """The same body for a deployment, with the key in a header of its own."""
        made = super().request(access, wanted, texts)
        root = without_slash(access["base_url"]) + "/openai"
        version = access["api_version"]
        url = (
            f"{root}/v1/embeddings"
            if version == V1
            else f"{root}/deployments/{quote(wanted.model, safe='')}/embeddings"
            f"?api-version={quote(version, safe='')}"
        )
        return replace(made, url=url, headers={"api-key": access["api_key"]})

"""All providers. A new one is a file beside this one, and an entry here."""

from collections.abc import Mapping
from typing import Final

from docmill.worker.providers.azure import Azure
from docmill.worker.providers.base import HttpProvider, LocalProvider, Provider
from docmill.worker.providers.cohere import Cohere
from docmill.worker.providers.compatible import Compatible
from docmill.worker.providers.e5 import E5
from docmill.worker.providers.gemini import Gemini
from docmill.worker.providers.local import Local
from docmill.worker.providers.openai import OpenAI
from docmill.worker.providers.voyage import Voyage

#: By name, as index versions have it.
PROVIDERS: Final[Mapping[str, Provider]] = {
    provider.name: provider
    for provider in (
        OpenAI(),
        Azure(),
        Compatible(),
        Voyage(),
        Cohere(),
        Gemini(),
        Local(),
        E5(),
    )
}


HTTP_PROVIDERS: Final[Mapping[str, HttpProvider]] = {
    name: provider for name, provider in PROVIDERS.items() if isinstance(provider, HttpProvider)
}


def is_of_this_machine(name: str) -> bool:
    """Whether a provider is a model that runs here: it has no limits, and costs nothing."""
    return isinstance(PROVIDERS.get(name), LocalProvider)

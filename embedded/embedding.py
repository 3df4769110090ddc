"""The embedder of the embedded stack: the local model, or the provider that the shell names."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from docmill.embedded.stack import LOCAL_EMBEDDING
from docmill.worker.errors import SettingsError
from docmill.worker.models import IndexSettings
from docmill.worker.processes.connections import first_index
from docmill.worker.providers.registry import PROVIDERS
from docmill.worker.settings.environment import is_secret, load_settings, variables_read
from docmill.worker.settings.parts import (
    DocumentSettings,
    EmbedderSettings,
    ProviderSettings,
    variables_of,
)

_CHOICE: Final = "DOCMILL_EMBEDDER"


@dataclass(frozen=True)
class Embedding:
    """The settings of the embedder. Keys are left out of the repr."""

    settings: EmbedderSettings = field(repr=False)
    plain: Mapping[str, str]  #: variables without keys, for commands on the stack
    secrets: Mapping[str, str] = field(repr=False)  #: variables with keys, for its workers
    is_chosen: bool = False  #: the user has named the provider

    @property
    def index(self) -> IndexSettings:
        """Settings for the first index version. Raises SettingsError."""
        chunk_tokens = load_settings(DocumentSettings).chunk_tokens
        return first_index(self.settings, chunk_tokens=chunk_tokens)

    def check(self, provider: str) -> None:
        """Raise SettingsError if these settings do not fit the provider of the index."""
        if self.is_chosen and self.settings.embedder != provider:
            raise SettingsError(
                f"{_CHOICE} is {self.settings.embedder}, but the documents of this folder are "
                f"embedded by {provider}: unset it, change that with docmill reindex start, or "
                "name another folder in DOCMILL_HOME"
            )
        try:
            self.settings.require_provider(provider)
        except SettingsError as error:
            raise SettingsError(
                f"the documents of this folder are embedded by {provider}: {error}; or name "
                "another folder in DOCMILL_HOME"
            ) from None


def chosen_embedding() -> Embedding:
    """The embedder that the environment chooses: the local model, if it names no provider.

    Keys of providers are kept in both cases, because an index version may name another provider.
    Raises SettingsError.
    """
    settings = load_settings(EmbedderSettings)
    said = {
        name: os.environ[name] for name in variables_read(EmbedderSettings) if os.environ.get(name)
    }
    keys = {name: value for name, value in said.items() if name in _secret_variables()}
    if _CHOICE not in said:
        addresses = said.keys() & variables_read(ProviderSettings) - keys.keys()
        plain = {name: said[name] for name in addresses}
        return Embedding(_with_local_model(settings), {**plain, **LOCAL_EMBEDDING}, keys)
    settings.require_provider(settings.embedder)
    plain = {name: value for name, value in said.items() if name not in keys}
    if settings.embedder not in PROVIDERS:  # a user-defined name, which needs its definition
        del plain[_CHOICE]
    return Embedding(settings, plain, keys, is_chosen=True)


def _secret_variables() -> set[str]:
    return {
        variable
        for name in EmbedderSettings.model_fields
        if is_secret(name)
        for variable in variables_of(EmbedderSettings, name)
    }


def _with_local_model(settings: EmbedderSettings) -> EmbedderSettings:
    """Keep the providers, but choose the local model, whatever model the shell names for others."""
    model = PROVIDERS["local"].default_model
    return settings.model_copy(
        update={"embedder": "local", "embedding_model": model, "embedding_dimensions": 0}
    )


#: For use without any variable of the shell.
LOCAL: Final = Embedding(_with_local_model(EmbedderSettings.model_construct()), LOCAL_EMBEDDING, {})

"""The settings of the process, passed to it in an environment variable."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Self

from pydantic import SecretStr, TypeAdapter, ValidationError

from docmill.embedded.auth import AuthSettings
from docmill.embedded.functions import OwnFunction
from docmill.embedded.keys import ApiKeys
from docmill.embedded.rest import RestSettings
from docmill.embedded.storage import StorageSettings
from docmill.worker.asking import NO_SERVERS, AskingServers
from docmill.worker.errors import SettingsError
from docmill.worker.settings.parts import EmbedderSettings, ProviderSettings

#: The prefix is not DOCMILL_: workers refuse unknown variables with that prefix.
VARIABLE: Final = "EMBEDDED_API_SETTINGS"


@dataclass(frozen=True)
class EmbeddingKeys:
    """How to reach the providers of embeddings: the fields of EmbedderSettings that tell it."""

    by_name: Mapping[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, settings: EmbedderSettings) -> Self:
        """Take them from the settings of this process."""
        found = {name: getattr(settings, name) for name in ProviderSettings.model_fields}
        return cls(
            {
                name: value.get_secret_value() if isinstance(value, SecretStr) else value
                for name, value in found.items()
                if value is not None
            }
        )

    def settings(self) -> EmbedderSettings:
        """The settings to build embedders from."""
        return EmbedderSettings.model_validate(self.by_name)


@dataclass(frozen=True)
class ApiSettings:
    """Frozen settings of the process and of its parts. Secrets stay out of its repr."""

    keys: ApiKeys
    storage: StorageSettings
    rest: RestSettings
    auth: AuthSettings
    asking: AskingServers = NO_SERVERS
    embedding: EmbeddingKeys = EmbeddingKeys()
    own_functions: tuple[OwnFunction, ...] = ()
    console_bucket: str = "documents"
    console_hint: str = ""  #: a text on the console page below the sign-in form
    host: str = "127.0.0.1"
    port: int = 54321

    @property
    def url(self) -> str:
        """The address that clients have as SUPABASE_URL."""
        return f"http://{self.host}:{self.port}"

    def environ(self) -> dict[str, str]:
        """The variable that `from_environ` reads.

        A command line would show the secrets to everyone.
        """
        return {VARIABLE: TypeAdapter(ApiSettings).dump_json(self).decode()}

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """Read the variable. Raises SettingsError naming what is missing or bad, never a value."""
        if VARIABLE not in environ:
            raise SettingsError(f"set {VARIABLE}: the embedded stack does")
        try:
            return TypeAdapter(cls).validate_json(environ[VARIABLE])
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            place = ".".join(str(part) for part in first["loc"])
            raise SettingsError(f"{VARIABLE}: {place}: {first['msg']}") from None

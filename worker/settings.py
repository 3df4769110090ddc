"""Everything that is read from the environment, built once and passed down."""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    AliasChoices,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from worker.errors import SettingsError

PREFIX = "DOCMILL_"
MIB = 1024 * 1024


def _named(*names: str) -> AliasChoices:
    return AliasChoices(*names)


class Settings(BaseSettings):
    """All settings. Each is `DOCMILL_` plus its name in capitals; standard names are fallbacks.

    Frozen. Build it with `load_settings`, which turns bad values into a SettingsError that names
    the variable.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, populate_by_name=True)

    # -- connections
    database_url: SecretStr | None = Field(
        default=None, validation_alias=_named("DOCMILL_DATABASE_URL", "DATABASE_URL")
    )
    admin_database_url: SecretStr | None = Field(
        default=None, validation_alias=_named("DOCMILL_ADMIN_DATABASE_URL")
    )
    redis_url: SecretStr | None = Field(
        default=None, validation_alias=_named("DOCMILL_REDIS_URL", "REDIS_URL")
    )
    supabase_url: str | None = Field(
        default=None, validation_alias=_named("DOCMILL_SUPABASE_URL", "SUPABASE_URL")
    )
    supabase_secret_key: SecretStr | None = Field(
        default=None,
        validation_alias=_named(
            "DOCMILL_SUPABASE_SECRET_KEY", "SUPABASE_SECRET_KEY", "SUPABASE_SERVICE_ROLE_KEY"
        ),
    )
    database_connections: int = Field(default=8, ge=2, le=200)

    # -- webhook
    webhook_host: str = "127.0.0.1"
    webhook_port: int = Field(default=8787, ge=1, le=65535)
    #: Value of the x-webhook-secret header of a Database Webhook.
    webhook_secret: SecretStr | None = Field(default=None)
    #: Standard-Webhooks secrets (`whsec_...`), comma-separated; more than one while rotating.
    webhook_signing_secrets: Annotated[tuple[SecretStr, ...], NoDecode] = ()

    # -- embedding
    embedder: Literal["local", "openai"] = "openai"
    embedding_model: str = Field(default="", max_length=200)
    embedding_dimensions: int = Field(default=0, ge=0, le=4000)
    openai_api_key: SecretStr | None = Field(
        default=None, validation_alias=_named("DOCMILL_OPENAI_API_KEY", "OPENAI_API_KEY")
    )
    openai_base_url: str | None = Field(
        default=None, validation_alias=_named("DOCMILL_OPENAI_BASE_URL", "OPENAI_BASE_URL")
    )
    embedding_batch_size: int = Field(default=256, ge=1, le=2048)
    embedding_batch_tokens: int = Field(default=100_000, ge=8192, le=300_000)
    embedding_requests: int = Field(default=4, ge=1, le=64)
    embedding_timeout_seconds: float = Field(default=60, ge=1, le=600)
    embedding_usd_per_million_tokens: float = Field(default=0, ge=0)

    # -- documents
    chunk_tokens: int = Field(default=400, ge=32, le=6000)
    max_document_bytes: int = Field(default=100 * MIB, ge=1)
    max_document_characters: int = Field(default=50_000_000, ge=1000)
    max_chunks: int = Field(default=20_000, ge=1)

    # -- extraction
    extraction_children: int = Field(default_factory=lambda: os.cpu_count() or 1, ge=1, le=256)
    parse_timeout_seconds: float = Field(default=300, ge=1, le=7200)
    parse_memory_bytes: int = Field(default=2048 * MIB, ge=256 * MIB)
    spool_dir: Path = Field(default_factory=lambda: Path(tempfile.gettempdir()))
    spool_bytes: int = Field(default=2048 * MIB, ge=1)

    # -- worker
    slots: int = Field(default=256, ge=1, le=1000)
    lease_seconds: float = Field(default=60, ge=0.2, le=3600)
    drain_seconds: float = Field(default=30, ge=0.1, le=3600)
    resend_seconds: float = Field(default=30, ge=0.2, le=3600)
    retry_base_seconds: float = Field(default=5, ge=0.01, le=600)
    retry_max_seconds: float = Field(default=600, ge=0.01, le=86_400)

    # -- schedule
    dispatch_seconds: float = Field(default=5, ge=0.2, le=300)
    rescue_seconds: float = Field(default=10, ge=0.2, le=300)
    reconcile_seconds: float = Field(default=300, ge=1, le=86_400)
    keep_jobs_days: int = Field(default=30, ge=1, le=3650)
    keep_staged_days: int = Field(default=7, ge=1, le=365)

    # -- log
    log_format: Literal["json", "console"] = "json"
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @field_validator("webhook_signing_secrets", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("webhook_signing_secrets")
    @classmethod
    def _whsec(cls, value: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        if not all(secret.get_secret_value().startswith("whsec_") for secret in value):
            raise ValueError("each secret starts with whsec_ (base64 after it)")
        return value

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.retry_max_seconds < self.retry_base_seconds:
            raise ValueError(
                "DOCMILL_RETRY_MAX_SECONDS must not be below DOCMILL_RETRY_BASE_SECONDS"
            )
        if self.spool_bytes < self.max_document_bytes:
            raise ValueError(
                "DOCMILL_SPOOL_BYTES must hold a document of DOCMILL_MAX_DOCUMENT_BYTES"
            )
        return self

    @property
    def model(self) -> str:
        """Name of the embedding model, the embedder's default when none is set."""
        return self.embedding_model or _DEFAULT_MODELS[self.embedder][0]

    @property
    def dimensions(self) -> int:
        """Width of the embeddings, the default model's when none is set."""
        default_model, default_dimensions = _DEFAULT_MODELS[self.embedder]
        if self.embedding_dimensions:
            return self.embedding_dimensions
        if self.model == default_model:
            return default_dimensions
        raise SettingsError(
            f"set DOCMILL_EMBEDDING_DIMENSIONS: the width of {self.model}'s embeddings is unknown"
        )

    @property
    def heartbeat_seconds(self) -> float:
        """Time between two renewals: three of them may fail before a lease ends."""
        return self.lease_seconds / 4

    def require(self, name: str) -> str:
        """The value of a connection setting. Raises SettingsError naming it when it is not set."""
        value = getattr(self, name)
        if value is None:
            raise SettingsError(f"set {_variable(name)}")
        return value.get_secret_value() if isinstance(value, SecretStr) else str(value)


#: Model and width. The width of text-embedding-3-small is its documented default.
_DEFAULT_MODELS: dict[str, tuple[str, int]] = {
    "local": ("wordllama-l2-supercat-256", 256),
    "openai": ("text-embedding-3-small", 1536),
}


def _variable(field_name: str) -> str:
    field = Settings.model_fields[field_name]
    if isinstance(field.validation_alias, AliasChoices):
        return " or ".join(
            str(choice) for choice in field.validation_alias.choices if isinstance(choice, str)
        )
    return PREFIX + field_name.upper()


def _known_variables() -> set[str]:
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    # Where the embedded mode keeps its data; read by the command line, not by workers.
    return known | {"DOCMILL_HOME"}


def load_settings() -> Settings:
    """Read the environment. Raises SettingsError naming each bad variable and what is expected."""
    unknown = {name for name in os.environ if name.startswith(PREFIX)} - _known_variables()
    if unknown:
        raise SettingsError(
            f"unknown setting {', '.join(sorted(unknown))}: correct the name or unset it"
        )
    try:
        return Settings()
    except ValidationError as error:
        raise SettingsError("; ".join(_explain(item) for item in error.errors())) from None


def _explain(item: Mapping[str, object]) -> str:
    location = item["loc"]
    message = str(item["msg"]).removeprefix("Value error, ")
    if not isinstance(location, tuple) or not location:
        return message
    name = str(location[0])
    variable = name if name.isupper() else _variable(name)
    return f"{variable}: {message}"

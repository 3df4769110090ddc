"""The settings by what they are about: each part is read by those that need it."""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    AfterValidator,
    AliasChoices,
    Field,
    SecretStr,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from docmill.worker.errors import SettingsError

PREFIX = "DOCMILL_"
MIB = 1024 * 1024


def _setting(description: str, default: Any = ..., *, names: Sequence[str] = (), **how: Any) -> Any:
    """A field: what it means, its default and bounds; `names` where a standard name counts too."""
    if default is not ...:
        how["default"] = default
    if names:
        how["validation_alias"] = AliasChoices(*names)
    return Field(description=description, **how)


def _begins_with(*schemes: str) -> AfterValidator:
    """A URL begins with one of these."""

    def check(value: Any) -> Any:
        url = value.get_secret_value() if isinstance(value, SecretStr) else value
        if url is not None and not url.startswith(schemes):
            raise ValueError(f"it begins with {' or '.join(schemes)}")
        return value

    return AfterValidator(check)


PostgresUrl = Annotated[SecretStr | None, _begins_with("postgresql://", "postgres://")]
RedisUrl = Annotated[SecretStr | None, _begins_with("redis://", "rediss://")]
HttpUrl = Annotated[str | None, _begins_with("https://", "http://")]


class SettingsPart(BaseSettings):
    """Settings that belong together. Each is `DOCMILL_` plus its name in capitals.

    Frozen. The descriptions make docs/settings.md, .env.example and `docmill config`.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        frozen=True,
        populate_by_name=True,
        # What passes variables on may pass them on empty, as Compose does: that is not a value.
        env_ignore_empty=True,
    )

    #: Heading under which docs list the part.
    section: ClassVar[str]

    def require(self, name: str) -> str:
        """The value of a connection setting. Raises SettingsError naming it when it is not set."""
        value = getattr(self, name)
        if value is None:
            field = type(self).model_fields[name]
            meaning = (field.description or "").split(". ")[0].rstrip(".")
            raise SettingsError(f"set {' or '.join(variables_of(type(self), name))}: {meaning}")
        return value.get_secret_value() if isinstance(value, SecretStr) else str(value)


def variables_of(settings: type[SettingsPart], name: str) -> tuple[str, ...]:
    """The environment variables that a field is read from, its own first."""
    alias = settings.model_fields[name].validation_alias
    if isinstance(alias, AliasChoices):
        return tuple(choice for choice in alias.choices if isinstance(choice, str))
    return (PREFIX + name.upper(),)


#: Model and width. The width of text-embedding-3-small is its documented default.
_DEFAULT_MODELS: dict[str, tuple[str, int]] = {
    "local": ("wordllama-l2-supercat-256", 256),
    "openai": ("text-embedding-3-small", 1536),
}


class DatabaseSettings(SettingsPart):
    """The database, as the role docmill_worker."""

    section = "connections"

    database_url: PostgresUrl = _setting(
        "Connection string of the role docmill_worker. A transaction pooler will do.",
        None,
        names=("DOCMILL_DATABASE_URL", "DATABASE_URL"),
    )
    database_connections: int = _setting(
        "Connections that a worker or webhook holds at most, beside one for its heartbeat.",
        8,
        ge=2,
        le=200,
    )


class AdminSettings(SettingsPart):
    """The database, as the owner of the schema. No process that stays has it."""

    section = "connections"

    admin_database_url: PostgresUrl = _setting(
        "Connection string of the project's `postgres`, direct or in session mode. For `schema`, "
        "`sources` and what operators read; workers do not need it.",
        None,
    )


class RedisSettings(SettingsPart):
    """Where messages go through."""

    section = "connections"

    redis_url: RedisUrl = _setting(
        "Redis 6.2 or newer, with `maxmemory-policy noeviction`.",
        None,
        names=("DOCMILL_REDIS_URL", "REDIS_URL"),
    )


class StorageSettings(SettingsPart):
    """The project whose Storage files are downloaded from."""

    section = "connections"

    supabase_url: HttpUrl = _setting(
        "URL of the project, `https://REF.supabase.co`.",
        None,
        names=("DOCMILL_SUPABASE_URL", "SUPABASE_URL"),
    )
    supabase_secret_key: SecretStr | None = _setting(
        "Secret key (`sb_secret_...`, or the old service_role key). Used to download files.",
        None,
        names=(
            "DOCMILL_SUPABASE_SECRET_KEY",
            "SUPABASE_SECRET_KEY",
            "SUPABASE_SERVICE_ROLE_KEY",
        ),
    )


class ReceiverSettings(SettingsPart):
    """Where events are received, and what proves them."""

    section = "webhook"

    webhook_host: str = _setting("Address that `docmill webhook` listens on.", "127.0.0.1")
    webhook_port: int = _setting("Its port.", 8787, ge=1, le=65535)
    webhook_secret: SecretStr | None = _setting(
        "Value of the header x-webhook-secret of a stock Database Webhook.", None
    )
    webhook_signing_secrets: Annotated[tuple[SecretStr, ...], NoDecode] = _setting(
        "Standard-Webhooks secrets (`whsec_...`), comma-separated: several while rotating.", ()
    )

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


class DashboardSettings(SettingsPart):
    """Where Flower is served, and to whom."""

    section = "Flower"

    flower_host: str = _setting(
        "Address that `docmill flower` listens on. Another than loopback needs a login.",
        "127.0.0.1",
    )
    flower_port: int = _setting("Its port.", 5555, ge=1, le=65535)
    flower_user: str | None = _setting("User of the login that Flower asks for.", None)
    flower_password: SecretStr | None = _setting("Password of that login.", None)


class EmbedderSettings(SettingsPart):
    """The model and its provider."""

    section = "embedding"

    embedder: Literal["local", "openai"] = _setting(
        "`openai` for OpenAI or anything that speaks its API, `local` for the model that comes "
        "with the extra `local`.",
        "openai",
    )
    embedding_model: str = _setting(
        "Name of the model; text-embedding-3-small when empty.", "", max_length=200
    )
    embedding_dimensions: int = _setting(
        "Width of its embeddings; 0 for the default of the default model.", 0, ge=0, le=4000
    )
    openai_api_key: SecretStr | None = _setting(
        "Key of the provider.", None, names=("DOCMILL_OPENAI_API_KEY", "OPENAI_API_KEY")
    )
    openai_base_url: str | None = _setting(
        "Base URL of another provider that speaks OpenAI's API.",
        None,
        names=("DOCMILL_OPENAI_BASE_URL", "OPENAI_BASE_URL"),
    )
    embedding_batch_size: int = _setting("Texts of one request at most.", 256, ge=1, le=2048)
    embedding_batch_tokens: int = _setting(
        "Tokens of one request at most.", 100_000, ge=8192, le=300_000
    )
    embedding_requests: int = _setting("Requests in flight of one worker.", 4, ge=1, le=64)
    embedding_timeout_seconds: float = _setting("Time that a request may take.", 60, ge=1, le=600)
    embedding_usd_per_million_tokens: float = _setting(
        "Price, for cost_usd on jobs and usage.", 0, ge=0
    )

    @property
    def model(self) -> str:
        """Name of the embedding model, the embedder's default when none is set."""
        return self.embedding_model or _DEFAULT_MODELS[self.embedder][0]

    @property
    def dimensions(self) -> int:
        """Width of the embeddings, the default model's when none is set."""
        if self.embedding_dimensions:
            return self.embedding_dimensions
        default_model, default_dimensions = _DEFAULT_MODELS[self.embedder]
        if self.model == default_model:
            return default_dimensions
        raise SettingsError(
            f"set DOCMILL_EMBEDDING_DIMENSIONS: the width of {self.model}'s embeddings is unknown"
        )

    def misfit(self, model: str, dimensions: int) -> str | None:
        """Why these settings do not fit an index for this model; None when they do."""
        if (model, dimensions) == (self.model, self.dimensions):
            return None
        return (
            f"the index is made for {model} with {dimensions} dimensions, the settings "
            f"say {self.model} with {self.dimensions}: set DOCMILL_EMBEDDER, "
            "DOCMILL_EMBEDDING_MODEL and DOCMILL_EMBEDDING_DIMENSIONS to match"
        )


class DocumentSettings(SettingsPart):
    """What a document may be, and how it is cut."""

    section = "documents"

    chunk_tokens: int = _setting(
        "Size of a chunk in tokens of the model. Fixed by the first `schema apply`.",
        400,
        ge=32,
        le=6000,
    )
    max_document_bytes: int = _setting("Larger files are refused.", 100 * MIB, ge=1)
    max_chunks: int = _setting("Documents with more chunks are refused.", 20_000, ge=1)


class ExtractionSettings(SettingsPart):
    """What reading documents may take."""

    section = "extraction"

    extraction_children: int = _setting(
        "Processes in which a worker reads documents, or windows of them, at the same time; the "
        "number of cores by default.",
        default_factory=lambda: os.cpu_count() or 1,
        ge=1,
        le=256,
    )
    max_document_characters: int = _setting(
        "Documents with more text are refused.", 50_000_000, ge=1000
    )
    parse_timeout_seconds: float = _setting(
        "Time that reading one document may take, all its windows together.", 300, ge=1, le=7200
    )
    ocr_timeout_seconds: float = _setting(
        "Time that recognising the text of one scanned document may take; for each page, a minute "
        "of it. Needs the extra ocr.",
        1800,
        ge=1,
        le=86_400,
    )
    parse_memory_bytes: int = _setting(
        "Memory that reading one window of a document may take.", 2048 * MIB, ge=256 * MIB
    )
    spool_dir: Path = _setting(
        "Folder for downloads while they are read; needs O_TMPFILE, as tmpfs, ext4 and xfs have.",
        default_factory=lambda: Path(tempfile.gettempdir()),
    )
    spool_bytes: int = _setting("What may lie there at once.", 2048 * MIB, ge=1)


class RunSettings(SettingsPart):
    """How jobs run, wait and stop."""

    section = "worker"

    slots: int = _setting(
        "Jobs that a worker runs at once. Mostly they wait for the network: many, so that "
        "requests for embeddings are full.",
        256,
        ge=1,
        le=1000,
    )
    lease_seconds: float = _setting(
        "A worker that renews no lease for so long loses its jobs to others.", 60, ge=0.2, le=3600
    )
    drain_seconds: float = _setting(
        "Time that a worker has to stop after SIGTERM. Below the grace period of whatever stops "
        "it.",
        30,
        ge=0.1,
        le=3600,
    )
    retry_base_seconds: float = _setting("Pause before the first retry.", 5, ge=0.01, le=600)
    retry_max_seconds: float = _setting(
        "Longest pause; it doubles until then.", 600, ge=0.01, le=86_400
    )
    starved_seconds: float = _setting(
        "A worker that took no hint for so long while hints waited ends with exit code 76, to be "
        "started anew. Longer than `DOCMILL_RESEND_SECONDS`.",
        120,
        ge=1,
        le=3600,
    )

    @model_validator(mode="after")
    def _retry_grows(self) -> Self:
        if self.retry_max_seconds < self.retry_base_seconds:
            raise ValueError(
                "DOCMILL_RETRY_MAX_SECONDS must not be below DOCMILL_RETRY_BASE_SECONDS"
            )
        return self


class HintSettings(SettingsPart):
    """When a hint counts as lost."""

    section = "worker"

    resend_seconds: float = _setting(
        "A hint that no worker took for so long is sent again.", 30, ge=0.2, le=3600
    )


class HealthSettings(SettingsPart):
    """What health checks look at."""

    section = "worker"

    heartbeat_file: Path | None = _setting(
        "File that worker and beat touch while they do their work, for health checks.", None
    )


class ScheduleSettings(SettingsPart):
    """How often beat asks for what."""

    section = "schedule"

    dispatch_seconds: float = _setting(
        "How often beat settles what triggers left and sends hints.", 5, ge=0.2, le=300
    )
    rescue_seconds: float = _setting(
        "How often it takes back the jobs of vanished workers.", 10, ge=0.2, le=300
    )
    reconcile_seconds: float = _setting(
        "How often it compares the newest files with documents; all of them daily.",
        300,
        ge=1,
        le=86_400,
    )


class RetentionSettings(SettingsPart):
    """How long rows are kept."""

    section = "schedule"

    keep_jobs_days: int = _setting("Finished jobs are kept for so long.", 30, ge=1, le=3650)
    keep_staged_days: int = _setting(
        "Embeddings that no job took up are kept for so long.", 7, ge=1, le=365
    )


class LogSettings(SettingsPart):
    """What is logged."""

    section = "log"

    log_format: Literal["json", "console"] = _setting("Form of log lines on stderr.", "json")
    log_level: Literal["debug", "info", "warning", "error"] = _setting(
        "The least that is logged.", "info"
    )

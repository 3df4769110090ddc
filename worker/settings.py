"""Everything that is read from the environment, built once and passed down."""

import os
import tempfile
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AliasChoices,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
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


class Settings(BaseSettings):
    """All settings. Each is `DOCMILL_` plus its name in capitals; standard names are fallbacks.

    Frozen. Build it with `load_settings`, which turns bad values into a SettingsError that names
    the variable. The descriptions make docs/settings.md, .env.example and `docmill config`.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        frozen=True,
        populate_by_name=True,
        # What passes variables on may pass them on empty, as Compose does: that is not a value.
        env_ignore_empty=True,
    )

    # -- connections
    database_url: SecretStr | None = _setting(
        "Connection string of the role docmill_worker. A transaction pooler will do.",
        None,
        names=("DOCMILL_DATABASE_URL", "DATABASE_URL"),
    )
    admin_database_url: SecretStr | None = _setting(
        "Connection string of the project's `postgres`, direct or in session mode. For `schema`, "
        "`sources` and what operators read; workers do not need it.",
        None,
    )
    redis_url: SecretStr | None = _setting(
        "Redis 6.2 or newer, with `maxmemory-policy noeviction`.",
        None,
        names=("DOCMILL_REDIS_URL", "REDIS_URL"),
    )
    supabase_url: str | None = _setting(
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
    database_connections: int = _setting(
        "Connections that a worker or webhook holds at most, beside one for its heartbeat.",
        8,
        ge=2,
        le=200,
    )

    # -- webhook
    webhook_host: str = _setting("Address that `docmill webhook` listens on.", "127.0.0.1")
    webhook_port: int = _setting("Its port.", 8787, ge=1, le=65535)
    webhook_secret: SecretStr | None = _setting(
        "Value of the header x-webhook-secret of a stock Database Webhook.", None
    )
    webhook_signing_secrets: Annotated[tuple[SecretStr, ...], NoDecode] = _setting(
        "Standard-Webhooks secrets (`whsec_...`), comma-separated: several while rotating.", ()
    )

    # -- Flower
    flower_host: str = _setting(
        "Address that `docmill flower` listens on. Another than loopback needs a login.",
        "127.0.0.1",
    )
    flower_port: int = _setting("Its port.", 5555, ge=1, le=65535)
    flower_user: str | None = _setting("User of the login that Flower asks for.", None)
    flower_password: SecretStr | None = _setting("Password of that login.", None)

    # -- embedding
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

    # -- documents
    chunk_tokens: int = _setting(
        "Size of a chunk in tokens of the model. Fixed by the first `schema apply`.",
        400,
        ge=32,
        le=6000,
    )
    max_document_bytes: int = _setting("Larger files are refused.", 100 * MIB, ge=1)
    max_document_characters: int = _setting(
        "Documents with more text are refused.", 50_000_000, ge=1000
    )
    max_chunks: int = _setting("Documents with more chunks are refused.", 20_000, ge=1)

    # -- extraction
    extraction_children: int = _setting(
        "Processes in which a worker reads documents, or windows of them, at the same time; the "
        "number of cores by default.",
        default_factory=lambda: os.cpu_count() or 1,
        ge=1,
        le=256,
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

    # -- worker
    slots: int = _setting(
        "Jobs that a worker runs at once. Mostly they wait for the network: many, so that "
        "requests for embeddings are full.",
        256,
        ge=1,
        le=1000,
    )
    lease_seconds: float = _setting(
        "A worker that has not been heard of for so long is taken for dead.", 60, ge=0.2, le=3600
    )
    drain_seconds: float = _setting(
        "Time that a worker has to stop after SIGTERM. Below the grace period of whatever stops "
        "it.",
        30,
        ge=0.1,
        le=3600,
    )
    resend_seconds: float = _setting(
        "A hint that no worker took for so long is sent again.", 30, ge=0.2, le=3600
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
    heartbeat_file: Path | None = _setting(
        "File that worker and beat touch while they do their work, for health checks.", None
    )

    # -- schedule
    dispatch_seconds: float = _setting(
        "How often beat settles what triggers left and sends hints.", 5, ge=0.2, le=300
    )
    rescue_seconds: float = _setting(
        "How often it takes back the jobs of dead workers.", 10, ge=0.2, le=300
    )
    reconcile_seconds: float = _setting(
        "How often it compares the newest files with documents; all of them daily.",
        300,
        ge=1,
        le=86_400,
    )
    keep_jobs_days: int = _setting("Finished jobs are kept for so long.", 30, ge=1, le=3650)
    keep_staged_days: int = _setting(
        "Embeddings that no job took up are kept for so long.", 7, ge=1, le=365
    )

    # -- log
    log_format: Literal["json", "console"] = _setting("Form of log lines on stderr.", "json")
    log_level: Literal["debug", "info", "warning", "error"] = _setting(
        "The least that is logged.", "info"
    )

    @field_validator("database_url", "admin_database_url", "redis_url", "supabase_url")
    @classmethod
    def _url(cls, value: Any, info: ValidationInfo) -> Any:
        url = value.get_secret_value() if isinstance(value, SecretStr) else value
        schemes = _SCHEMES[str(info.field_name)]
        if url is not None and not url.startswith(schemes):
            raise ValueError(f"it begins with {' or '.join(schemes)}")
        return value

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

    def misfit(self, model: str, dimensions: int) -> str | None:
        """Why these settings do not fit an index for this model; None when they do."""
        if (model, dimensions) == (self.model, self.dimensions):
            return None
        return (
            f"the index is made for {model} with {dimensions} dimensions, the settings "
            f"say {self.model} with {self.dimensions}: set DOCMILL_EMBEDDER, "
            "DOCMILL_EMBEDDING_MODEL and DOCMILL_EMBEDDING_DIMENSIONS to match"
        )

    @property
    def heartbeat_seconds(self) -> float:
        """Time between two renewals: three of them may fail before a lease ends."""
        return self.lease_seconds / 4

    def require(self, name: str) -> str:
        """The value of a connection setting. Raises SettingsError naming it when it is not set."""
        value = getattr(self, name)
        if value is None:
            meaning = (Settings.model_fields[name].description or "").split(". ")[0].rstrip(".")
            raise SettingsError(f"set {' or '.join(variables_of(name))}: {meaning}")
        return value.get_secret_value() if isinstance(value, SecretStr) else str(value)


#: How the URLs begin.
_SCHEMES: dict[str, tuple[str, ...]] = {
    "database_url": ("postgresql://", "postgres://"),
    "admin_database_url": ("postgresql://", "postgres://"),
    "redis_url": ("redis://", "rediss://"),
    "supabase_url": ("https://", "http://"),
}

#: Model and width. The width of text-embedding-3-small is its documented default.
_DEFAULT_MODELS: dict[str, tuple[str, int]] = {
    "local": ("wordllama-l2-supercat-256", 256),
    "openai": ("text-embedding-3-small", 1536),
}


def variables_of(field_name: str) -> tuple[str, ...]:
    """The environment variables that a field is read from, its own first."""
    alias = Settings.model_fields[field_name].validation_alias
    if isinstance(alias, AliasChoices):
        return tuple(choice for choice in alias.choices if isinstance(choice, str))
    return (PREFIX + field_name.upper(),)


def _known_variables() -> set[str]:
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    # Where the embedded mode keeps its data; read by the command line, not by workers.
    return known | {"DOCMILL_HOME"}


def load_settings() -> Settings:
    """Read the environment. Raises SettingsError naming each bad variable and what is expected."""
    known = _known_variables()
    unknown = sorted(name for name in os.environ if name.startswith(PREFIX) and name not in known)
    if unknown:
        raise SettingsError("; ".join(_explain_unknown(name, known) for name in unknown))
    try:
        return Settings()
    except ValidationError as error:
        raise SettingsError("; ".join(_explain(item) for item in error.errors())) from None


def _explain_unknown(name: str, known: set[str]) -> str:
    close = get_close_matches(name, known, n=1)
    return f"unknown setting {name}: " + (f"use {close[0]}, or unset it" if close else "unset it")


def _explain(item: Mapping[str, object]) -> str:
    location = item["loc"]
    message = str(item["msg"]).removeprefix("Value error, ")
    if not isinstance(location, tuple) or not location:
        return message
    name = str(location[0])
    field = next(f for f in Settings.model_fields if name in (f, *variables_of(f)))
    variables = variables_of(field)
    variable = next((v for v in variables if v in os.environ), variables[0])
    given = "" if is_secret(field) else f" is {item['input']!r}"
    return f"{variable}{given}: {message}"


def is_secret(field_name: str) -> bool:
    """Whether the value of a field must not be shown."""
    return "SecretStr" in str(Settings.model_fields[field_name].annotation)

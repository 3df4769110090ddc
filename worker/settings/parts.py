"""The settings by what they are about: each part is read by those that need it."""

import json
import os
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    AliasChoices,
    BeforeValidator,
    Field,
    SecretStr,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from docmill.worker.errors import ERROR_CODES, ErrorKind, SettingsError
from docmill.worker.memory import total_bytes

PREFIX = "DOCMILL_"
MIB = 1024 * 1024
GIB = 1024 * MIB


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


def _read_cron(text: str) -> str:
    """A cron expression, one space between its fields."""
    # Late: Celery takes a second to import, and a setting that nobody sets is not read.
    from docmill.worker.cron import read_cron

    return read_cron(text).expression


CronExpression = Annotated[str, AfterValidator(_read_cron)]


def _is_time_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError("it is no time zone: write a name as Europe/Berlin, or UTC") from None
    return name


def _codes_of(value: object) -> object:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _are_error_codes(codes: tuple[str, ...]) -> tuple[str, ...]:
    for code in codes:
        if code not in ERROR_CODES:
            raise ValueError(f"{code!r} is no error code: docs/errors.md lists them")
    return codes


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
DEFAULT_MODELS: dict[str, tuple[str, int]] = {
    "local": ("wordllama-l2-supercat-256", 256),
    "openai": ("text-embedding-3-small", 1536),
}

#: A queue is named after each provider.
PROVIDER_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,30}")


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


class ProjectSettings(SettingsPart):
    """The Supabase project."""

    section = "connections"

    supabase_url: HttpUrl = _setting(
        "URL of the project, `https://REF.supabase.co`.",
        None,
        names=("DOCMILL_SUPABASE_URL", "SUPABASE_URL"),
    )


class StorageSettings(SettingsPart):
    """How Storage's files are downloaded."""

    section = "connections"

    supabase_secret_key: SecretStr | None = _setting(
        "Secret key (`sb_secret_...`, or the old service_role key). Used to download files.",
        None,
        names=(
            "DOCMILL_SUPABASE_SECRET_KEY",
            "SUPABASE_SECRET_KEY",
            "SUPABASE_SERVICE_ROLE_KEY",
        ),
    )


#: What .env.example has in its place. The receiver does not start with it.
EXAMPLE_WEBHOOK_SECRET: Final = "a-long-random-text"  # noqa: S105 -- everybody knows it


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


class McpSettings(SettingsPart):
    """Where `docmill mcp` is served, and as whom it reads."""

    section = "agents"

    supabase_publishable_key: str | None = _setting(
        "Publishable key (`sb_publishable_...`, or the old anon key). Users' tokens go with it.",
        None,
        names=(
            "DOCMILL_SUPABASE_PUBLISHABLE_KEY",
            "SUPABASE_PUBLISHABLE_KEY",
            "SUPABASE_ANON_KEY",
        ),
    )
    mcp_access_token: SecretStr | None = _setting(
        "Access token of the user whom `docmill mcp` reads for by stdio, until it ends.", None
    )
    mcp_refresh_token: SecretStr | None = _setting(
        "Refresh token of the user: renews the access token. It can be used once.", None
    )
    mcp_session_file: Path | None = _setting(
        "File in which the renewed tokens are kept, for the next start.", None
    )
    mcp_host: str = _setting("Address that `docmill mcp --http` listens on.", "127.0.0.1")
    mcp_port: int = _setting("Its port.", 8788, ge=1, le=65535)
    mcp_url: HttpUrl = _setting(
        "Address that clients reach it by behind a proxy, `https://mcp.example.com/mcp`. Requests "
        "that name another host are refused, but for those of this machine.",
        None,
    )


@dataclass(frozen=True)
class NamedProvider:
    """One more provider that speaks OpenAI's API."""

    base_url: str
    api_key: str = field(repr=False)


def _parsed_providers(text: str) -> dict[str, NamedProvider]:
    """`{"name": {"base_url": "https://...", "api_key": "..."}}`. Raises ValueError."""
    try:
        providers = {name: NamedProvider(**how) for name, how in json.loads(text).items()}
    except (AttributeError, TypeError, ValueError):
        raise ValueError(
            'it is JSON of the form {"name": {"base_url": "https://...", "api_key": "..."}}'
        ) from None
    for name, provider in providers.items():
        if not PROVIDER_NAME.fullmatch(name) or name in ("local", "openai"):
            raise ValueError("a name is lower-case letters and digits, not `local` or `openai`")
        said = (provider.base_url, provider.api_key)
        if not all(isinstance(one, str) and one for one in said) or not said[0].startswith("http"):
            raise ValueError(f"{name} needs a base_url that begins with http, and an api_key")
    return providers


class EmbedderSettings(SettingsPart):
    """How providers are reached, and what the first index version is made for."""

    section = "embedding"

    embedder: Literal["local", "openai"] = _setting(
        "`openai` for OpenAI or anything that speaks its API, `local` for the model that comes "
        "with the extra `local`. For the first index version; `docmill reindex start` makes "
        "others.",
        "openai",
    )
    embedding_model: str = _setting(
        "Name of the model; text-embedding-3-small when empty. For the first index version.",
        "",
        max_length=200,
    )
    embedding_dimensions: int = _setting(
        "Width of its embeddings; 0 for the default of the default model. For the first index "
        "version.",
        0,
        ge=0,
        le=4000,
    )
    providers: SecretStr | None = _setting(
        "More providers that speak OpenAI's API, as JSON: "
        '`{"name": {"base_url": "https://...", "api_key": "..."}}`. Index versions name theirs.',
        None,
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
        "Price of the provider's tokens; those of the local model are free.", 0, ge=0
    )

    def usd_per_million_tokens(self, provider: str) -> float:
        """What a provider's tokens cost: nothing when this machine embeds."""
        return 0 if provider == "local" else self.embedding_usd_per_million_tokens

    @property
    def model(self) -> str:
        """Name of the embedding model, the embedder's default when none is set."""
        return self.embedding_model or DEFAULT_MODELS[self.embedder][0]

    @property
    def dimensions(self) -> int:
        """Width of the embeddings, the default model's when none is set."""
        if self.embedding_dimensions:
            return self.embedding_dimensions
        default_model, default_dimensions = DEFAULT_MODELS[self.embedder]
        if self.model == default_model:
            return default_dimensions
        raise SettingsError(
            f"set DOCMILL_EMBEDDING_DIMENSIONS: the width of {self.model}'s embeddings is unknown"
        )

    @property
    def named_providers(self) -> dict[str, NamedProvider]:
        """Those of `providers`, by name."""
        return _parsed_providers(self.providers.get_secret_value()) if self.providers else {}

    @field_validator("providers")
    @classmethod
    def _providers_are_named(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            _parsed_providers(value.get_secret_value())
        return value


class ChatSettings(SettingsPart):
    """The model that answers questions. The function `ask` reads the same names as secrets."""

    section = "asking"

    chat_base_url: HttpUrl = _setting(
        "Base URL of a server that speaks OpenAI's chat API.", "https://api.openai.com/v1"
    )
    chat_api_key: SecretStr | None = _setting("Its key, where it wants one.", None)
    chat_model: str | None = _setting(
        "Name of the model that answers. Without it nothing is asked.", None, max_length=200
    )
    chat_timeout_seconds: float = _setting("Time that an answer may take.", 100, ge=1, le=600)
    rerank_url: HttpUrl = _setting(
        "Address of a reranker: of Cohere, Jina, vLLM or TEI, or of a server that speaks as one of "
        "them, `https://api.jina.ai/v1/rerank` for instance. Without it the order is the search's.",
        None,
    )
    rerank_api_key: SecretStr | None = _setting("Its key, where it wants one.", None)
    rerank_model: str | None = _setting(
        "Name of its model. None for TEI, which has one only.", None, max_length=200
    )


class DocumentSettings(SettingsPart):
    """What a document may be, and how it is cut."""

    section = "documents"

    chunk_tokens: int = _setting(
        "Size of a chunk in tokens of the model. For the first index version.",
        400,
        ge=32,
        le=6000,
    )
    max_document_bytes: int = _setting("Larger files are refused.", 100 * MIB, ge=1)
    max_chunks: int = _setting("Documents with more chunks are refused.", 20_000, ge=1)


def _children_by_default() -> int:
    """Children share the cores by time, so that long documents hold up no short ones."""
    cores = os.cpu_count() or 1
    return min(256, max(cores + 1, min(4 * cores, total_bytes() // GIB)))


class ExtractionSettings(SettingsPart):
    """What reading documents may take."""

    section = "extraction"

    extraction_children: int = _setting(
        "Processes in which a worker reads documents, or windows of them, at the same time. By "
        "default four for each core, as far as there is a gigabyte of memory for each, but more "
        "than cores.",
        default_factory=_children_by_default,
        ge=1,
        le=256,
    )
    max_document_characters: int = _setting(
        "Documents with more text are refused.", 50_000_000, ge=1000
    )
    parse_timeout_seconds: float = _setting(
        "CPU time that reading and chunking one document may take, all its windows together; four "
        "times as long by the clock.",
        300,
        ge=1,
        le=7200,
    )
    ocr_timeout_seconds: float = _setting(
        "CPU time that recognising the text of one scanned document may take, four times as long "
        "by the clock; for each page, a minute of it. Needs the extra ocr.",
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


class MetricsSettings(SettingsPart):
    """Where metrics are served."""

    section = "metrics"

    metrics_port: int = _setting(
        "Port on which worker, webhook and beat serve metrics for Prometheus; 0: none. Processes "
        "of one machine need one each.",
        0,
        ge=0,
        le=65535,
    )
    metrics_host: str = _setting(
        "Address of that port. There is no login: loopback, or a network of your own.",
        "127.0.0.1",
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
        "How often it compares the newest files with documents. All of them: "
        "`DOCMILL_RECONCILE_ALL`.",
        300,
        ge=1,
        le=86_400,
    )


class CronSettings(SettingsPart):
    """When workers do what is not done all the time. Every worker needs the same."""

    section = "cron"

    schedule_time_zone: Annotated[str, AfterValidator(_is_time_zone)] = _setting(
        "Time zone of all cron expressions, `Europe/Berlin` for instance.", "UTC"
    )
    reconcile_all: CronExpression = _setting(
        "When all files are compared with all documents.", "0 3 * * *"
    )
    prune: CronExpression = _setting(
        "When rows are removed that are older than they are kept.", "0 * * * *"
    )
    retry_failed: CronExpression | None = _setting(
        "When documents that failed are tried again. Never when empty.", None
    )
    retry_failed_codes: Annotated[
        tuple[str, ...], NoDecode, BeforeValidator(_codes_of), AfterValidator(_are_error_codes)
    ] = _setting(
        "With which error codes, comma-separated.",
        tuple(code for code, error in ERROR_CODES.items() if error.kind is ErrorKind.TRANSIENT),
    )
    retry_failed_documents: int = _setting(
        "How many of them a run takes at most, those that wait longest first.", 100, ge=1, le=1000
    )
    reindex_outdated: CronExpression | None = _setting(
        "When documents are read again that this release reads better. Never when empty: their "
        "embeddings are paid for again.",
        None,
    )
    reindex_outdated_documents: int = _setting(
        "How many documents a run takes at most.", 1000, ge=1, le=10_000
    )
    reindex_outdated_dollars: float = _setting(
        "What a run may cost at most, by `DOCMILL_EMBEDDING_USD_PER_MILLION_TOKENS`.", 1, ge=0
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

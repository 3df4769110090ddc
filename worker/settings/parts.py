"""The settings by what they are about: each part is read by those that need it."""

import json
import os
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    AliasChoices,
    BeforeValidator,
    Field,
    SecretStr,
    create_model,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from docmill.worker.errors import ERROR_CODES, ErrorKind, SettingsError
from docmill.worker.memory import total_bytes
from docmill.worker.providers.base import (
    Access,
    BulkTerms,
    HttpProvider,
    LocalProvider,
    Provider,
    Variable,
)
from docmill.worker.providers.registry import HTTP_PROVIDERS, PROVIDERS, is_of_this_machine

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
class ReachedProvider:
    """A provider, and how it is reached. Keys stay out of the repr."""

    name: str  #: as index versions have it
    provider: Provider
    access: Access = field(repr=False)


def _variable_field(provider: Provider, variable: Variable) -> tuple[Any, Any]:
    """The field of the settings for a variable of a provider, `voyage_api_key`."""
    kind: Any = SecretStr | None if variable.is_secret else str | None
    if variable.name == "base_url":
        kind = HttpUrl
    own = f"{PREFIX}{provider.name}_{variable.name}".upper()
    meaning = f"{provider.title}: {variable.meaning[:1].lower()}{variable.meaning[1:]}"
    return kind, _setting(meaning, variable.default, names=(own, *variable.standard_names))


def _variable_fields() -> dict[str, Any]:
    return {
        f"{provider.name}_{variable.name}": _variable_field(provider, variable)
        for provider in PROVIDERS.values()
        for variable in provider.variables
    }


class _ProviderBase(SettingsPart):
    """How the providers of embeddings are reached, each by its own name."""

    section = "providers"

    providers: SecretStr | None = _setting(
        "More of them under names of their own, as JSON: "
        '`{"name": {"base_url": "https://...", "api_key": "..."}}`. Each speaks OpenAI\'s API, or '
        'as another provider does: `"form": "azure"`. Index versions name theirs.',
        None,
    )

    def reached(self, name: str) -> ReachedProvider | None:
        """A provider by its name, where these settings say how to reach it; None where not."""
        named = self.named_providers.get(name)
        if named is not None:
            return named
        provider = PROVIDERS.get(name)
        if provider is None:
            return None
        access = self._access(provider)
        is_reached = all(access.get(one.name) for one in provider.variables if one.is_needed)
        return ReachedProvider(name, provider, access) if is_reached else None

    def _access(self, provider: Provider) -> Access:
        said = {
            one.name: getattr(self, f"{provider.name}_{one.name}") for one in provider.variables
        }
        return {
            name: value.get_secret_value() if isinstance(value, SecretStr) else value
            for name, value in said.items()
            if value is not None
        }

    def require_provider(self, name: str) -> ReachedProvider:
        """The same. Raises SettingsError saying what is missing."""
        reached = self.reached(name)
        if reached is not None:
            return reached
        provider = PROVIDERS.get(name)
        if provider is None:
            known = ", ".join(sorted(PROVIDERS))
            raise SettingsError(
                f"there is no provider {name} here: add it to DOCMILL_PROVIDERS. Known without are "
                f"{known}"
            )
        missing = [one for one in provider.variables if one.is_needed and not self._has(name, one)]
        raise SettingsError(
            f"provider {name}: set "
            + ", and ".join(
                " or ".join(variables_of(type(self), f"{name}_{one.name}")) for one in missing
            )
        )

    def _has(self, name: str, variable: Variable) -> bool:
        return getattr(self, f"{name}_{variable.name}") is not None

    def provider_of(self, name: str) -> Provider:
        """What is known of a provider, reached or not. Raises SettingsError for no provider."""
        named = self.named_providers.get(name)
        provider = named.provider if named else PROVIDERS.get(name)
        return provider or self.require_provider(name).provider

    @property
    def named_providers(self) -> dict[str, ReachedProvider]:
        """Those of `providers`, by name."""
        return _parsed_providers(self.providers.get_secret_value()) if self.providers else {}

    @field_validator("providers")
    @classmethod
    def _providers_are_named(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            _parsed_providers(value.get_secret_value())
        return value


_FORM: Final = (
    'it is JSON of the form {"name": {"base_url": "https://...", "api_key": "..."}}, with "form" '
    "where it is not OpenAI's"
)


def _parsed_providers(text: str) -> dict[str, ReachedProvider]:
    """What `providers` says. Raises ValueError."""
    try:
        providers = {name: dict(how) for name, how in json.loads(text).items()}
    except (AttributeError, TypeError, ValueError):
        raise ValueError(_FORM) from None
    for name in providers:
        if not PROVIDER_NAME.fullmatch(name):
            raise ValueError(
                f"{name}: a name begins with a lower-case letter, and has such letters, digits, "
                "`-` and `_`, 31 in all at most"
            )
        if name == "openai" or is_of_this_machine(name):
            raise ValueError(f"{name}: this name is docmill's own, choose another one")
    return {name: _named(name, how) for name, how in providers.items()}


def _named(name: str, how: dict[str, Any]) -> ReachedProvider:
    form = how.pop("form", "compatible")
    provider = HTTP_PROVIDERS.get(form) if isinstance(form, str) else None
    if provider is None:
        raise ValueError(f"{name}: form is one of {', '.join(sorted(HTTP_PROVIDERS))}")
    variables = {variable.name: variable for variable in provider.variables}
    if unknown := sorted(how.keys() - variables.keys()):
        raise ValueError(f"{name}: {unknown[0]} is none of {', '.join(variables)}")
    defaults = {one.name: one.default for one in provider.variables if one.default is not None}
    access = {**defaults, **how}
    for variable in provider.variables:
        value = access.get(variable.name, "")
        if not isinstance(value, str) or (variable.is_needed and not value):
            raise ValueError(f"{name} needs {variable.name}, a text")
    if not access["base_url"].startswith("http"):
        raise ValueError(f"{name} needs a base_url that begins with http")
    return ReachedProvider(name, provider, access)


if TYPE_CHECKING:
    ProviderSettings = _ProviderBase
else:  # the registry says which fields there are
    ProviderSettings = create_model(
        "ProviderSettings",
        __base__=_ProviderBase,
        __doc__=_ProviderBase.__doc__,
        **_variable_fields(),
    )


def _parsed_prices(text: str) -> dict[str, float]:
    """`{"model": dollars}`. Raises ValueError."""
    try:
        prices = {str(name): float(usd) for name, usd in json.loads(text).items()}
    except (AttributeError, TypeError, ValueError):
        raise ValueError('it is JSON of the form {"model": dollars}') from None
    if not all(0 <= usd < 1e6 for usd in prices.values()):
        raise ValueError("a price is a number of dollars, 0 or more")
    return prices


class EmbedderSettings(ProviderSettings):
    """What the first index version is made for, how requests are made, and what they cost."""

    section = "embedding"

    embedder: str = _setting(
        f"The provider: {', '.join(PROVIDERS)}, or a name of `DOCMILL_PROVIDERS`. For the first "
        "index version; `docmill reindex start` makes others.",
        "openai",
        max_length=31,
    )
    embedding_model: str = _setting(
        "Name of the model; the provider's default when empty: docs/providers.md lists them. For "
        "the first index version.",
        "",
        max_length=200,
    )
    embedding_dimensions: int = _setting(
        "Width of its embeddings; 0 for the model's own. For the first index version.",
        0,
        ge=0,
        le=4000,
    )
    embedding_send_dimensions: bool | None = _setting(
        "Whether the provider is told that width. By default where the model is known to have "
        "several. For the first index version.",
        None,
    )
    embedding_batch_size: int = _setting("Texts of one request at most.", 256, ge=1, le=2048)
    embedding_batch_tokens: int = _setting(
        "Tokens of one request at most.", 100_000, ge=8192, le=300_000
    )
    embedding_requests: int = _setting("Requests in flight of one worker.", 4, ge=1, le=64)
    embedding_timeout_seconds: float = _setting("Time that a request may take.", 60, ge=1, le=600)
    embedding_usd_per_million_tokens: float | None = _setting(
        "Price of all providers' tokens, instead of the dated list in docs/providers.md; models of "
        "this machine are free.",
        None,
        ge=0,
    )
    embedding_prices: str | None = _setting(
        'Prices of a million tokens by model, as JSON: `{"model": dollars}`. They come first.', None
    )

    @field_validator("embedding_prices")
    @classmethod
    def _prices_are_numbers(cls, value: str | None) -> str | None:
        if value is not None:
            _parsed_prices(value)
        return value

    @model_validator(mode="after")
    def _embedder_is_a_provider(self) -> Self:
        if self.embedder not in PROVIDERS and self.embedder not in self.named_providers:
            raise ValueError(
                f"DOCMILL_EMBEDDER is {self.embedder!r}: write one of {', '.join(PROVIDERS)}, or a "
                "name of DOCMILL_PROVIDERS"
            )
        return self

    def usd_per_million_tokens(self, provider: str, model: str) -> float:
        """What a model's tokens cost; nothing when this machine embeds, or nobody has said."""
        known = self.provider_of(provider) if self._is_known(provider) else None
        if isinstance(known, LocalProvider):
            return 0
        said = _parsed_prices(self.embedding_prices or "{}").get(
            model, self.embedding_usd_per_million_tokens
        )
        if said is not None:
            return said
        listed = known.models.get(model) if known else None
        return (listed.usd if listed else None) or 0

    def bulk_terms(self, provider: str) -> BulkTerms | None:
        """What a provider takes in a batch of its own; None where docmill knows of none."""
        known = self.provider_of(provider) if self._is_known(provider) else None
        return known.bulk if isinstance(known, HttpProvider) else None

    def bulk_usd_per_million_tokens(self, provider: str, model: str) -> float | None:
        """The price of a model in batches; None where there are none."""
        terms = self.bulk_terms(provider)
        price = self.usd_per_million_tokens(provider, model)
        return price * terms.price_factor if terms else None

    def _is_known(self, provider: str) -> bool:
        return provider in PROVIDERS or provider in self.named_providers

    @property
    def model(self) -> str:
        """Name of the embedding model, the provider's default when none is set."""
        model = self.embedding_model or self.provider_of(self.embedder).default_model
        if model is None:
            raise SettingsError(
                f"set DOCMILL_EMBEDDING_MODEL: {self.embedder} has names of its own for models"
            )
        return model

    @property
    def dimensions(self) -> int:
        """Width of the embeddings, the model's own when none is set."""
        if self.embedding_dimensions:
            return self.embedding_dimensions
        known = self.provider_of(self.embedder).models.get(self.model)
        if known is None:
            raise SettingsError(
                "set DOCMILL_EMBEDDING_DIMENSIONS: the width of "
                f"{self.model}'s embeddings is unknown"
            )
        return known.dimensions

    @property
    def sends_dimensions(self) -> bool:
        """Whether the provider is told the width."""
        if self.embedding_send_dimensions is not None:
            return self.embedding_send_dimensions
        return self.provider_of(self.embedder).sends_dimensions(self.model)


class BulkSettings(SettingsPart):
    """How texts become batches of the provider."""

    section = "in bulk"

    bulk_wait_seconds: float = _setting(
        "How long the first text waits for others before a batch of them is sent.",
        600,
        ge=0,
        le=86_400,
    )
    bulk_texts: int = _setting("Texts of a batch at most.", 20_000, ge=1, le=50_000)


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
    bulk_seconds: float = _setting(
        "How often it sends batches to the provider and asks what became of them.",
        60,
        ge=0.2,
        le=3600,
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
        "What a run may cost at most, at the price of its tokens.", 1, ge=0
    )


class RetentionSettings(SettingsPart):
    """How long rows are kept."""

    section = "schedule"

    keep_jobs_days: int = _setting("Finished jobs are kept for so long.", 30, ge=1, le=3650)
    keep_staged_days: int = _setting(
        "Embeddings that no job took up are kept for so long.", 7, ge=1, le=365
    )
    keep_embeddings_days: int = _setting(
        "Embeddings of deleted files are kept for so long: who uploads the same text again "
        "does not pay again. Nobody finds them. 0: not at all.",
        0,
        ge=0,
        le=365,
    )


class LogSettings(SettingsPart):
    """What is logged."""

    section = "log"

    log_format: Literal["json", "console"] = _setting("Form of log lines on stderr.", "json")
    log_level: Literal["debug", "info", "warning", "error"] = _setting(
        "The least that is logged.", "info"
    )

"""The settings by subject. Each part is read by the processes that need it."""

import json
import os
import re
import tempfile
from collections.abc import Collection, Sequence
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
    """A field: its description, default and bounds; `names` if standard names count too."""
    if default is not ...:
        how["default"] = default
    if names:
        how["validation_alias"] = AliasChoices(*names)
    return Field(description=description, **how)


def _begins_with(*schemes: str) -> AfterValidator:
    """The URL must begin with one of these."""

    def check(value: Any) -> Any:
        url = value.get_secret_value() if isinstance(value, SecretStr) else value
        if url is not None and not url.startswith(schemes):
            raise ValueError(f"it must begin with {' or '.join(schemes)}")
        return value

    return AfterValidator(check)


PostgresUrl = Annotated[SecretStr | None, _begins_with("postgresql://", "postgres://")]
RedisUrl = Annotated[SecretStr | None, _begins_with("redis://", "rediss://")]
HttpUrl = Annotated[str | None, _begins_with("https://", "http://")]


def _read_cron(text: str) -> str:
    """A cron expression with one space between its fields."""
    # Import late: Celery takes a second to import, and most users do not set this.
    from docmill.worker.cron import read_cron

    return read_cron(text).expression


CronExpression = Annotated[str, AfterValidator(_read_cron)]


def _is_time_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError(
            "it is not a time zone: write a name such as Europe/Berlin, or UTC"
        ) from None
    return name


def _codes_of(value: object) -> object:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _are_error_codes(codes: tuple[str, ...]) -> tuple[str, ...]:
    for code in codes:
        if code not in ERROR_CODES:
            raise ValueError(f"{code!r} is not an error code: docs/errors.md lists them")
    return codes


class SettingsPart(BaseSettings):
    """Settings that belong together. Each variable is `DOCMILL_` plus the name in capitals.

    Frozen. The descriptions are the source of docs/settings.md, .env.example and `docmill config`.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        frozen=True,
        populate_by_name=True,
        # Programs such as Compose pass unset variables on as empty ones: an empty one counts as
        # unset.
        env_ignore_empty=True,
    )

    #: The heading of this part in docs.
    section: ClassVar[str]

    def require(self, name: str) -> str:
        """The value of a connection setting.

        Raises SettingsError that names it if it is not set.
        """
        value = getattr(self, name)
        if value is None:
            field = type(self).model_fields[name]
            meaning = (field.description or "").split(". ")[0].rstrip(".")
            raise SettingsError(f"set {' or '.join(variables_of(type(self), name))}: {meaning}")
        return value.get_secret_value() if isinstance(value, SecretStr) else str(value)


def variables_of(settings: type[SettingsPart], name: str) -> tuple[str, ...]:
    """The environment variables of a field, its own first."""
    alias = settings.model_fields[name].validation_alias
    if isinstance(alias, AliasChoices):
        return tuple(choice for choice in alias.choices if isinstance(choice, str))
    return (PREFIX + name.upper(),)


#: Each provider has a queue with its name.
PROVIDER_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,30}")


class DatabaseSettings(SettingsPart):
    """The database, as the role docmill_worker."""

    section = "connections"

    database_url: PostgresUrl = _setting(
        "Connection string of the role docmill_worker. A transaction pooler works.",
        None,
        names=("DOCMILL_DATABASE_URL", "DATABASE_URL"),
    )
    database_connections: int = _setting(
        "The most connections of a worker or webhook, beside one for its heartbeat.",
        8,
        ge=2,
        le=200,
    )


class AdminSettings(SettingsPart):
    """The database, as the owner of the schema. No long-running process has it."""

    section = "connections"

    admin_database_url: PostgresUrl = _setting(
        "Connection string of the project's `postgres`, direct or in session mode. Used by "
        "commands of operators; workers do not need it.",
        None,
    )


class RedisSettings(SettingsPart):
    """The server that messages go through."""

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
    """Downloads of Storage's files."""

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


#: The placeholder in .env.example. The receiver refuses to start with it.
EXAMPLE_WEBHOOK_SECRET: Final = "a-long-random-text"  # noqa: S105 -- everybody knows it


class ReceiverSettings(SettingsPart):
    """The receiver of events, and the secrets that prove them."""

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
    """The address and the login of Flower."""

    section = "Flower"

    flower_host: str = _setting(
        "Address that `docmill flower` listens on. Any address but loopback needs a login.",
        "127.0.0.1",
    )
    flower_port: int = _setting("Its port.", 5555, ge=1, le=65535)
    flower_user: str | None = _setting("User of the login that Flower asks for.", None)
    flower_password: SecretStr | None = _setting("Password of that login.", None)


class McpSettings(SettingsPart):
    """The address of `docmill mcp`, and the user for whom it reads."""

    section = "agents"

    supabase_publishable_key: str | None = _setting(
        "Publishable key (`sb_publishable_...`, or the old anon key). Sent with users' tokens.",
        None,
        names=(
            "DOCMILL_SUPABASE_PUBLISHABLE_KEY",
            "SUPABASE_PUBLISHABLE_KEY",
            "SUPABASE_ANON_KEY",
        ),
    )
    mcp_access_token: SecretStr | None = _setting(
        "Access token of the user of `docmill mcp` by stdio. It is used until it expires.", None
    )
    mcp_refresh_token: SecretStr | None = _setting(
        "Refresh token of that user: renews the access token. It can be used once.", None
    )
    mcp_session_file: Path | None = _setting(
        "File that keeps the renewed tokens for the next start.", None
    )
    mcp_host: str = _setting("Address that `docmill mcp --http` listens on.", "127.0.0.1")
    mcp_port: int = _setting("Its port.", 8788, ge=1, le=65535)
    mcp_url: HttpUrl = _setting(
        "Public address behind a proxy, such as `https://mcp.example.com/mcp`. Requests that name "
        "another host than this or this machine are refused.",
        None,
    )


@dataclass(frozen=True)
class ReachedProvider:
    """A provider and how to reach it. Keys are left out of the repr."""

    name: str  #: as in index versions
    provider: Provider
    access: Access = field(repr=False)


def _variable_field(provider: Provider, variable: Variable) -> tuple[Any, Any]:
    """The settings field for a variable of a provider, such as `voyage_api_key`."""
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
    """How to reach the providers of embeddings, each by its own name."""

    section = "providers"

    providers: SecretStr | None = _setting(
        "More providers with their own names, as JSON: "
        '`{"name": {"base_url": "https://...", "api_key": "..."}}`. Each has OpenAI\'s API, or '
        'that of another provider: `"form": "azure"`. Index versions refer to these names.',
        None,
    )

    def reached(self, name: str) -> ReachedProvider | None:
        """The provider of this name; None if these settings do not say how to reach it."""
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
        """The same. Raises SettingsError that says what is missing."""
        reached = self.reached(name)
        if reached is not None:
            return reached
        provider = PROVIDERS.get(name)
        if provider is None:
            known = ", ".join(sorted(PROVIDERS))
            raise SettingsError(
                f"there is no provider {name} here: add it to DOCMILL_PROVIDERS. Built in are "
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
        """The form of a provider, reachable or not. Raises SettingsError for an unknown name."""
        named = self.named_providers.get(name)
        provider = named.provider if named else PROVIDERS.get(name)
        return provider or self.require_provider(name).provider

    @property
    def named_providers(self) -> dict[str, ReachedProvider]:
        """The entries of `providers`, by name."""
        return _parsed_providers(self.providers.get_secret_value()) if self.providers else {}

    @field_validator("providers")
    @classmethod
    def _providers_are_named(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            _parsed_providers(value.get_secret_value())
        return value


_FORM: Final = (
    'write JSON such as {"name": {"base_url": "https://...", "api_key": "..."}}, with "form" if '
    "it is not OpenAI's"
)


def _parsed_providers(text: str) -> dict[str, ReachedProvider]:
    """Parse `providers`. Raises ValueError."""
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
        raise ValueError(f"{name}: form must be one of {', '.join(sorted(HTTP_PROVIDERS))}")
    variables = {variable.name: variable for variable in provider.variables}
    if unknown := sorted(how.keys() - variables.keys()):
        raise ValueError(f"{name}: {unknown[0]} is not one of {', '.join(variables)}")
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
else:  # the registry has the list of fields
    ProviderSettings = create_model(
        "ProviderSettings",
        __base__=_ProviderBase,
        __doc__=_ProviderBase.__doc__,
        **_variable_fields(),
    )


def _parsed_prices(text: str) -> dict[str, float]:
    """Parse `{"model": dollars}`. Raises ValueError."""
    try:
        prices = {str(name): float(usd) for name, usd in json.loads(text).items()}
    except (AttributeError, TypeError, ValueError):
        raise ValueError('write JSON such as {"model": dollars}') from None
    if not all(0 <= usd < 1e6 for usd in prices.values()):
        raise ValueError("a price must be a number of dollars, 0 or more")
    return prices


class EmbedderSettings(ProviderSettings):
    """The first index version, the requests for embeddings, and their prices."""

    section = "embedding"

    embedder: str = _setting(
        f"The provider: {', '.join(PROVIDERS)}, or a name of `DOCMILL_PROVIDERS`. For the first "
        "index version; `docmill reindex start` makes more.",
        "openai",
        max_length=31,
    )
    embedding_model: str = _setting(
        "Name of the model; empty for the provider's default (docs/providers.md). For the first "
        "index version.",
        "",
        max_length=200,
    )
    embedding_dimensions: int = _setting(
        "Number of dimensions; 0 for the model's own. For the first index version.",
        0,
        ge=0,
        le=4000,
    )
    embedding_send_dimensions: bool | None = _setting(
        "Whether requests name the number of dimensions. By default, if the model is known to have "
        "several. For the first index version.",
        None,
    )
    embedding_batch_size: int = _setting("The most texts in one request.", 256, ge=1, le=2048)
    embedding_batch_tokens: int = _setting(
        "The most tokens in one request.", 100_000, ge=8192, le=300_000
    )
    embedding_requests: int = _setting("Requests that one worker has in flight.", 4, ge=1, le=64)
    embedding_timeout_seconds: float = _setting("The longest time of a request.", 60, ge=1, le=600)
    embedding_usd_per_million_tokens: float | None = _setting(
        "Price of the tokens of all providers, instead of the dated list in docs/providers.md; "
        "local models are free.",
        None,
        ge=0,
    )
    embedding_prices: str | None = _setting(
        'Prices per million tokens by model, as JSON: `{"model": dollars}`. They count first.', None
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
        """The price of a model's tokens; 0 for a local model or an unknown price."""
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

    def prices(self, providers: Sequence[str]) -> dict[str, dict[str, float]]:
        """The price of each model of these providers that has one; `""`: of any other model."""
        said = _parsed_prices(self.embedding_prices or "{}")
        models = {name: {*said, *self._listed(name)} for name in providers}
        return {
            provider: {
                model: self.usd_per_million_tokens(provider, model)
                for model in (*sorted(models[provider]), "")
            }
            for provider in providers
        }

    def _listed(self, provider: str) -> Collection[str]:
        known = self.provider_of(provider) if self._is_known(provider) else None
        return known.models if isinstance(known, HttpProvider) else ()

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
        """Name of the embedding model; by default the provider's default model."""
        model = self.embedding_model or self.provider_of(self.embedder).default_model
        if model is None:
            raise SettingsError(
                f"set DOCMILL_EMBEDDING_MODEL: {self.embedder} has its own names for models"
            )
        return model

    @property
    def dimensions(self) -> int:
        """Number of dimensions; by default the model's own."""
        if self.embedding_dimensions:
            return self.embedding_dimensions
        known = self.provider_of(self.embedder).models.get(self.model)
        if known is None:
            raise SettingsError(
                "set DOCMILL_EMBEDDING_DIMENSIONS: the number of "
                f"dimensions of {self.model} is unknown"
            )
        return known.dimensions

    @property
    def sends_dimensions(self) -> bool:
        """Whether requests name the number of dimensions."""
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
        "Base URL of a server with OpenAI's chat API.", "https://api.openai.com/v1"
    )
    chat_api_key: SecretStr | None = _setting("Its key, if it needs one.", None)
    chat_model: str | None = _setting(
        "Name of the model that answers. Without it, questions are refused.", None, max_length=200
    )
    chat_timeout_seconds: float = _setting("The longest time of an answer.", 100, ge=1, le=600)
    rerank_url: HttpUrl = _setting(
        "Address of a reranker of Cohere, Jina, vLLM or TEI, or of a compatible server, such as "
        "`https://api.jina.ai/v1/rerank`. Without it the order of the search is kept.",
        None,
    )
    rerank_api_key: SecretStr | None = _setting("Its key, if it needs one.", None)
    rerank_model: str | None = _setting(
        "Name of its model. None for TEI, which has only one.", None, max_length=200
    )


class DocumentSettings(SettingsPart):
    """Limits on documents, and how they are cut."""

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
    """More children than cores: they share the cores by time, so short documents pass long ones."""
    cores = os.cpu_count() or 1
    return min(256, max(cores + 1, min(4 * cores, total_bytes() // GIB)))


class ExtractionSettings(SettingsPart):
    """Limits on reading documents, and what is read."""

    section = "extraction"

    extraction_children: int = _setting(
        "How many processes of a worker read documents, or windows of them, at the same time. By "
        "default four per core if each has a gigabyte of memory; otherwise fewer, but more than "
        "cores.",
        default_factory=_children_by_default,
        ge=1,
        le=256,
    )
    max_document_characters: int = _setting(
        "Documents with more text are refused.", 50_000_000, ge=1000
    )
    parse_timeout_seconds: float = _setting(
        "The most CPU time for reading and chunking one document, all its windows together; four "
        "times as long by the clock.",
        300,
        ge=1,
        le=7200,
    )
    ocr_timeout_seconds: float = _setting(
        "The most CPU time for recognising the text of one scanned document, four times as long by "
        "the clock; a minute for each page. Needs the extra ocr.",
        1800,
        ge=1,
        le=86_400,
    )
    parse_memory_bytes: int = _setting(
        "The most memory for reading one window of a document.", 2048 * MIB, ge=256 * MIB
    )
    word_comments: bool = _setting(
        "Read the comments of Word documents, each after its paragraph. Documents that were read "
        "without them are then outdated.",
        default=False,
    )
    spool_dir: Path = _setting(
        "Folder for downloads while they are read; needs O_TMPFILE (tmpfs, ext4 and xfs have it).",
        default_factory=lambda: Path(tempfile.gettempdir()),
    )
    spool_bytes: int = _setting("The most bytes there at once.", 2048 * MIB, ge=1)


class RunSettings(SettingsPart):
    """How jobs run, wait and stop."""

    section = "worker"

    slots: int = _setting(
        "Jobs that a worker runs at once. They mostly wait for the network; many jobs fill the "
        "requests for embeddings.",
        256,
        ge=1,
        le=1000,
    )
    lease_seconds: float = _setting(
        "A worker that renews no lease for this long loses its jobs to others.", 60, ge=0.2, le=3600
    )
    drain_seconds: float = _setting(
        "Time that a worker has to stop after SIGTERM. It must be shorter than the grace period of "
        "the supervisor.",
        30,
        ge=0.1,
        le=3600,
    )
    retry_base_seconds: float = _setting("Pause before the first retry.", 5, ge=0.01, le=600)
    retry_max_seconds: float = _setting(
        "The longest pause; pauses double up to this.", 600, ge=0.01, le=86_400
    )
    starved_seconds: float = _setting(
        "A worker that took no hint for this long while hints waited ends with exit code 76, to be "
        "started again. Must be longer than `DOCMILL_RESEND_SECONDS`.",
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
        "A hint that no worker took for this long is sent again.", 30, ge=0.2, le=3600
    )


class HealthSettings(SettingsPart):
    """What health checks look at."""

    section = "worker"

    heartbeat_file: Path | None = _setting(
        "File that worker and beat touch while they work, for health checks.", None
    )


class MetricsSettings(SettingsPart):
    """Where metrics are served."""

    section = "metrics"

    metrics_port: int = _setting(
        "Port on which worker, webhook and beat serve metrics for Prometheus; 0: none. Each "
        "process of a machine needs its own.",
        0,
        ge=0,
        le=65535,
    )
    metrics_host: str = _setting(
        "Address of that port. There is no login: use loopback, or your own network.",
        "127.0.0.1",
    )


class ScheduleSettings(SettingsPart):
    """How often beat sends each task."""

    section = "schedule"

    dispatch_seconds: float = _setting(
        "How often beat settles pending events and sends hints.", 5, ge=0.2, le=300
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
        "How often it compares the newest files with documents. For all files see "
        "`DOCMILL_RECONCILE_ALL`.",
        300,
        ge=1,
        le=86_400,
    )


class CronSettings(SettingsPart):
    """When scheduled work runs. Every worker needs the same values."""

    section = "cron"

    schedule_time_zone: Annotated[str, AfterValidator(_is_time_zone)] = _setting(
        "Time zone of all cron expressions, such as `Europe/Berlin`.", "UTC"
    )
    reconcile_all: CronExpression = _setting(
        "When all files are compared with all documents.", "0 3 * * *"
    )
    prune: CronExpression = _setting("When old rows are removed.", "0 * * * *")
    sample_recall: CronExpression | None = _setting(
        "When some searches are compared with all passages of their owner. Empty: never.",
        "30 4 * * sun",
    )
    sample_bloat: CronExpression | None = _setting(
        "When the size of tables and indexes is compared with their rows. Empty: never.",
        "30 3 * * *",
    )
    retry_failed: CronExpression | None = _setting(
        "When failed documents are tried again. Empty: never.", None
    )
    retry_failed_codes: Annotated[
        tuple[str, ...], NoDecode, BeforeValidator(_codes_of), AfterValidator(_are_error_codes)
    ] = _setting(
        "Their error codes, comma-separated.",
        tuple(code for code, error in ERROR_CODES.items() if error.kind is ErrorKind.TRANSIENT),
    )
    retry_failed_documents: int = _setting(
        "The most documents of a run, those that wait longest first.", 100, ge=1, le=1000
    )
    reindex_outdated: CronExpression | None = _setting(
        "When documents are read again that this release reads better. Empty: never, because new "
        "embeddings cost money.",
        None,
    )
    reindex_outdated_documents: int = _setting(
        "The most documents of a run.", 1000, ge=1, le=10_000
    )
    reindex_outdated_dollars: float = _setting(
        "The most that a run may cost, at the price of its tokens.", 1, ge=0
    )


class RetentionSettings(SettingsPart):
    """How long rows are kept."""

    section = "schedule"

    keep_jobs_days: int = _setting("How long finished jobs are kept.", 30, ge=1, le=3650)
    keep_staged_days: int = _setting(
        "How long embeddings are kept that no job used.", 7, ge=1, le=365
    )
    keep_embeddings_days: int = _setting(
        "How long embeddings of deleted files are kept: uploading the same text again is then "
        "free. Searches do not find them. 0: not at all.",
        0,
        ge=0,
        le=365,
    )


class LogSettings(SettingsPart):
    """What is logged."""

    section = "log"

    log_format: Literal["json", "console"] = _setting("Form of log lines on stderr.", "json")
    log_level: Literal["debug", "info", "warning", "error"] = _setting(
        "The lowest level that is logged.", "info"
    )

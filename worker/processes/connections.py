"""Objects that several kinds of process are built from.

With `reading` and `runtime`, all that builds objects.
"""

import os
import socket
import threading
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from importlib import import_module
from secrets import token_hex
from typing import TYPE_CHECKING, Final

import redis
from celery import Celery
from redis.backoff import NoBackoff
from redis.retry import Retry

from docmill.worker.clients.shared_limits import (
    REDIS_SECONDS,
    REINDEX,
    UPLOADS,
    KnownLimits,
    SharedLimits,
    known_limits,
)
from docmill.worker.errors import JobError, SettingsError
from docmill.worker.log import get_logger, redact
from docmill.worker.models import IndexSettings, IndexVersion
from docmill.worker.ports import Embedder, Limits
from docmill.worker.providers.base import HttpProvider, Kind, LocalProvider, Provider, Wanted
from docmill.worker.providers.registry import PROVIDERS
from docmill.worker.queue import Dispatcher
from docmill.worker.settings.parts import (
    DatabaseSettings,
    EmbedderSettings,
    HintSettings,
    ReachedProvider,
)
from docmill.worker.store.bulk import Batch
from docmill.worker.store.database import Database

if TYPE_CHECKING:
    from docmill.worker.clients.bulk import HttpBulk
    from docmill.worker.clients.embedder import HttpEmbedder

log = get_logger(__name__)

#: Dimensions that an index can hold at most, as halfvec's HNSW has it.
WIDEST: Final = 4000


def served_providers(settings: EmbedderSettings) -> list[str]:
    """Whom these settings say how to reach; models of this machine where they are installed."""
    names = {*PROVIDERS, *settings.named_providers}
    reached = (settings.reached(name) for name in sorted(names))
    return [one.name for one in reached if one and _is_there(one.provider)]


def _is_there(provider: Provider) -> bool:
    return not isinstance(provider, LocalProvider) or provider.is_installed()


def build_embedder(
    settings: EmbedderSettings,
    index: IndexVersion,
    *,
    kind: Kind = Kind.DOCUMENT,
) -> Embedder:
    """What embeds passages, or queries, for an index version.

    Raises SettingsError, naming what to set, when it cannot be built.
    """
    try:
        reached = settings.require_provider(index.provider)
    except SettingsError as error:
        raise SettingsError(f"index version {index.id}: {error}") from None
    # Only the one in use is imported.
    if isinstance(reached.provider, LocalProvider):
        _check_installed(reached.provider)
        module, _, name = reached.provider.embedder.partition(":")
        local: Embedder = getattr(import_module(module), name)(kind)
        return local
    wanted = Wanted(index.model, index.dimensions, index.sends_dimensions, kind)
    return _http_embedder(settings, reached, wanted)


def _check_installed(provider: LocalProvider) -> None:
    if not provider.is_installed():
        raise SettingsError(
            f"the embedding model of the provider {provider.name} is not installed: install "
            f"docmill with the extra {provider.extra}, or name another provider in DOCMILL_EMBEDDER"
        )


def _http_embedder(
    settings: EmbedderSettings, reached: ReachedProvider, wanted: Wanted
) -> "HttpEmbedder":
    from docmill.worker.clients.embedder import HttpEmbedder

    assert isinstance(reached.provider, HttpProvider)
    return HttpEmbedder(
        reached.provider,
        reached.access,
        wanted,
        timeout_seconds=settings.embedding_timeout_seconds,
    )


def build_bulk(settings: EmbedderSettings, batch: Batch) -> "HttpBulk":
    """What speaks of a batch with its provider. Raises SettingsError without a way to it."""
    from docmill.worker.clients.bulk import HttpBulk

    reached = settings.require_provider(batch.provider)
    assert isinstance(reached.provider, HttpProvider)
    return HttpBulk(
        reached.provider,
        reached.access,
        Wanted(batch.model, batch.dimensions, batch.sends_dimensions, Kind.DOCUMENT),
        timeout_seconds=settings.embedding_timeout_seconds,
    )


def build_limits(
    settings: EmbedderSettings, redis_url: str
) -> Callable[[IndexVersion, bool], Limits]:
    """Limits that are shared with whoever uses the same Redis, by index version and purpose."""
    client = _limits_client(redis_url)
    worker = f"{socket.gethostname()}:{os.getpid()}:{token_hex(4)}"

    def limits(index: IndexVersion, is_reindex: bool) -> Limits:
        return SharedLimits(
            client,
            _limits_name(index.provider, index.model),
            worker=worker,
            priority=REINDEX if is_reindex else UPLOADS,
            longest_request_seconds=settings.embedding_timeout_seconds,
        )

    return limits


def limits_of(provider: str, model: str, redis_url: str | None) -> KnownLimits:
    """What is known of the limits of a model; nothing before workers have used it. Never raises."""
    if redis_url is None:
        return KnownLimits(None, None)
    with closing(_limits_client(redis_url)) as client:
        return known_limits(client, _limits_name(provider, model))


def _limits_client(redis_url: str) -> "redis.Redis":
    return redis.Redis.from_url(
        redis_url,
        socket_connect_timeout=REDIS_SECONDS,
        socket_timeout=REDIS_SECONDS,
        # Whoever gets no answer goes on alone, at once.
        retry=Retry(NoBackoff(), 0),
    )


def _limits_name(provider: str, model: str) -> str:
    return f"{provider} {model}"


def first_index(settings: EmbedderSettings, *, chunk_tokens: int) -> IndexSettings:
    """What the settings say of the first index version.

    Where the model is not known, the provider is asked for one embedding, which tells the width.
    Raises SettingsError, also where the model cannot take a chunk.
    """
    provider = settings.provider_of(settings.embedder)
    limit = provider.limits_for(settings.model).text_tokens
    if chunk_tokens > limit:
        raise SettingsError(
            f"DOCMILL_CHUNK_TOKENS is {chunk_tokens}: {settings.model} takes {limit} tokens at most"
        )
    return IndexSettings(
        model=settings.model,
        dimensions=_width(settings),
        chunking={"max_tokens": chunk_tokens},
        provider=settings.embedder,
        sends_dimensions=settings.sends_dimensions,
    )


def _width(settings: EmbedderSettings) -> int:
    try:
        return settings.dimensions
    except SettingsError as error:
        reached = settings.reached(settings.embedder)
        if reached is None or not isinstance(reached.provider, HttpProvider):
            raise
        try:
            return _http_embedder(
                settings, reached, Wanted(settings.model, WIDEST, False, Kind.DOCUMENT)
            ).width()
        except JobError as refused:
            message = f"{error}; {settings.embedder} was asked for one: {refused.code}"
            raise SettingsError(message) from None


def warn_without_redis(url: str) -> None:
    """Say once, at the start of a process, that Redis does not answer. Returns at once."""
    threading.Thread(target=_warn_without_redis, args=(url,), daemon=True).start()


def ping_redis(url: str) -> None:
    """Return if Redis answers within 5 seconds. Raises redis.RedisError if it does not."""
    with closing(redis.Redis.from_url(url, socket_connect_timeout=5, socket_timeout=5)) as client:
        client.ping()


def redis_answers(url: str) -> bool:
    """Whether Redis answers on a new connection."""
    try:
        ping_redis(url)
    except redis.RedisError:
        return False
    return True


def _warn_without_redis(url: str) -> None:
    try:
        ping_redis(url)
    except redis.RedisError as error:
        log.warning(
            "redis_unreachable",
            redis_url=redact(url),
            error=type(error).__name__,
            remedy="start Redis or correct REDIS_URL; it is tried again until it answers",
        )


def build_database(settings: DatabaseSettings) -> Database:
    """The pool of the role docmill_worker."""
    return Database(settings.require("database_url"), connections=settings.database_connections)


def build_dispatcher(settings: HintSettings, app: Celery, database: Database) -> Dispatcher:
    """The dispatcher of these settings."""
    return Dispatcher(app, database, resend_after=timedelta(seconds=settings.resend_seconds))

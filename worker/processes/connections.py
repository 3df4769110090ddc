"""Objects that several kinds of process are built from.

With `reading` and `runtime`, all that builds objects.
"""

import os
import socket
import threading
from collections.abc import Callable
from datetime import timedelta
from importlib.util import find_spec
from secrets import token_hex

import redis
from celery import Celery
from redis.backoff import NoBackoff
from redis.retry import Retry

from docmill.worker.clients.shared_limits import REDIS_SECONDS, REINDEX, UPLOADS, SharedLimits
from docmill.worker.errors import SettingsError
from docmill.worker.log import get_logger, redact
from docmill.worker.models import IndexVersion
from docmill.worker.ports import Embedder, Limits
from docmill.worker.queue import Dispatcher
from docmill.worker.settings.parts import DatabaseSettings, EmbedderSettings, HintSettings
from docmill.worker.store.database import Database

log = get_logger(__name__)


def served_providers(settings: EmbedderSettings) -> list[str]:
    """Whose keys these settings have; `local` where the extra is installed."""
    is_local = all(find_spec(module) for module in ("wordllama", "safetensors"))
    return [
        *["local"] * is_local,
        *["openai"] * (settings.openai_api_key is not None),
        *sorted(settings.named_providers),
    ]


def build_embedder(settings: EmbedderSettings, index: IndexVersion) -> Embedder:
    """The embedder of an index version. Raises SettingsError when it cannot be built."""
    # Only the one in use is imported: openai alone takes longer than everything else together.
    if index.provider == "local":
        from docmill.worker.embedding.local import LocalEmbedder

        return LocalEmbedder()
    from docmill.worker.clients.openai_embedder import OpenAIEmbedder

    named = settings.named_providers.get(index.provider)
    if named is None and index.provider != "openai":
        raise SettingsError(
            f"index version {index.id} is embedded by {index.provider}: add it to DOCMILL_PROVIDERS"
        )
    return OpenAIEmbedder(
        api_key=named.api_key if named else settings.require("openai_api_key"),
        base_url=named.base_url if named else settings.openai_base_url,
        model=index.model,
        dimensions=index.dimensions,
        send_dimensions=index.sends_dimensions,
        timeout_seconds=settings.embedding_timeout_seconds,
    )


def build_limits(
    settings: EmbedderSettings, redis_url: str
) -> Callable[[IndexVersion, bool], Limits]:
    """Limits that are shared with whoever uses the same Redis, by index version and purpose."""
    client = redis.Redis.from_url(
        redis_url,
        socket_connect_timeout=REDIS_SECONDS,
        socket_timeout=REDIS_SECONDS,
        # Whoever gets no answer goes on alone, at once.
        retry=Retry(NoBackoff(), 0),
    )
    worker = f"{socket.gethostname()}:{os.getpid()}:{token_hex(4)}"

    def limits(index: IndexVersion, is_reindex: bool) -> Limits:
        return SharedLimits(
            client,
            f"{index.provider} {index.model}",
            worker=worker,
            priority=REINDEX if is_reindex else UPLOADS,
            longest_request_seconds=settings.embedding_timeout_seconds,
        )

    return limits


def warn_without_redis(url: str) -> None:
    """Say once, at the start of a process, that Redis does not answer. Returns at once."""
    threading.Thread(target=_warn_without_redis, args=(url,), daemon=True).start()


def _warn_without_redis(url: str) -> None:
    client = redis.Redis.from_url(url, socket_connect_timeout=5, socket_timeout=5)
    try:
        client.ping()
    except redis.RedisError as error:
        log.warning(
            "redis_unreachable",
            redis_url=redact(url),
            error=type(error).__name__,
            remedy="start Redis or correct REDIS_URL; it is tried again until it answers",
        )
    finally:
        client.close()


def build_database(settings: DatabaseSettings) -> Database:
    """The pool of the role docmill_worker."""
    return Database(settings.require("database_url"), connections=settings.database_connections)


def build_dispatcher(settings: HintSettings, app: Celery, database: Database) -> Dispatcher:
    """The dispatcher of these settings."""
    return Dispatcher(app, database, resend_after=timedelta(seconds=settings.resend_seconds))
